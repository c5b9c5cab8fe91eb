/* port_arduino.cpp - any board with an Arduino core: Serial, and nothing else. */
#include <Arduino.h>

#include "port.h"

#define FIRST_BAUD 115200 /* monitor_speed in platformio.ini */

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

/* What a UART and its bridge to USB can do at all: the host's next message shows whether they do. A
 * core's own USB takes any number and runs as it always does. */
extern "C" bool port_can_run_at(uint32_t baud)
{
    return baud == 0 || (baud >= 9600 && baud <= 2000000);
}

extern "C" void port_run_at(uint32_t baud)
{
    Serial.flush();
    Serial.begin(baud == 0 ? FIRST_BAUD : baud);
}

extern "C" void port_exit(int)
{
    for (;;) {
        delay(1000);
    }
}

void setup()
{
    Serial.begin(FIRST_BAUD);
    app_start();
}

void loop()
{
    app_step();
}
