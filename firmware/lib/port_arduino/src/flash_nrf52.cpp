// flash_nrf52.cpp - flash for the store on nRF52 without a SoftDevice: the last 256 KB that the
// part says it has, through the registers of its NVMC. Words are written as if to memory.
#include "flash_family.h"

#ifdef SCL_FLASH_NRF52

#include <nrf.h>
#include <string.h>

#define UNIT_BYTES 4u

// Of the core's linker scripts: .data, and what it is filled from, last in flash.
extern "C" char __etext, __data_start__, __data_end__;

static uint32_t start()
{
    return NRF_FICR->CODEPAGESIZE * NRF_FICR->CODESIZE - SCL_FLASH_BYTES;
}

static void wait()
{
    while (NRF_NVMC->READY == NVMC_READY_READY_Busy) {
    }
}

static void allow(uint32_t what)
{
    NRF_NVMC->CONFIG = what << NVMC_CONFIG_WEN_Pos;
    wait();
}

extern "C" port_flash port_flash_geometry(void)
{
    const uintptr_t data_bytes = (uintptr_t)&__data_end__ - (uintptr_t)&__data_start__;
    const bool room = (uintptr_t)&__etext + data_bytes <= start();
    return {room ? SCL_FLASH_BYTES : 0, NRF_FICR->CODEPAGESIZE, UNIT_BYTES};
}

// The NVMC reports no failure; the store reads back what it has written.
extern "C" bool port_flash_erase(uint32_t offset)
{
    allow(NVMC_CONFIG_WEN_Een);
    NRF_NVMC->ERASEPAGE = start() + offset;
    wait();
    allow(NVMC_CONFIG_WEN_Ren);
    return true;
}

extern "C" bool port_flash_program(uint32_t offset, const uint8_t *data, uint32_t n)
{
    volatile uint32_t *to = (volatile uint32_t *)(uintptr_t)(start() + offset);
    allow(NVMC_CONFIG_WEN_Wen);
    for (uint32_t at = 0; at < n; at += UNIT_BYTES) {
        uint32_t word;
        memcpy(&word, data + at, sizeof word);
        *to++ = word;
        wait();
    }
    allow(NVMC_CONFIG_WEN_Ren);
    return true;
}

extern "C" void port_flash_read(uint32_t offset, uint8_t *data, uint32_t n)
{
    memcpy(data, (const uint8_t *)(uintptr_t)(start() + offset), n);
}

#endif
