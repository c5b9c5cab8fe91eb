/* port_arduino.cpp - any board with an Arduino core: Serial, and nothing else. */
#include <Arduino.h>

#include "port.h"

extern "C" size_t port_read(uint8_t *bytes, size_t n)
{
    size_t got = 0;
    while (got < n && Serial.available() > 0) {
        bytes[got++] = (uint8_t)Serial.read();
    }
    return got;
}

extern "C" void port_write(const uint8_t *bytes, size_t n)
{
    Serial.write(bytes, n);
    Serial.flush();
}

extern "C" uint32_t port_instructions(void)
{
    return 0; /* no Arduino core offers a count of instructions */
}

extern "C" uint32_t port_stack_used(void)
{
    return 0; /* each core has a stack of its own kind */
}

extern "C" const char *port_name(void)
{
    return SCL_BOARD;
}

extern "C" uint8_t port_window(void)
{
    return 1; /* a core's receive buffer may hold as little as 64 bytes */
}

extern "C" void port_exit(int)
{
    for (;;) {
        delay(1000);
    }
}

void setup()
{
    Serial.begin(115200);
    app_start();
}

void loop()
{
    app_step();
}
