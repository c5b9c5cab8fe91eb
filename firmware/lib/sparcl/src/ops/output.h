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

/* Where gradients go: at once into masters and biases, or into the sums of a batch. */
typedef struct sink {
    int16_t *master; /* at once */
    int32_t *sum;    /* a batch */
    int32_t *bias;   /* biases, or their sums */
    bool gather;
} sink;

#define SINK_UPDATE(to) ((sink){.master = (to)->master, .bias = (to)->bias, .gather = false})
#define SINK_GATHER(to) ((sink){.sum = (to)->weight, .bias = (to)->bias, .gather = true})

SCL_INLINE void scl_gather(int32_t *sum, int32_t change, int shift)
{
    const int64_t total = (int64_t)*sum + scl_rsr(change, shift - 8);
    *sum = total > INT32_MAX ? INT32_MAX : total < -INT32_MAX ? -INT32_MAX : (int32_t)total;
}

SCL_INLINE void sink_weight(sink to, uint32_t at, int32_t change, int shift)
{
    if (to.gather) {
        scl_gather(&to.sum[at], change, shift);
    } else {
        scl_master_step(&to.master[at], change, shift);
    }
}

SCL_INLINE void sink_bias(sink to, uint32_t at, int32_t change, int shift)
{
    if (to.gather) {
        scl_gather(&to.bias[at], change, shift);
    } else {
        scl_bias_step(&to.bias[at], change, shift);
    }
}

#endif
