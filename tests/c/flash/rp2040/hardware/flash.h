/* Stand-in for the Pico SDK's hardware/flash.h and what it includes for a Raspberry Pi Pico. */
#ifndef HARDWARE_FLASH_H
#define HARDWARE_FLASH_H

#include <stddef.h>
#include <stdint.h>

#ifndef NO_BOARD_HEADER
#define PICO_FLASH_SIZE_BYTES (2 * 1024 * 1024)
#endif
#define XIP_BASE          0x10000000
#define FLASH_PAGE_SIZE   (1u << 8)
#define FLASH_SECTOR_SIZE (1u << 12)

extern "C" {
void flash_range_erase(uint32_t flash_offs, size_t count);
void flash_range_program(uint32_t flash_offs, const uint8_t *data, size_t count);
}

#endif
