/* channels.h - four channels of a depthwise layer; what they compute is written in ../channels.h.
 */
#ifndef SPARCL_SRC_OPS_DSP_CHANNELS_H
#define SPARCL_SRC_OPS_DSP_CHANNELS_H

#include "instructions.h"

SCL_INLINE void four_channels_dot(const tap_input *from, const tap_input *end, uint32_t c,
                                  uint32_t apart, int32_t *acc)
{
    four sums = {0, 0, 0, 0};
    for (const uint32_t to = c * apart; from < end; from++) {
        const quad xs = quad_of_bytes(from->x + c);
        const int8_t *weights = from->first + to;
        sums.s0 = __smlabb(xs.a, weights[0], sums.s0);
        sums.s1 = __smlabb(xs.b, weights[apart], sums.s1);
        weights += 2 * apart;
        sums.s2 = __smlatb(xs.a, weights[0], sums.s2);
        sums.s3 = __smlatb(xs.b, weights[apart], sums.s3);
    }
    memcpy(acc, &sums, sizeof sums);
}

SCL_INLINE void four_channels_grad(const walk *at, const int8_t *d, const int8_t *x, int32_t *g)
{
    const uint32_t d_step = at->d_step;
    const uint32_t x_step = at->x_step;
    four sums = {0, 0, 0, 0};
    d += at->d;
    x += at->x;
    for (uint32_t rows = at->rows; rows > 0; rows--, d += at->d_skip, x += at->x_skip) {
        for (uint32_t n = at->n; n > 0; n--, d += d_step, x += x_step) {
            const quad ds = quad_of_bytes(d);
            const quad xs = quad_of_bytes(x);
            sums.s0 = __smlabb(ds.a, xs.a, sums.s0);
            sums.s1 = __smlabb(ds.b, xs.b, sums.s1);
            sums.s2 = __smlatt(ds.a, xs.a, sums.s2);
            sums.s3 = __smlatt(ds.b, xs.b, sums.s3);
        }
    }
    memcpy(g, &sums, sizeof sums);
}

SCL_INLINE void four_channels_spread(const walk *at, const int32_t *weights, const int8_t *d,
                                     int32_t *v)
{
    const uint32_t d_step = at->d_step;
    const uint32_t v_step = at->x_step;
    const quad w = {low_halves(weights[0], weights[2]), low_halves(weights[1], weights[3])};
    d += at->d;
    v += at->x;
    for (uint32_t rows = at->rows; rows > 0; rows--, d += at->d_skip, v += at->x_skip) {
        for (uint32_t n = at->n; n > 0; n--, d += d_step, v += v_step) {
            const quad ds = quad_of_bytes(d);
            uint32_t sums[4];
            peek_words(v, 0, &sums[0], &sums[1]);
            peek_words(v, 8, &sums[2], &sums[3]);
            sums[0] = (uint32_t)__smlabb(w.a, ds.a, (int32_t)sums[0]);
            sums[1] = (uint32_t)__smlabb(w.b, ds.b, (int32_t)sums[1]);
            sums[2] = (uint32_t)__smlatt(w.a, ds.a, (int32_t)sums[2]);
            sums[3] = (uint32_t)__smlatt(w.b, ds.b, (int32_t)sums[3]);
            poke_words(v, 0, sums[0], sums[1]);
            poke_words(v, 8, sums[2], sums[3]);
        }
    }
}

#endif
