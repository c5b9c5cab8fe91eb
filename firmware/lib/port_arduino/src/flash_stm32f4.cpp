// flash_stm32f4.cpp - flash for the store on STM32F4: the last two sectors, of 128 KB each, through
// ST's HAL. The core stands still while one is erased: 1 to 2 seconds (datasheet, t_ERASE128KB).
#include "flash_family.h"

#ifdef SCL_FLASH_STM32F4

#include <string.h>

#define SECTOR_BYTES 0x20000u
#define UNIT_BYTES   4u
#define START        ((uint32_t)FLASH_END + 1u - SCL_FLASH_BYTES)

// Of the core's linker scripts: .data and, last in flash, what it is filled from.
extern "C" char _sidata, _sdata, _edata;

extern "C" port_flash port_flash_geometry(void)
{
    const uintptr_t program_end = (uintptr_t)&_sidata + ((uintptr_t)&_edata - (uintptr_t)&_sdata);
    return {program_end <= START ? SCL_FLASH_BYTES : 0, SECTOR_BYTES, UNIT_BYTES};
}

extern "C" bool port_flash_erase(uint32_t offset)
{
    FLASH_EraseInitTypeDef sector = {};
    sector.TypeErase = FLASH_TYPEERASE_SECTORS;
    // Sectors 0 to 4, which are smaller, fill the first 128 KB.
    sector.Sector = FLASH_SECTOR_4 + (START + offset - (uint32_t)FLASH_BASE) / SECTOR_BYTES;
    sector.NbSectors = 1;
    sector.VoltageRange = FLASH_VOLTAGE_RANGE_3; // 2.7 to 3.6 V, for programming by words
    uint32_t failed = 0;
    const bool done = HAL_FLASH_Unlock() == HAL_OK && HAL_FLASHEx_Erase(&sector, &failed) == HAL_OK;
    (void)HAL_FLASH_Lock();
    return done;
}

extern "C" bool port_flash_program(uint32_t offset, const uint8_t *data, uint32_t n)
{
    bool done = HAL_FLASH_Unlock() == HAL_OK;
    for (uint32_t at = 0; done && at < n; at += UNIT_BYTES) {
        uint32_t word;
        memcpy(&word, data + at, sizeof word);
        done = HAL_FLASH_Program(FLASH_TYPEPROGRAM_WORD, START + offset + at, word) == HAL_OK;
    }
    (void)HAL_FLASH_Lock();
    return done;
}

extern "C" void port_flash_read(uint32_t offset, uint8_t *data, uint32_t n)
{
    memcpy(data, (const uint8_t *)(uintptr_t)(START + offset), n);
}

#endif
