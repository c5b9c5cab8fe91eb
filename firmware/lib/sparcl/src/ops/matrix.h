/* matrix.h - the bodies behind every dense and convolution kernel.
 *
 * Block shape (rows x cols), index width and storage are constants where a body is
 * inlined, so each public variant has its loops unrolled and its tests removed. */
#ifndef SPARCL_SRC_OPS_MATRIX_H
#define SPARCL_SRC_OPS_MATRIX_H

#include "output.h"

/* The constants a variant is made of. */
typedef struct layout {
    uint32_t rows, cols;  /* block shape, rows * cols <= 4 */
    uint32_t index_bytes; /* 0: dense, no index */
    bool frozen;
} layout;

#define LAYOUT(r, c, ib, fr)                                                                       \
    ((layout){.rows = (r), .cols = (c), .index_bytes = (ib), .frozen = (fr)})

SCL_INLINE int32_t weight(const scl_matrix *m, uint32_t at, layout k)
{
    return k.frozen ? ((const int8_t *)m->weights)[at] : ((const int16_t *)m->weights)[at] >> 8;
}

/* First input of a block. `nth` is its number within its group. */
SCL_INLINE uint32_t block_input(const scl_matrix *m, uint32_t block, uint32_t nth, layout k)
{
    const uint32_t column = k.index_bytes == 0   ? nth
                            : k.index_bytes == 1 ? ((const uint8_t *)m->index)[block]
                                                 : ((const uint16_t *)m->index)[block];
    return column * k.cols;
}

SCL_INLINE uint32_t first_block(const scl_matrix *m, uint32_t group, layout k)
{
    return k.index_bytes == 0 ? group * m->fan_in : m->start[group];
}

/* The blocks of a group whose gradients a sink takes, all or part of its own. */
typedef struct block_range {
    uint32_t group_first; /* first block of the group */
    uint32_t first, end;
    uint32_t origin; /* block whose first weight is the sink's number 0 */
} block_range;

SCL_INLINE block_range sink_blocks(const scl_matrix *m, const sink *to, uint32_t group, layout k)
{
    block_range r = {.group_first = first_block(m, group, k), .end = first_block(m, group + 1, k)};
    r.first = r.group_first;
    if (to->kind == SINK_MEASURE) {
        r.first = r.first > to->first ? r.first : to->first;
        r.end = r.end < to->end ? r.end : to->end;
        r.origin = to->first;
    }
    return r;
}

/* out[base ..] from x (fan_in). */
SCL_INLINE void matrix_forward(const scl_matrix *m, const int8_t *x, int e_acc, uint32_t base,
                               scl_output *out, layout k)
{
    for (uint32_t group = 0; group < m->rows / k.rows; group++) {
        const uint32_t first = first_block(m, group, k);
        const uint32_t end = first_block(m, group + 1, k);
        uint32_t at = first * k.rows * k.cols;
        int32_t acc[4] = {0};
        for (uint32_t b = first; b < end; b++) {
            const int8_t *xs = x + block_input(m, b, b - first, k);
            for (uint32_t r = 0; r < k.rows; r++) {
                for (uint32_t c = 0; c < k.cols; c++) {
                    acc[r] += weight(m, at++, k) * xs[c];
                }
            }
        }
        for (uint32_t r = 0; r < k.rows; r++) {
            const uint32_t o = group * k.rows + r;
            const int32_t bias = scl_rsr(m->bias[o], e_acc - SCL_BIAS_EXPONENT);
            scl_output_put(out, base + o, acc[r] + bias, out->exponent - e_acc);
        }
    }
}

/* Adds the errors of one position's inputs to v (fan_in); d (rows). */
SCL_INLINE void matrix_input_grad(const scl_matrix *m, const int8_t *d, int32_t *v, layout k)
{
    for (uint32_t group = 0; group < m->rows / k.rows; group++) {
        const int8_t *ds = d + group * k.rows;
        int32_t any = 0;
        for (uint32_t r = 0; r < k.rows; r++) {
            any |= ds[r];
        }
        if (any == 0) {
            continue;
        }
        const uint32_t first = first_block(m, group, k);
        const uint32_t end = first_block(m, group + 1, k);
        uint32_t at = first * k.rows * k.cols;
        for (uint32_t b = first; b < end; b++) {
            int32_t *vs = v + block_input(m, b, b - first, k);
            for (uint32_t r = 0; r < k.rows; r++) {
                for (uint32_t c = 0; c < k.cols; c++) {
                    vs[c] += weight(m, at++, k) * ds[r];
                }
            }
        }
    }
}

#endif
