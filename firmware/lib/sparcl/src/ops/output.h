/* output.h - from an accumulator to an output, inlined into every kernel's epilogue. */
#ifndef SPARCL_SRC_OPS_OUTPUT_H
#define SPARCL_SRC_OPS_OUTPUT_H

#include <string.h>

#include "sparcl/ops.h"

/* Call before the first output of a layer of n outputs. */
static inline void scl_output_begin(scl_output *out, uint32_t n)
{
    if (out->positive != NULL) {
        memset(out->positive, 0, (n + 7u) / 8u);
    }
}

/* Store output o; acc has exponent out->exponent - shift. */
static inline void scl_output_put(scl_output *out, uint32_t o, int32_t acc, int shift)
{
    if (out->logits != NULL) {
        out->logits[o] = (int16_t)scl_sat(scl_rsr(acc, shift), 32767);
        return;
    }
    if (acc <= 0) {
        out->q[o] = 0;
        return;
    }
    out->positive[o >> 3] = (uint8_t)(out->positive[o >> 3] | 1u << (o & 7u));
    const int32_t q = scl_rsr(acc, shift);
    if (q > 127) {
        out->saturated++;
    }
    out->q[o] = (int8_t)(q > 127 ? 127 : q);
}

#endif
