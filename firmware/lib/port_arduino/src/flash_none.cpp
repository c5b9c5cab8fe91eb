// flash_none.cpp - boards whose core offers no flash that the store can use.
#include "flash_family.h"

#ifdef SCL_FLASH_NONE

extern "C" port_flash port_flash_geometry(void)
{
    return {0, 0, 0};
}

extern "C" bool port_flash_erase(uint32_t)
{
    return false;
}

extern "C" bool port_flash_program(uint32_t, const uint8_t *, uint32_t)
{
    return false;
}

extern "C" void port_flash_read(uint32_t, uint8_t *, uint32_t) {}

#endif
