/* Stand-in for the Arduino core nRF5, without a SoftDevice. */
#define ARDUINO_ARCH_NRF5
#define NRF52
