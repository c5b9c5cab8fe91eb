/* input_grad.h - errors of inputs, of blocks and of whole rows. */
#ifndef SPARCL_SRC_OPS_DSP_INPUT_GRAD_H
#define SPARCL_SRC_OPS_DSP_INPUT_GRAD_H

#include "weights.h"

SCL_INLINE void block_spread(cursor *c, const int8_t *d, quad ds, int32_t *v, layout k)
{
    v += next_input(c, k);
    if (k.rows == 4) {
        const quad w = next_quad(c, k);
        *v = __smlad(w.b, ds.b, __smlad(w.a, ds.a, *v));
    } else if (k.cols == 4) {
        four sums = {v[0], v[1], v[2], v[3]};
        quad_scale(next_quad(c, k), *d, &sums, k);
        v[0] = sums.s0;
        v[1] = sums.s1;
        v[2] = sums.s2;
        v[3] = sums.s3;
    } else {
        *v += next_single(c, k) * *d;
    }
}

SCL_INLINE void group_spread(const scl_matrix *m, uint32_t first, uint32_t end, const int8_t *d,
                             int32_t *v, layout k)
{
    cursor c = cursor_at(m, first, k);
    quad ds = {0, 0}; /* in the order of the weights */
    if (k.rows == 4) {
        ds = (quad){low_halves(d[0], d[k.frozen ? 2 : 1]), low_halves(d[k.frozen ? 1 : 2], d[3])};
    }
    uint32_t blocks = end - first;
    if ((blocks & 1u) != 0) {
        block_spread(&c, d, ds, v, k);
    }
    for (blocks >>= 1; blocks > 0; blocks--) {
        block_spread(&c, d, ds, v, k);
        block_spread(&c, d, ds, v, k);
    }
}

SCL_INLINE void some_rows_spread(const scl_matrix *m, uint32_t o, uint32_t n, const int8_t *d,
                                 int32_t *v, bool even, layout k)
{
    cursor rows[SCL_DENSE_ROWS];
    int32_t ds[SCL_DENSE_ROWS]; /* in registers */
    SCL_UNROLL
    for (uint32_t r = 0; r < n; r++) {
        rows[r] = cursor_at(m, (o + r) * m->fan_in, k);
        ds[r] = d[r];
    }
    for (const int32_t *end = v + (m->fan_in & ~3u); v < end; v += 4) {
        four sums = {v[0], v[1], v[2], v[3]};
        SCL_UNROLL
        for (uint32_t r = 0; r < n; r++) {
            quad_scale(next_of_row(&rows[r], even, k), ds[r], &sums, k);
        }
        v[0] = sums.s0;
        v[1] = sums.s1;
        v[2] = sums.s2;
        v[3] = sums.s3;
    }
    for (uint32_t left = m->fan_in & 3u; left > 0; left--, v++) {
        SCL_UNROLL
        for (uint32_t r = 0; r < n; r++) {
            *v += next_single(&rows[r], k) * ds[r];
        }
    }
}

SCL_INLINE void rows_spread(const scl_matrix *m, uint32_t o, uint32_t n, const int8_t *d,
                            int32_t *v, layout k)
{
    if (rows_align(m, n, k)) {
        some_rows_spread(m, o, SCL_DENSE_ROWS, d, v, true, k);
        return;
    }
    for (uint32_t r = 0; r < n; r++) {
        some_rows_spread(m, o + r, 1, d + r, v, false, k);
    }
}

#endif
