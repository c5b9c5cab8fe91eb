/* Sticky output exponents (docs/numerics.md, "Forward"). */
#include "sparcl/crc32.h"
#include "sparcl/ops.h"

void scl_scale_close(scl_scale *scale, uint32_t outputs)
{
    scale->window++;
    if (scale->window == SCL_WINDOW) {
        if (scale->saturated > (SCL_WINDOW * outputs) >> SCL_RARE_BITS) {
            scale->exponent++;
        }
        scale->saturated = 0;
        scale->window = 0;
    }
}

uint32_t scl_scale_hash(const scl_scale *scale, uint32_t crc)
{
    return scl_crc32(crc, scale, sizeof *scale);
}
