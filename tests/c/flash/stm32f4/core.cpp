#include "nor.h"
#include <Arduino.h>

/* RM0390, table 5: the sectors of an STM32F446xE, and its end. */
static const uint32_t sectors[] = {0x08000000, 0x08004000, 0x08008000, 0x0800C000, 0x08010000,
                                   0x08020000, 0x08040000, 0x08060000, 0x08080000};

static bool locked = true;

/* The stand-in has the flash that the store may use; below it would be the program. */
void core_start(void)
{
    nor_part(sectors[6], sectors[8] - sectors[6]);
}

HAL_StatusTypeDef HAL_FLASH_Unlock(void)
{
    if (!locked) {
        nor_refuse("it was left unlocked", 0);
    }
    locked = false;
    return HAL_OK;
}

HAL_StatusTypeDef HAL_FLASH_Lock(void)
{
    locked = true;
    return HAL_OK;
}

HAL_StatusTypeDef HAL_FLASHEx_Erase(FLASH_EraseInitTypeDef *what, uint32_t *failed)
{
    if (what->TypeErase != FLASH_TYPEERASE_SECTORS || what->Sector > 7 || what->NbSectors != 1 ||
        what->VoltageRange != FLASH_VOLTAGE_RANGE_3) {
        nor_refuse("no such erasure of sector", what->Sector);
    }
    if (locked || nor_fails()) {
        *failed = what->Sector;
        return HAL_ERROR;
    }
    *failed = 0xFFFFFFFF;
    nor_erase(sectors[what->Sector], sectors[what->Sector + 1] - sectors[what->Sector]);
    return HAL_OK;
}

HAL_StatusTypeDef HAL_FLASH_Program(uint32_t type, uint32_t address, uint64_t data)
{
    if (type != FLASH_TYPEPROGRAM_WORD) {
        nor_refuse("no programming by words", address);
    }
    if (locked || nor_fails()) {
        return HAL_ERROR;
    }
    const uint32_t word = (uint32_t)data;
    nor_program(address, (const uint8_t *)&word, sizeof word, sizeof word);
    return HAL_OK;
}
