/* port_flash_memory.h - flash of emulated boards: memory that the emulator keeps in a file.
 *
 * It outlives a reset of the core and the end of the emulator. It behaves as NOR flash does: an
 * erased sector is all ones, programming clears bits. What real flash would spoil is refused.
 * The board's .ini says where it is (SCL_STORE_ORIGIN) and how much of it to use
 * (SCL_STORE_BYTES, 0: none).
 */
#ifndef SCL_PORT_FLASH_MEMORY_H
#define SCL_PORT_FLASH_MEMORY_H

#include "port.h"

#define SCL_FLASH_SECTOR 4096u
#define SCL_FLASH_UNIT   8u

static volatile uint8_t *port_flash_memory(uint32_t offset)
{
    return (volatile uint8_t *)(uintptr_t)SCL_STORE_ORIGIN + offset;
}

port_flash port_flash_geometry(void)
{
    return (port_flash){SCL_STORE_BYTES, SCL_FLASH_SECTOR, SCL_FLASH_UNIT};
}

bool port_flash_erase(uint32_t offset)
{
    if (offset % SCL_FLASH_SECTOR != 0 || offset >= SCL_STORE_BYTES) {
        return false;
    }
    for (uint32_t i = 0; i < SCL_FLASH_SECTOR; i++) {
        *port_flash_memory(offset + i) = 0xff;
    }
    return true;
}

bool port_flash_program(uint32_t offset, const uint8_t *data, uint32_t n)
{
    if (offset % SCL_FLASH_UNIT != 0 || n % SCL_FLASH_UNIT != 0 || offset > SCL_STORE_BYTES ||
        n > SCL_STORE_BYTES - offset) {
        return false;
    }
    for (uint32_t i = 0; i < n; i++) {
        if (*port_flash_memory(offset + i) != 0xff) {
            return false; /* not erased */
        }
        *port_flash_memory(offset + i) = data[i];
    }
    return true;
}

void port_flash_read(uint32_t offset, uint8_t *data, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++) {
        data[i] = *port_flash_memory(offset + i);
    }
}

#endif
