/* forward.h - outputs of a dense layer, of blocks and of whole rows. */
#ifndef SPARCL_SRC_OPS_DSP_FORWARD_H
#define SPARCL_SRC_OPS_DSP_FORWARD_H

#include "weights.h"

#if SCL_MVE
#include "../mve/forward.h"
#else /* nothing at once, all is left */

SCL_INLINE uint32_t eights_dot(cursor *c, uint32_t blocks, const int8_t *x, four *sums, layout k)
{
    (void)c, (void)x, (void)sums, (void)k;
    return blocks;
}

SCL_INLINE uint32_t sixteens_dot(cursor rows[SCL_DENSE_ROWS], uint32_t n, uint32_t inputs,
                                 const int8_t *x, int32_t *sums, bool even, layout k)
{
    (void)rows, (void)n, (void)x, (void)sums, (void)even, (void)k;
    return inputs;
}

#endif

SCL_INLINE void block_dot(cursor *c, const int8_t *x, four *sums, layout k)
{
    x += next_input(c, k);
    if (k.rows == 4) {
        quad_scale(next_quad(c, k), *x, sums, k);
    } else if (k.cols == 4) {
        sums->s0 = quad_dot(next_quad(c, k), quad_of_bytes(x), sums->s0, k);
    } else {
        sums->s0 += next_single(c, k) * *x;
    }
}

SCL_INLINE void group_dot(cursor *at, uint32_t blocks, const int8_t *x, int32_t *acc, layout k)
{
    cursor c = *at;
    four sums = {0, 0, 0, 0};
    blocks = eights_dot(&c, blocks, x, &sums, k);
    uint32_t rounds = (blocks + 3u) / 4u; /* of Duff's device: a rest costs no second loop */
    if (blocks > 0) {
        switch (blocks & 3u) {
            do {
            case 0:
                block_dot(&c, x, &sums, k);
                /* fall through */
            case 3:
                block_dot(&c, x, &sums, k);
                /* fall through */
            case 2:
                block_dot(&c, x, &sums, k);
                /* fall through */
            default:
                block_dot(&c, x, &sums, k);
            } while (--rounds > 0);
        }
    }
    *at = c;
    acc[0] = sums.s0;
    if (k.rows == 4) {
        acc[1] = sums.s1;
        acc[2] = sums.s2;
        acc[3] = sums.s3;
    }
}

/* Rows of a dense layer: n of them at once share what is loaded of the inputs. */
SCL_INLINE void some_rows_dot(const scl_matrix *m, uint32_t o, uint32_t n, const int8_t *x,
                              int32_t *acc, bool even, layout k)
{
    cursor rows[SCL_DENSE_ROWS];
    int32_t sums[SCL_DENSE_ROWS] = {0};
    SCL_UNROLL
    for (uint32_t r = 0; r < n; r++) {
        rows[r] = cursor_at(m, (o + r) * m->fan_in, k);
    }
    uint32_t left = sixteens_dot(rows, n, m->fan_in, x, sums, even, k);
    x += m->fan_in - left;
    for (const int8_t *end = x + (left & ~3u); x < end; x += 4) {
        quad xs = quad_of_bytes(x);
        if (!k.frozen) {
            xs = (quad){low_halves(xs.a, xs.b), high_halves(xs.a, xs.b)};
        }
        SCL_UNROLL
        for (uint32_t r = 0; r < n; r++) {
            const quad w = next_of_row(&rows[r], even, k);
            sums[r] = __smlad(w.b, xs.b, __smlad(w.a, xs.a, sums[r]));
        }
    }
    for (left &= 3u; left > 0; left--, x++) {
        SCL_UNROLL
        for (uint32_t r = 0; r < n; r++) {
            sums[r] += next_single(&rows[r], k) * *x;
        }
    }
    SCL_UNROLL
    for (uint32_t r = 0; r < n; r++) {
        acc[r] = sums[r];
    }
}

SCL_INLINE void rows_dot(const scl_matrix *m, uint32_t o, uint32_t n, const int8_t *x, int32_t *acc,
                         layout k)
{
    if (rows_align(m, n, k)) {
        some_rows_dot(m, o, SCL_DENSE_ROWS, x, acc, true, k);
        return;
    }
    for (uint32_t r = 0; r < n; r++) {
        some_rows_dot(m, o + r, 1, x, acc + r, false, k);
    }
}

#endif
