/* What every trainable layer shares: the sticky output exponent and its part of the state hash. */
#include "sparcl/crc32.h"
#include "sparcl/ops.h"

void scl_scale_close(scl_scale *scale, uint32_t outputs)
{
    scale->window++;
    if (scale->window == SCL_WINDOW) {
        if (scale->saturated * 256u > SCL_WINDOW * outputs) {
            scale->exponent++;
        }
        scale->saturated = 0;
        scale->window = 0;
    }
}

uint32_t scl_layer_hash(const int32_t *bias, uint32_t n, int e_w, const scl_scale *scale,
                        uint32_t crc)
{
    const scl_scale logits = {.exponent = SCL_LOGIT_EXPONENT, .saturated = 0, .window = 0};
    const int32_t exponent = e_w;
    crc = scl_crc32(crc, bias, n * sizeof *bias);
    crc = scl_crc32(crc, &exponent, sizeof exponent);
    return scl_crc32(crc, scale != NULL ? scale : &logits, sizeof *scale);
}
