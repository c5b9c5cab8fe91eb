/* matrix.h - the bodies behind every dense and convolution kernel.
 *
 * Block shape (rows x cols), index width and storage are constants where a body is
 * inlined, so each public variant has its loops unrolled and its tests removed. */
#ifndef SPARCL_SRC_OPS_MATRIX_H
#define SPARCL_SRC_OPS_MATRIX_H

#include "layout.h"

/* Fast variants are chosen here, by what the core has. */
#if SCL_DSP
#include "dsp/forward.h"
#include "dsp/input_grad.h"
#include "dsp/update.h"
#include "dsp/walk.h"
#if SCL_MVE
#include "mve/tile.h"
#else
#include "dsp/tile.h"
#endif
#else
#include "blocks.h"
#endif

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
    int32_t acc[SCL_OUTPUTS_AT_ONCE];
    const uint16_t *start = m->start;
    cursor c = cursor_at(m, 0, k);
    for (uint32_t o = 0; o < m->rows;) {
        const uint32_t left = m->rows - o;
        const uint32_t some = left < SCL_OUTPUTS_AT_ONCE ? left : SCL_OUTPUTS_AT_ONCE;
        const uint32_t first = o;
        for (int32_t *sums = acc; o < first + some;) {
            const uint32_t n = group_rows(m, o, k);
            if (k.index_bytes == 0) {
                rows_dot(m, o, n, x, sums, k);
            } else {
                group_dot(&c, (uint32_t)start[1] - start[0], x, sums, k);
                start++;
            }
            o += n;
            sums += n;
        }
        scl_outputs_put(out, base + first, some, acc, m->bias + first, e_acc);
    }
}

/* Outputs of n <= SCL_TILE positions of a convolution, from out[base] on, from their patches. */
SCL_INLINE void matrix_forward_tile(const scl_matrix *m, const int16_t *tile, uint32_t n, int e_acc,
                                    uint32_t base, scl_output *out, layout k)
{
    int32_t acc[SCL_TILE * SCL_OUTPUTS_AT_ONCE];
    const uint16_t *start = m->start;
    cursor c = cursor_at(m, 0, k);
    for (uint32_t o = 0; o < m->rows;) {
        const uint32_t left = m->rows - o;
        const uint32_t some = left < SCL_OUTPUTS_AT_ONCE ? left : SCL_OUTPUTS_AT_ONCE;
        for (uint32_t r = 0; r < some; r += k.rows) {
            uint32_t blocks = m->fan_in;
            if (k.index_bytes != 0) {
                blocks = (uint32_t)start[1] - start[0];
                start++;
            }
            tile_dot(m, &c, blocks, tile, acc + r, k);
        }
        for (uint32_t lane = 0; lane < n; lane++) {
            scl_outputs_put(out, base + lane * m->rows + o, some, acc + lane * SCL_OUTPUTS_AT_ONCE,
                            m->bias + o, e_acc);
        }
        o += some;
    }
}

/* Adds the errors of one position's inputs to v (fan_in); d (rows). */
SCL_INLINE void matrix_input_grad(const scl_matrix *m, const int8_t *d, int32_t *v, layout k)
{
    const uint16_t *start = m->start;
    for (uint32_t o = 0, n; o < m->rows; o += n, d += n) {
        int32_t any = 0;
        n = group_rows(m, o, k);
        for (uint32_t r = 0; r < n; r++) {
            any |= d[r];
        }
        if (k.index_bytes != 0) {
            start++;
        }
        if (any == 0) {
            continue;
        }
        if (k.index_bytes == 0) {
            rows_spread(m, o, n, d, v, k);
        } else {
            group_spread(m, start[-1], start[0], d, v, k);
        }
    }
}

#endif
