/* Stand-in for the Arduino core of ESP32. */
#define ARDUINO_ARCH_ESP32
