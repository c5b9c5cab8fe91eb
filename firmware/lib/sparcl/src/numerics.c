#include "sparcl/numerics.h"

uint32_t scl_hash_with(uint32_t h, uint32_t argument)
{
    uint32_t u = h ^ argument;
    u ^= u >> 16;
    u *= 0x7feb352du;
    u ^= u >> 15;
    u *= 0x846ca68bu;
    u ^= u >> 16;
    return u;
}

uint32_t scl_hash32(uint32_t seed, uint32_t stream, uint32_t step, uint32_t layer, uint32_t index)
{
    return scl_hash_with(scl_hash_with(scl_hash_with(scl_hash_with(seed, stream), step), layer),
                         index);
}

int32_t scl_rsr_beyond(int32_t v, int shift)
{
    if (shift > 0) {
        return 0;
    }
    const int left = -shift < 31 ? -shift : 31; /* more cannot change a saturated result */
    const int32_t shifted = (int32_t)((uint32_t)v << left);
    if (shifted >> left != v || shifted == INT32_MIN) {
        return v < 0 ? -INT32_MAX : INT32_MAX;
    }
    return shifted;
}
