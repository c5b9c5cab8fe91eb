/* tell.h - how the programs of `sparcl bench` print what they counted. */
#ifndef SPARCL_BENCH_TELL_H
#define SPARCL_BENCH_TELL_H

#include "port.h"

static inline void put_hex(uint32_t value, char end)
{
    uint8_t text[9];
    for (uint32_t i = 0; i < 8; i++) {
        text[i] = (uint8_t) "0123456789abcdef"[value >> (28 - 4 * i) & 15u];
    }
    text[8] = (uint8_t)end;
    port_write(text, sizeof text);
}

#endif
