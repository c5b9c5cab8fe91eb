/* Functions that are inline in the headers, made visible to ctypes. */
#include "sparcl/numerics.h"

int32_t export_rsr(int32_t v, int shift);
int32_t export_sat(int32_t v, int32_t limit);
int export_blen(uint32_t v);
uint32_t export_pick(uint32_t hash, uint32_t n);

int32_t export_rsr(int32_t v, int shift)
{
    return scl_rsr(v, shift);
}

int32_t export_sat(int32_t v, int32_t limit)
{
    return scl_sat(v, limit);
}

int export_blen(uint32_t v)
{
    return scl_blen(v);
}

uint32_t export_pick(uint32_t hash, uint32_t n)
{
    return scl_pick(hash, n);
}
