// flash_rp2040.cpp - flash for the store on RP2040: the end of the chip it runs from, through the
// Pico SDK, which both of its Arduino cores contain.
//
// Nothing can be read from the chip, code included, while it is erased or programmed: interrupts
// are off meanwhile. The second core, which this firmware never starts, waits in the boot ROM.
#include "flash_family.h"

#ifdef SCL_FLASH_RP2040

#include <hardware/flash.h>
#include <hardware/sync.h>
#include <string.h>

#ifndef PICO_FLASH_SIZE_BYTES
#error "the size of the board's flash is not known: add -DPICO_FLASH_SIZE_BYTES=.. to build_flags"
#endif

// From the beginning of the chip, as the SDK counts. Pages are programmed in parts, the rest of
// them 0xFF, which changes no bit: the chips allow it between two erasures.
#define START      ((uint32_t)PICO_FLASH_SIZE_BYTES - SCL_FLASH_BYTES)
#define UNIT_BYTES 32u

// Of the core's linker script: the end of all that it puts into flash.
extern "C" char __flash_binary_end;

extern "C" port_flash port_flash_geometry(void)
{
    const bool room = (uintptr_t)&__flash_binary_end <= (uintptr_t)XIP_BASE + START;
    return {room ? SCL_FLASH_BYTES : 0, FLASH_SECTOR_SIZE, UNIT_BYTES};
}

// The SDK reports no failure; the store reads back what it has written.
extern "C" bool port_flash_erase(uint32_t offset)
{
    const uint32_t interrupts = save_and_disable_interrupts();
    flash_range_erase(START + offset, FLASH_SECTOR_SIZE);
    restore_interrupts(interrupts);
    return true;
}

extern "C" bool port_flash_program(uint32_t offset, const uint8_t *data, uint32_t n)
{
    for (uint32_t at = 0; at < n;) {
        uint8_t page[FLASH_PAGE_SIZE];
        const uint32_t into = (offset + at) % FLASH_PAGE_SIZE;
        const uint32_t left = FLASH_PAGE_SIZE - into;
        const uint32_t part = n - at < left ? n - at : left;
        memset(page, 0xff, sizeof page);
        memcpy(page + into, data + at, part);
        const uint32_t interrupts = save_and_disable_interrupts();
        flash_range_program(START + offset + at - into, page, FLASH_PAGE_SIZE);
        restore_interrupts(interrupts);
        at += part;
    }
    return true;
}

extern "C" void port_flash_read(uint32_t offset, uint8_t *data, uint32_t n)
{
    memcpy(data, (const uint8_t *)((uintptr_t)XIP_BASE + START + offset), n);
}

#endif
