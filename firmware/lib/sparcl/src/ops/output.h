/* output.h - from an accumulator to an output, inlined into every kernel's epilogue. */
#ifndef SPARCL_SRC_OPS_OUTPUT_H
#define SPARCL_SRC_OPS_OUTPUT_H

#include <string.h>

#include "sparcl/ops.h"

/* 16-bit SIMD: Cortex-M4, M7, M33, M55. gcc has its intrinsics since version 10. */
#if !defined(SCL_DSP)
#if defined(__ARM_FEATURE_SIMD32) && __GNUC__ >= 10
#define SCL_DSP 1
#else
#define SCL_DSP 0
#endif
#endif

/* Vectors: Cortex-M55. */
#if defined(__ARM_FEATURE_MVE) && SCL_DSP
#define SCL_MVE 1
#else
#define SCL_MVE 0
#endif

#define SCL_INLINE static inline __attribute__((always_inline))
/* Before a loop of at most four constant rounds: what it indexes can then stay in registers. */
#define SCL_UNROLL _Pragma("GCC unroll 4")

/* Call before the first output of a layer of n outputs. */
SCL_INLINE void scl_output_begin(scl_output *out, uint32_t n)
{
    if (out->positive != NULL) {
        memset(out->positive, 0, scl_relu_mask_bytes(n));
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

#define SCL_OUTPUTS_AT_ONCE 32u

/* Store outputs o .. o + n - 1 of a layer with weights, 1 <= n <= SCL_OUTPUTS_AT_ONCE: acc (n)
 * without bias, exponent e_acc; bias (n) exponent SCL_BIAS_EXPONENT. */
void scl_outputs_put(scl_output *out, uint32_t o, uint32_t n, const int32_t *acc,
                     const int32_t *bias, int e_acc);

/* The same where each output has an exponent: e_w (n) + e_x. */
void scl_outputs_put_each(scl_output *out, uint32_t o, uint32_t n, const int32_t *acc,
                          const int32_t *bias, const int8_t *e_w, int e_x);

SCL_INLINE int16_t scl_master_clamp(int32_t m)
{
    return (int16_t)(m > SCL_MASTER_MAX ? SCL_MASTER_MAX : m < SCL_MASTER_MIN ? SCL_MASTER_MIN : m);
}

/* M' -= sat(rsr(change, shift)), clamped. */
void scl_master_step(int16_t *master, int32_t change, int shift);

/* b -= rsr(change, shift), |b| <= SCL_BIAS_LIMIT. A step of twice the limit goes all the way. */
SCL_INLINE void scl_bias_step(int32_t *bias, int32_t change, int shift)
{
    const int32_t step = scl_sat(scl_rsr(change, shift), 2 * SCL_BIAS_LIMIT);
    *bias = scl_sat(*bias - step, SCL_BIAS_LIMIT);
}

/* The biases of a dense layer learn: n outputs with errors d, as scl_bias_step. */
void scl_biases_learn(int32_t *bias, const int8_t *d, uint32_t n, int32_t mantissa, int shift);

/* Where gradients go; a constant where a body is inlined. */
typedef enum sink_kind {
    SINK_UPDATE,  /* at once into masters and biases */
    SINK_GATHER,  /* into the sums of a batch */
    SINK_WATCH,   /* nowhere: what an update would do is counted */
    SINK_MEASURE, /* into the sums of an importance window, of a range of blocks */
} sink_kind;

typedef struct sink {
    sink_kind kind;
    int unit;                /* exponent of a gradient's unit, less e_w */
    scl_rate rate;           /* gradients are scaled by */
    int16_t *master;         /* update, watch */
    const uint8_t *selected; /* all but measure: bits of blocks that learn; NULL: all. A constant
                              * NULL leaves no test of it in the loops */
    int32_t *sum;            /* gather */
    int32_t *bias;           /* update, gather: biases, or their sums */
    scl_watch *watch;
    int16_t *measured; /* measure: of blocks first .. end - 1 */
    uint32_t first, end;
} sink;

#define SINK_UPDATE(to, by)                                                                        \
    ((sink){.kind = SINK_UPDATE,                                                                   \
            .unit = -8,                                                                            \
            .rate = (by),                                                                          \
            .master = (to)->master,                                                                \
            .bias = (to)->bias})
#define SINK_SELECTED(to, by)                                                                      \
    ((sink){.kind = SINK_UPDATE,                                                                   \
            .unit = -8,                                                                            \
            .rate = (by),                                                                          \
            .master = (to)->master,                                                                \
            .selected = (to)->selected,                                                            \
            .bias = (to)->bias})
#define SINK_GATHER(to, by)                                                                        \
    ((sink){.kind = SINK_GATHER,                                                                   \
            .unit = -8,                                                                            \
            .rate = (by),                                                                          \
            .selected = (to)->selected,                                                            \
            .sum = (to)->weight,                                                                   \
            .bias = (to)->bias})
#define SINK_WATCH(of, by, into)                                                                   \
    ((sink){.kind = SINK_WATCH,                                                                    \
            .unit = -8,                                                                            \
            .rate = (by),                                                                          \
            .master = (of)->master,                                                                \
            .selected = (of)->selected,                                                            \
            .watch = (into)})
#define SINK_MEASURE(to)                                                                           \
    ((sink){.kind = SINK_MEASURE,                                                                  \
            .unit = -4,                                                                            \
            .rate = {1, 0},                                                                        \
            .measured = (to)->sums,                                                                \
            .first = (to)->first,                                                                  \
            .end = (to)->first + (to)->count})

/* How far a gradient of exponent e is shifted to its unit; e_w of its weight. */
SCL_INLINE int sink_shift(const sink *to, int e_w, int e)
{
    return (e_w + to->unit) - (e + to->rate.exponent);
}

SCL_INLINE bool sink_takes_biases(const sink *to)
{
    return to->kind == SINK_UPDATE || to->kind == SINK_GATHER;
}

/* Does this block's gradient matter? Only sparse layers select or measure. */
SCL_INLINE bool sink_takes_block(const sink *to, uint32_t block)
{
    return to->selected == NULL || scl_bit(to->selected, block);
}

SCL_INLINE void scl_gather(int32_t *sum, int32_t change, int shift)
{
    const int64_t total = (int64_t)*sum + scl_rsr(change, shift - 8);
    *sum = total > INT32_MAX ? INT32_MAX : total < -INT32_MAX ? -INT32_MAX : (int32_t)total;
}

/* Count what an update of this master would do. A gradient of 0 is no update. */
void scl_watch_step(scl_watch *watch, int32_t master, int32_t change, int shift);

/* at: the weight's place in the layer; change: rate.mantissa * gradient. */
SCL_INLINE void sink_weight(const sink *to, uint32_t at, int32_t change, int shift)
{
    switch (to->kind) {
    case SINK_UPDATE:
        scl_master_step(&to->master[at], change, shift);
        break;
    case SINK_GATHER:
        scl_gather(&to->sum[at], change, shift);
        break;
    case SINK_WATCH:
        scl_watch_step(to->watch, to->master[at], change, shift);
        break;
    case SINK_MEASURE:
        /* saturated twice: a shift to the left may leave no room for the sum */
        to->measured[at] =
            (int16_t)scl_sat(to->measured[at] + scl_sat(scl_rsr(change, shift), 65535), 32767);
        break;
    }
}

SCL_INLINE void sink_bias(const sink *to, uint32_t at, int32_t change, int shift)
{
    if (to->kind == SINK_GATHER) {
        scl_gather(&to->bias[at], change, shift);
    } else {
        scl_bias_step(&to->bias[at], change, shift);
    }
}

#endif
