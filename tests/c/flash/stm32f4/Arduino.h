/* Stand-in for STM32duino on an STM32F446RE: what flash_stm32f4.cpp takes from CMSIS and ST's HAL.
 */
#ifndef ARDUINO_H
#define ARDUINO_H

#include <stdint.h>

#define ARDUINO_ARCH_STM32
#define STM32F4xx

#define FLASH_BASE 0x08000000UL
#define FLASH_END  0x0807FFFFUL

#define FLASH_TYPEERASE_SECTORS 0x00000000U
#define FLASH_TYPEPROGRAM_WORD  0x00000002U
#define FLASH_VOLTAGE_RANGE_3   0x00000002U
#define FLASH_SECTOR_4          4U

typedef enum { HAL_OK = 0, HAL_ERROR = 1 } HAL_StatusTypeDef;

typedef struct {
    uint32_t TypeErase, Banks, Sector, NbSectors, VoltageRange;
} FLASH_EraseInitTypeDef;

extern "C" {
HAL_StatusTypeDef HAL_FLASH_Unlock(void);
HAL_StatusTypeDef HAL_FLASH_Lock(void);
HAL_StatusTypeDef HAL_FLASHEx_Erase(FLASH_EraseInitTypeDef *what, uint32_t *failed);
HAL_StatusTypeDef HAL_FLASH_Program(uint32_t type, uint32_t address, uint64_t data);
}

#endif
