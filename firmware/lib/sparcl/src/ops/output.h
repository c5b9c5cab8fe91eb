/* output.h - from an accumulator to an output, inlined into every kernel's epilogue. */
#ifndef SPARCL_SRC_OPS_OUTPUT_H
#define SPARCL_SRC_OPS_OUTPUT_H

#include <string.h>

#include "sparcl/ops.h"

#define SCL_INLINE static inline __attribute__((always_inline))

/* Call before the first output of a layer of n outputs. */
SCL_INLINE void scl_output_begin(scl_output *out, uint32_t n)
{
    if (out->positive != NULL) {
        memset(out->positive, 0, (n + 7u) / 8u);
    }
}

/* Store output o; acc has exponent out->exponent - shift. */
SCL_INLINE void scl_output_put(scl_output *out, uint32_t o, int32_t acc, int shift)
{
    if (out->logits != NULL) {
        out->logits[o] = (int16_t)scl_sat(scl_rsr(acc, shift), 32767);
        return;
    }
    if (out->relu && acc <= 0) {
        out->q[o] = 0;
        return;
    }
    if (out->positive != NULL) {
        out->positive[o >> 3] = (uint8_t)(out->positive[o >> 3] | 1u << (o & 7u));
    }
    const int32_t q = scl_rsr(acc, shift);
    if (q > 127 || q < -127) {
        out->saturated++;
    }
    out->q[o] = (int8_t)scl_sat(q, 127);
}

/* M' -= sat(rsr(change, shift)), clamped. */
SCL_INLINE void scl_master_step(int16_t *master, int32_t change, int shift)
{
    const int32_t m = *master - scl_sat(scl_rsr(change, shift), 32767);
    *master = (int16_t)(m > SCL_MASTER_MAX   ? SCL_MASTER_MAX
                        : m < SCL_MASTER_MIN ? SCL_MASTER_MIN
                                             : m);
}

/* b -= rsr(change, shift), |b| <= SCL_BIAS_LIMIT. */
SCL_INLINE void scl_bias_step(int32_t *bias, int32_t change, int shift)
{
    const int64_t b = (int64_t)*bias - scl_rsr(change, shift);
    *bias = b > SCL_BIAS_LIMIT    ? SCL_BIAS_LIMIT
            : b < -SCL_BIAS_LIMIT ? -SCL_BIAS_LIMIT
                                  : (int32_t)b;
}

#endif
