#include "nor.h"
#include <nrf.h>

extern const NRF_FICR_Type ficr = {4096, 256}; /* of an nRF52840 */
NRF_NVMC_Type nvmc;

static const uintptr_t END = 0x100000;
static const size_t BYTES = 256 * 1024; /* that the store may use; below is the program */

static uint32_t mode = NVMC_CONFIG_WEN_Ren;
static unsigned busy; /* READY says so this often */

void core_start(void)
{
    nor_part(END - BYTES, BYTES);
}

nvmc_ready::operator uint32_t()
{
    if (busy > 0) {
        busy--;
        return NVMC_READY_READY_Busy;
    }
    return 1;
}

void nvmc_config::operator=(uint32_t wish)
{
    if (busy > 0) {
        nor_refuse("the NVMC is busy, mode", wish);
    }
    if (mode == NVMC_CONFIG_WEN_Wen) {
        nor_close();
    }
    mode = wish;
    if (mode == NVMC_CONFIG_WEN_Wen) {
        nor_open();
    }
}

void nvmc_erase_page::operator=(uint32_t address)
{
    if (busy > 0 || mode != NVMC_CONFIG_WEN_Een) {
        nor_refuse("the NVMC is busy or not told to erase", address);
    }
    nor_erase(address, ficr.CODEPAGESIZE);
    busy = 3;
}
