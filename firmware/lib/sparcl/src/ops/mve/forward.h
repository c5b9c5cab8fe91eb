/* forward.h - outputs of a dense layer with the vectors of MVE (Cortex-M55): eight blocks or
 * sixteen inputs at once. What is left over goes the way of dsp/forward.h. */
#ifndef SPARCL_SRC_OPS_MVE_FORWARD_H
#define SPARCL_SRC_OPS_MVE_FORWARD_H

#include <arm_mve.h>

#include "../dsp/weights.h"

/* Weights of eight blocks from c on, by row. */
SCL_INLINE int16x8x4_t eight_blocks(const cursor *c, layout k)
{
    int16x8x4_t by_row;
    if (k.frozen) {
        const uint16x8_t fours = vidupq_n_u16(0, 4);
        SCL_UNROLL
        for (uint32_t r = 0; r < 4; r++) {
            by_row.val[r] = vldrbq_gather_offset_s16(c->hi + r, fours);
        }
        return by_row;
    }
    by_row = vld4q_s16(c->master);
    SCL_UNROLL
    for (uint32_t r = 0; r < 4; r++) {
        by_row.val[r] = vshrq_n_s16(by_row.val[r], 8);
    }
    return by_row;
}

/* sums += the next eights of 4x1 blocks; returns how many blocks are left. */
SCL_INLINE uint32_t eights_dot(cursor *c, uint32_t blocks, const int8_t *x, four *sums, layout k)
{
    if (k.rows != 4) {
        return blocks;
    }
    const uint8_t *index = c->index;
    for (; blocks >= 8; blocks -= 8) {
        const uint16x8_t inputs = k.index_bytes == 1
                                      ? vldrbq_u16(index)
                                      : vldrhq_u16((const uint16_t *)(const void *)index);
        const int16x8_t xs = vldrbq_gather_offset_s16(x, inputs);
        const int16x8x4_t weights = eight_blocks(c, k);
        sums->s0 = vmladavaq_s16(sums->s0, weights.val[0], xs);
        sums->s1 = vmladavaq_s16(sums->s1, weights.val[1], xs);
        sums->s2 = vmladavaq_s16(sums->s2, weights.val[2], xs);
        sums->s3 = vmladavaq_s16(sums->s3, weights.val[3], xs);
        index += 8 * k.index_bytes;
        if (k.frozen) {
            c->hi += 32;
        } else {
            c->master += 32;
        }
    }
    c->index = index;
    return blocks;
}

/* The next sixteen weights of a row, which moves on; masters are aligned to 4, as VLD2 needs. */
SCL_INLINE int8x16_t sixteen_of_row(cursor *row, layout k)
{
    if (k.frozen) {
        const int8x16_t weights = vldrbq_s8(row->hi);
        row->hi += 16;
        return weights;
    }
    const int8x16x2_t bytes = vld2q_s8((const int8_t *)row->master);
    row->master += 16;
    return bytes.val[1]; /* a master's high byte is its weight */
}

/* sums += the next sixteens of inputs, or eights where masters are not `even`, that is aligned to
 * 4; returns how many inputs are left. */
SCL_INLINE uint32_t sixteens_dot(cursor rows[SCL_DENSE_ROWS], uint32_t n, uint32_t inputs,
                                 const int8_t *x, int32_t *sums, bool even, layout k)
{
    if (!even && !k.frozen) {
        for (; inputs >= 8; inputs -= 8, x += 8) {
            const int16x8_t xs = vldrbq_s16(x);
            SCL_UNROLL
            for (uint32_t r = 0; r < n; r++) {
                const int16x8_t weights = vshrq_n_s16(vldrhq_s16(rows[r].master), 8);
                sums[r] = vmladavaq_s16(sums[r], weights, xs);
                rows[r].master += 8;
            }
        }
        return inputs;
    }
    for (; inputs >= 16; inputs -= 16, x += 16) {
        const int8x16_t xs = vldrbq_s8(x);
        SCL_UNROLL
        for (uint32_t r = 0; r < n; r++) {
            sums[r] = vmladavaq_s8(sums[r], sixteen_of_row(&rows[r], k), xs);
        }
    }
    return inputs;
}

#endif
