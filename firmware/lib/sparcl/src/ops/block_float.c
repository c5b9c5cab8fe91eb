/* Errors in block floating point; the NumPy twin is numerics.to_block_float. */
#include "sparcl/ops.h"

bool scl_to_block_float(int32_t *v, const uint8_t *positive, uint32_t n, int8_t *q, int *e)
{
    uint32_t all = 0; /* the or of all magnitudes has the bit length of the largest */
    for (uint32_t i = 0; i < n; i++) {
        if (positive != NULL && (positive[i >> 3] & 1u << (i & 7u)) == 0) {
            v[i] = 0;
        }
        const uint32_t magnitude = v[i] < 0 ? 0u - (uint32_t)v[i] : (uint32_t)v[i];
        all |= magnitude;
    }
    if (all == 0) {
        return false;
    }
    const int bits = scl_blen(all);
    const int shift = bits > 7 ? bits - 7 : 0;
    for (uint32_t i = 0; i < n; i++) {
        q[i] = (int8_t)scl_sat(scl_rsr(v[i], shift), 127);
    }
    *e += shift;
    return true;
}
