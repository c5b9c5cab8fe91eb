#include "nor.h"
#include <hardware/flash.h>
#include <hardware/sync.h>

static const uintptr_t END = 0x10200000; /* of 2 MB */
static const size_t BYTES = 256 * 1024;  /* that the store may use; below would be the program */

static const uint32_t PRIMASK_BEFORE = 0; /* as it is while interrupts are on */

static bool interrupts = true;

void core_start(void)
{
    nor_part(END - BYTES, BYTES);
}

uint32_t save_and_disable_interrupts(void)
{
    if (!interrupts) {
        nor_refuse("interrupts were left off", 0);
    }
    interrupts = false;
    return PRIMASK_BEFORE;
}

void restore_interrupts(uint32_t status)
{
    interrupts = status == PRIMASK_BEFORE;
}

static uintptr_t address_of(uint32_t offset)
{
    if (interrupts) {
        nor_refuse("an interrupt would find no code", offset);
    }
    return XIP_BASE + offset;
}

void flash_range_erase(uint32_t flash_offs, size_t count)
{
    if (count % FLASH_SECTOR_SIZE != 0) {
        nor_refuse("not whole sectors", flash_offs);
    }
    for (size_t at = 0; at < count; at += FLASH_SECTOR_SIZE) {
        nor_erase(address_of(flash_offs) + at, FLASH_SECTOR_SIZE);
    }
}

void flash_range_program(uint32_t flash_offs, const uint8_t *data, size_t count)
{
    if (flash_offs % FLASH_PAGE_SIZE != 0 || count % FLASH_PAGE_SIZE != 0) {
        nor_refuse("not whole pages", flash_offs);
    }
    nor_program(address_of(flash_offs), data, count, 1);
}
