/* Stand-in for Nordic's nrf.h: the registers that flash_nrf52.cpp uses, which act when written. */
#ifndef NRF_H
#define NRF_H

#include <stdint.h>

#define NVMC_READY_READY_Busy 0UL
#define NVMC_CONFIG_WEN_Pos   0UL
#define NVMC_CONFIG_WEN_Ren   0UL
#define NVMC_CONFIG_WEN_Wen   1UL
#define NVMC_CONFIG_WEN_Een   2UL

struct nvmc_ready {
    operator uint32_t();
};

struct nvmc_config {
    void operator=(uint32_t mode);
};

struct nvmc_erase_page {
    void operator=(uint32_t address);
};

struct NRF_NVMC_Type {
    nvmc_ready READY;
    nvmc_config CONFIG;
    nvmc_erase_page ERASEPAGE;
};

struct NRF_FICR_Type {
    const uint32_t CODEPAGESIZE, CODESIZE;
};

extern NRF_NVMC_Type nvmc;
extern const NRF_FICR_Type ficr;
#define NRF_NVMC (&nvmc)
#define NRF_FICR (&ficr)

#endif
