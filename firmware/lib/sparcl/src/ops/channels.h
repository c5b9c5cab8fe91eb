/* channels.h - the innermost loops of depthwise.c: some channels, each with its own kernel. `many`
 * (1 to 4) is a constant where they are inlined. dsp/channels.h has four channels at once. */
#ifndef SPARCL_SRC_OPS_CHANNELS_H
#define SPARCL_SRC_OPS_CHANNELS_H

#include "output.h"
#include "walk.h"

/* What the kernel covers at a position, but for padding. */
typedef struct tap_input {
    const int8_t *x;     /* channel 0 */
    const int8_t *first; /* its weight */
} tap_input;

/* acc[i] = sum over what is seen, for channels from c on. A channel's weights are `apart` bytes
 * behind those of the one before. */
SCL_INLINE void channels_dot(const tap_input *from, const tap_input *end, uint32_t c,
                             uint32_t apart, uint32_t many, int32_t *acc)
{
    int32_t sums[4] = {0};
    for (; from < end; from++) {
        const int8_t *xs = from->x + c;
        const int8_t *weights = from->first + c * apart;
        SCL_UNROLL
        for (uint32_t i = 0; i < many; i++, weights += apart) {
            sums[i] += *weights * xs[i];
        }
    }
    SCL_UNROLL
    for (uint32_t i = 0; i < many; i++) {
        acc[i] = sums[i];
    }
}

/* g[i] = sum over a walk of errors times inputs. */
SCL_INLINE void channels_grad(const walk *at, const int8_t *d, const int8_t *x, uint32_t many,
                              int32_t *g)
{
    int32_t sums[4] = {0};
    d += at->d;
    x += at->x;
    for (uint32_t y = 0; y < at->rows; y++, d += at->d_skip, x += at->x_skip) {
        for (uint32_t n = 0; n < at->n; n++, d += at->d_step, x += at->x_step) {
            SCL_UNROLL
            for (uint32_t i = 0; i < many; i++) {
                sums[i] += d[i] * x[i];
            }
        }
    }
    SCL_UNROLL
    for (uint32_t i = 0; i < many; i++) {
        g[i] = sums[i];
    }
}

/* Errors of inputs v += weights times errors, over a walk. */
SCL_INLINE void channels_spread(const walk *at, const int32_t *weights, const int8_t *d, int32_t *v,
                                uint32_t many)
{
    d += at->d;
    v += at->x;
    for (uint32_t y = 0; y < at->rows; y++, d += at->d_skip, v += at->x_skip) {
        for (uint32_t n = 0; n < at->n; n++, d += at->d_step, v += at->x_step) {
            SCL_UNROLL
            for (uint32_t i = 0; i < many; i++) {
                v[i] += weights[i] * d[i];
            }
        }
    }
}

#if SCL_DSP
#include "dsp/channels.h"
#else

SCL_INLINE void four_channels_dot(const tap_input *from, const tap_input *end, uint32_t c,
                                  uint32_t apart, int32_t *acc)
{
    channels_dot(from, end, c, apart, 4, acc);
}

SCL_INLINE void four_channels_grad(const walk *at, const int8_t *d, const int8_t *x, int32_t *g)
{
    channels_grad(at, d, x, 4, g);
}

SCL_INLINE void four_channels_spread(const walk *at, const int32_t *weights, const int8_t *d,
                                     int32_t *v)
{
    channels_spread(at, weights, d, v, 4);
}

#endif

#endif
