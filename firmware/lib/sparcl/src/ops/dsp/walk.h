/* walk.h - a block of a convolution at all positions that see it, two at a time. */
#ifndef SPARCL_SRC_OPS_DSP_WALK_H
#define SPARCL_SRC_OPS_DSP_WALK_H

#include "../walk.h"
#include "weights.h"

/* Sums of four values times one, at a position. */
SCL_INLINE void position_grad(const int8_t *fours, const int8_t *ones, four *sums)
{
    const layout of_bytes = {.frozen = true}; /* the order of quad_of_bytes */
    quad_scale(quad_of_bytes(fours), *ones, sums, of_bytes);
}

/* The same at two positions. */
SCL_INLINE void positions_grad(const int8_t *fours, uint32_t fours_step, const int8_t *ones,
                               uint32_t ones_step, four *sums)
{
    const quad here = quad_of_bytes(fours);
    const quad next = quad_of_bytes(fours + fours_step);
    const int16x2_t two = low_halves(*ones, ones[ones_step]);
    sums->s0 = __smlad(low_halves(here.a, next.a), two, sums->s0);
    sums->s1 = __smlad(low_halves(here.b, next.b), two, sums->s1);
    sums->s2 = __smlad(high_halves(here.a, next.a), two, sums->s2);
    sums->s3 = __smlad(high_halves(here.b, next.b), two, sums->s3);
}

/* g += errors times inputs; the four of a block are errors or inputs, the other side is one. */
SCL_INLINE void walk_grad(const walk *seen, const int8_t *d, const int8_t *x, int32_t *g, layout k)
{
    const uint32_t d_step = seen->d_step;
    const uint32_t x_step = seen->x_step;
    four sums = {g[0], g[1], g[2], g[3]};
    d += seen->d;
    x += seen->x;
    for (uint32_t rows = seen->rows; rows > 0; rows--, d += seen->d_skip, x += seen->x_skip) {
        uint32_t n = seen->n;
        if ((n & 1u) != 0) {
            if (k.rows == 4) {
                position_grad(d, x, &sums);
            } else if (k.cols == 4) {
                position_grad(x, d, &sums);
            } else {
                sums.s0 += *d * *x;
            }
            d += d_step;
            x += x_step;
        }
        for (n >>= 1; n > 0; n--, d += 2 * d_step, x += 2 * x_step) {
            if (k.rows == 4) {
                positions_grad(d, d_step, x, x_step, &sums);
            } else if (k.cols == 4) {
                positions_grad(x, x_step, d, d_step, &sums);
            } else {
                sums.s0 += *d * *x;
                sums.s0 += d[d_step] * x[x_step];
            }
        }
    }
    g[0] = sums.s0;
    if (k.rows * k.cols == 4) {
        g[1] = sums.s1;
        g[2] = sums.s2;
        g[3] = sums.s3;
    }
}

/* A block's weights times the errors of a position; w: of 4x1 as quad_of_bytes has errors. */
SCL_INLINE void position_spread(quad w, const int8_t *d, int32_t *v, layout k)
{
    if (k.rows == 4) {
        const quad ds = quad_of_bytes(d);
        *v = __smlad(w.b, ds.b, __smlad(w.a, ds.a, *v));
    } else if (k.cols == 4) {
        uint32_t was[4];
        peek_words(v, 0, &was[0], &was[1]);
        peek_words(v, 8, &was[2], &was[3]);
        four sums = {(int32_t)was[0], (int32_t)was[1], (int32_t)was[2], (int32_t)was[3]};
        quad_scale(w, *d, &sums, k);
        poke_words(v, 0, (uint32_t)sums.s0, (uint32_t)sums.s1);
        poke_words(v, 8, (uint32_t)sums.s2, (uint32_t)sums.s3);
    } else {
        *v += w.a * *d;
    }
}

SCL_INLINE void walk_spread(const walk *seen, const int32_t *weights, const int8_t *d, int32_t *v,
                            layout k)
{
    const layout of_bytes = {.rows = k.rows, .cols = k.cols, .frozen = true};
    const uint32_t d_step = seen->d_step;
    const uint32_t v_step = seen->x_step;
    quad w = {weights[0], 0};
    if (k.rows * k.cols == 4) {
        w = (quad){low_halves(weights[0], weights[2]), low_halves(weights[1], weights[3])};
    }
    d += seen->d;
    v += seen->x;
    for (uint32_t rows = seen->rows; rows > 0; rows--, d += seen->d_skip, v += seen->x_skip) {
        uint32_t n = seen->n;
        if ((n & 1u) != 0) {
            position_spread(w, d, v, of_bytes);
            d += d_step;
            v += v_step;
        }
        for (n >>= 1; n > 0; n--, d += 2 * d_step, v += 2 * v_step) {
            position_spread(w, d, v, of_bytes);
            position_spread(w, d + d_step, v + v_step, of_bytes);
        }
    }
}

#endif
