/* Stand-in for an Arduino core of RP2040. */
#define ARDUINO_ARCH_RP2040
