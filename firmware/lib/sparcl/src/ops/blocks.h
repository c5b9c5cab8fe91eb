/* blocks.h - the innermost loops of matrix.h, readable and for every core.
 *
 * A group is what shares an accumulation: the rows of a block, or some rows of a dense layer.
 * The files in dsp compute the same with the instructions of some cores. */
#ifndef SPARCL_SRC_OPS_BLOCKS_H
#define SPARCL_SRC_OPS_BLOCKS_H

#include "layout.h"
#include "walk.h"

/* Where the next block lies. */
typedef struct cursor {
    const scl_matrix *m;
    uint32_t block;
} cursor;

SCL_INLINE cursor cursor_at(const scl_matrix *m, uint32_t block, layout k)
{
    (void)k;
    return (cursor){m, block};
}

/* acc[r] = weights of row r of the group times x, over the next blocks. */
SCL_INLINE void group_dot(cursor *c, uint32_t blocks, const int8_t *x, int32_t *acc, layout k)
{
    uint32_t at = c->block * k.rows * k.cols;
    int32_t sums[4] = {0};
    for (const uint32_t end = c->block + blocks; c->block < end; c->block++) {
        const int8_t *xs = x + block_input(c->m, c->block, 0, k);
        SCL_UNROLL
        for (uint32_t r = 0; r < k.rows; r++) {
            SCL_UNROLL
            for (uint32_t i = 0; i < k.cols; i++) {
                sums[r] += weight(c->m, at++, k) * xs[i];
            }
        }
    }
    SCL_UNROLL
    for (uint32_t r = 0; r < k.rows; r++) {
        acc[r] = sums[r];
    }
}

/* Values i .. i + n - 1 of position `lane` in a tile of SCL_TILE patches; n > 0. */
SCL_INLINE void tile_put(int16_t *tile, uint32_t i, uint32_t lane, const int8_t *from, uint32_t n,
                         const scl_matrix *m, layout k)
{
    (void)m;
    (void)k;
    for (uint32_t c = 0; c < n; c++) {
        tile[(i + c) * SCL_TILE + lane] = from[c];
    }
}

/* The same, zeros. */
SCL_INLINE void tile_clear(int16_t *tile, uint32_t i, uint32_t lane, uint32_t n,
                           const scl_matrix *m, layout k)
{
    (void)m;
    (void)k;
    for (uint32_t c = 0; c < n; c++) {
        tile[(i + c) * SCL_TILE + lane] = 0;
    }
}

/* acc[lane * SCL_OUTPUTS_AT_ONCE + r] = weights of row r of the group times a position's patch,
 * over the next blocks; of a dense layer, one row. */
SCL_INLINE void tile_dot(const scl_matrix *m, cursor *c, uint32_t blocks, const int16_t *tile,
                         int32_t *acc, layout k)
{
    uint32_t at = c->block * k.rows * k.cols;
    int32_t sums[4][SCL_TILE] = {{0}};
    for (uint32_t b = 0; b < blocks; b++) {
        const int16_t *xs = tile + block_input(m, c->block + b, b, k) * SCL_TILE;
        for (uint32_t r = 0; r < k.rows; r++) {
            for (uint32_t i = 0; i < k.cols; i++) {
                const int32_t w = weight(m, at++, k);
                for (uint32_t lane = 0; lane < SCL_TILE; lane++) {
                    sums[r][lane] += w * xs[i * SCL_TILE + lane];
                }
            }
        }
    }
    c->block += blocks;
    for (uint32_t r = 0; r < k.rows; r++) {
        for (uint32_t lane = 0; lane < SCL_TILE; lane++) {
            acc[lane * SCL_OUTPUTS_AT_ONCE + r] = sums[r][lane];
        }
    }
}

/* g (rows, cols of a block) += errors times inputs at all positions of a walk. */
SCL_INLINE void walk_grad(const walk *seen, const int8_t *d, const int8_t *x, int32_t *g, layout k)
{
    d += seen->d;
    x += seen->x;
    for (uint32_t y = 0; y < seen->rows; y++, d += seen->d_skip, x += seen->x_skip) {
        for (uint32_t n = 0; n < seen->n; n++, d += seen->d_step, x += seen->x_step) {
            for (uint32_t r = 0; r < k.rows; r++) {
                for (uint32_t c = 0; c < k.cols; c++) {
                    g[r * k.cols + c] += d[r] * x[c];
                }
            }
        }
    }
}

/* Errors of inputs v += weights (rows, cols of a block) times errors d at all positions. */
SCL_INLINE void walk_spread(const walk *seen, const int32_t *weights, const int8_t *d, int32_t *v,
                            layout k)
{
    d += seen->d;
    v += seen->x;
    for (uint32_t y = 0; y < seen->rows; y++, d += seen->d_skip, v += seen->x_skip) {
        for (uint32_t n = 0; n < seen->n; n++, d += seen->d_step, v += seen->x_step) {
            for (uint32_t r = 0; r < k.rows; r++) {
                for (uint32_t c = 0; c < k.cols; c++) {
                    v[c] += weights[r * k.cols + c] * d[r];
                }
            }
        }
    }
}

/* v += weights times the errors d of the group's rows, for blocks first .. end - 1. */
SCL_INLINE void group_spread(const scl_matrix *m, uint32_t first, uint32_t end, const int8_t *d,
                             int32_t *v, layout k)
{
    uint32_t at = first * k.rows * k.cols;
    for (uint32_t b = first; b < end; b++) {
        int32_t *vs = v + block_input(m, b, 0, k);
        for (uint32_t r = 0; r < k.rows; r++) {
            for (uint32_t c = 0; c < k.cols; c++) {
                vs[c] += weight(m, at++, k) * d[r];
            }
        }
    }
}

/* acc[r] = dense row o + r times x, r < n. */
SCL_INLINE void rows_dot(const scl_matrix *m, uint32_t o, uint32_t n, const int8_t *x, int32_t *acc,
                         layout k)
{
    for (uint32_t r = 0; r < n; r++) {
        const uint32_t at = (o + r) * m->fan_in;
        int32_t sum = 0;
        for (uint32_t i = 0; i < m->fan_in; i++) {
            sum += weight(m, at + i, k) * x[i];
        }
        acc[r] = sum;
    }
}

/* v += dense rows o .. o + n - 1 times their errors d. */
SCL_INLINE void rows_spread(const scl_matrix *m, uint32_t o, uint32_t n, const int8_t *d,
                            int32_t *v, layout k)
{
    for (uint32_t r = 0; r < n; r++) {
        const uint32_t at = (o + r) * m->fan_in;
        for (uint32_t i = 0; i < m->fan_in; i++) {
            v[i] += weight(m, at + i, k) * d[r];
        }
    }
}

/* Can group_learn and row_learn make this step? If not, weights go the way of other sinks. */
SCL_INLINE bool steps_fit(int shift)
{
    return shift >= 1 && shift <= 31;
}

/* change: of 17 bits, so that no sum overflows and no step is too large; half: of 2^shift. */
SCL_INLINE int16_t stepped(int32_t master, int32_t change, int32_t half, int shift)
{
    const int32_t m = master - ((change + half) >> shift);
    const bool fits = (uint32_t)(m - SCL_MASTER_MIN) <= SCL_MASTER_MAX - SCL_MASTER_MIN;
    return fits ? (int16_t)m : scl_master_clamp(m);
}

/* Masters of blocks first .. end - 1 of a group learn, those that are selected (bits; NULL: all);
 * scaled (k.rows): mantissa of the rate times the errors of its rows. */
SCL_INLINE void group_learn(const scl_matrix *m, int16_t *master, uint32_t first, uint32_t end,
                            const uint8_t *selected, const int32_t *scaled, const int8_t *x,
                            int shift, layout k)
{
    const int32_t half = (int32_t)(1u << (shift - 1));
    int32_t s[4] = {0};
    SCL_UNROLL
    for (uint32_t r = 0; r < k.rows; r++) {
        s[r] = scaled[r];
    }
    for (uint32_t b = first; b < end; b++) {
        const int8_t *xs = x + block_input(m, b, 0, k);
        int16_t *at = master + b * k.rows * k.cols;
        if (selected != NULL && !scl_bit(selected, b)) {
            continue;
        }
        SCL_UNROLL
        for (uint32_t r = 0; r < k.rows; r++) {
            SCL_UNROLL
            for (uint32_t c = 0; c < k.cols; c++, at++) {
                *at = stepped(*at, s[r] * xs[c], half, shift);
            }
        }
    }
}

/* A row of a dense layer learns. */
SCL_INLINE void row_learn(int16_t *row, uint32_t inputs, int32_t scaled, const int8_t *x, int shift)
{
    const int32_t half = (int32_t)(1u << (shift - 1));
    for (uint32_t i = 0; i < inputs; i++) {
        row[i] = stepped(row[i], scaled * x[i], half, shift);
    }
}

#endif
