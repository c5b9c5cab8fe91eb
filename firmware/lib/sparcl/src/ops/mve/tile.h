/* tile.h - outputs of a convolution with the vectors of MVE (Cortex-M55): SCL_TILE positions share
 * what is loaded of the weights. Values of a position lie together, as bytes. */
#ifndef SPARCL_SRC_OPS_MVE_TILE_H
#define SPARCL_SRC_OPS_MVE_TILE_H

#include <string.h>

#include "../dsp/forward.h"

/* Values i .. i + n - 1 of position `lane`. */
SCL_INLINE void tile_put(int16_t *tile, uint32_t i, uint32_t lane, const int8_t *from, uint32_t n,
                         const scl_matrix *m, layout k)
{
    (void)k;
    memcpy((int8_t *)tile + lane * m->fan_in + i, from, n);
}

/* The same, zeros. */
SCL_INLINE void tile_clear(int16_t *tile, uint32_t i, uint32_t lane, uint32_t n,
                           const scl_matrix *m, layout k)
{
    (void)k;
    memset((int8_t *)tile + lane * m->fan_in + i, 0, n);
}

/* Eight columns of an index, from number `at` on. */
SCL_INLINE uint16x8_t eight_columns(const cursor *c, uint32_t at, mve_pred16_t those, layout k)
{
    return k.index_bytes == 1 ? vldrbq_z_u16((const uint8_t *)c->index + at, those)
                              : vldrhq_z_u16((const uint16_t *)c->index + at, those);
}

/* Eight single weights or weights of a row, from number `at` on. */
SCL_INLINE int16x8_t eight_weights(const cursor *c, uint32_t at, mve_pred16_t those, layout k)
{
    if (k.frozen) {
        return vldrbq_z_s16(c->hi + at, those);
    }
    const int16_t *masters = is_single(k) ? (const void *)(c->hi - 1) : c->master;
    return vshrq_n_s16(vldrhq_z_s16(masters + at, those), 8);
}

/* sums[lane] += the next sixteens of a row; returns how many inputs are left. */
SCL_INLINE uint32_t sixteens_at_lanes(cursor *c, uint32_t inputs, const int8_t *x, uint32_t pitch,
                                      int32_t *sums, layout k)
{
    for (; inputs >= 16; inputs -= 16, x += 16) {
        const int8x16_t weights = sixteen_of_row(c, k);
        SCL_UNROLL
        for (uint32_t lane = 0; lane < SCL_TILE; lane++) {
            sums[lane] = vmladavaq_s8(sums[lane], weights, vldrbq_s8(x + lane * pitch));
        }
    }
    return inputs;
}

/* sums[lane] += four 1x4 blocks, or fewer: those without weights have column 0. */
SCL_INLINE void four_at_lanes(uint32x4_t columns, int8x16_t weights, const int8_t *x,
                              uint32_t pitch, int32_t *sums)
{
    SCL_UNROLL
    for (uint32_t lane = 0; lane < SCL_TILE; lane++) {
        const int32_t *words = (const int32_t *)(const void *)(x + lane * pitch);
        const int32x4_t xs = vldrwq_gather_shifted_offset_s32(words, columns);
        sums[lane] = vmladavaq_s8(sums[lane], weights, vreinterpretq_s8_s32(xs));
    }
}

/* sums[lane] += the next 1x4 blocks. */
SCL_INLINE void blocks_at_lanes(cursor *c, uint32_t blocks, const int8_t *x, uint32_t pitch,
                                int32_t *sums, layout k)
{
    for (; blocks >= 4; blocks -= 4) {
        const uint32x4_t columns =
            k.index_bytes == 1 ? vldrbq_u32(c->index) : vldrhq_u32((const uint16_t *)c->index);
        four_at_lanes(columns, sixteen_of_row(c, k), x, pitch, sums);
        c->index = (const uint8_t *)c->index + 4 * k.index_bytes;
    }
    if (blocks > 0) {
        const mve_pred16_t those = vctp32q(blocks);
        const mve_pred16_t theirs = vctp8q(4 * blocks);
        const uint32x4_t columns = k.index_bytes == 1
                                       ? vldrbq_z_u32(c->index, those)
                                       : vldrhq_z_u32((const uint16_t *)c->index, those);
        const int8_t *high_bytes = (const int8_t *)c->master;
        const int8x16_t weights =
            k.frozen ? vldrbq_z_s8(c->hi, theirs)
                     : vldrbq_gather_offset_z_s8(high_bytes, vidupq_n_u8(1, 2), theirs);
        four_at_lanes(columns, weights, x, pitch, sums);
        c->index = (const uint8_t *)c->index + blocks * k.index_bytes;
        if (k.frozen) {
            c->hi += 4 * blocks;
        } else {
            c->master += 4 * blocks;
        }
    }
}

/* sums[lane] += the next n single weights, of blocks or of a row whose inputs begin at x. */
SCL_INLINE void singles_at_lanes(cursor *c, uint32_t n, const int8_t *x, uint32_t pitch,
                                 int32_t *sums, layout k)
{
    for (uint32_t at = 0; at < n; at += 8) {
        const mve_pred16_t those = vctp16q(n - at);
        const uint16x8_t inputs =
            k.index_bytes == 0 ? vidupq_n_u16(at, 1) : eight_columns(c, at, those, k);
        const int16x8_t weights = eight_weights(c, at, those, k);
        SCL_UNROLL
        for (uint32_t lane = 0; lane < SCL_TILE; lane++) {
            const int16x8_t xs = vldrbq_gather_offset_z_s16(x + lane * pitch, inputs, those);
            sums[lane] = vmladavaq_s16(sums[lane], weights, xs);
        }
    }
    c->index = (const uint8_t *)c->index + n * k.index_bytes;
    if (k.frozen || is_single(k)) {
        c->hi += k.frozen ? n : 2 * n;
    } else {
        c->master += n;
    }
}

SCL_INLINE void tile_dot(const scl_matrix *m, cursor *c, uint32_t blocks, const int16_t *tile,
                         int32_t *acc, layout k)
{
    const int8_t *x = (const int8_t *)tile;
    const uint32_t pitch = m->fan_in;
    if (k.rows == 4) {
        const cursor first = *c;
        for (uint32_t lane = 0; lane < SCL_TILE; lane++) {
            *c = first;
            group_dot(c, blocks, x + lane * pitch, acc + lane * SCL_OUTPUTS_AT_ONCE, k);
        }
        return;
    }
    int32_t sums[SCL_TILE] = {0};
    if (k.cols == 4) {
        blocks_at_lanes(c, blocks, x, pitch, sums, k);
    } else {
        uint32_t left = blocks;
        if (k.index_bytes == 0 && (k.frozen || (m->fan_in & 1u) == 0)) { /* rows are aligned to 4 */
            left = sixteens_at_lanes(c, blocks, x, pitch, sums, k);
        }
        singles_at_lanes(c, left, x + (blocks - left), pitch, sums, k);
    }
    for (uint32_t lane = 0; lane < SCL_TILE; lane++) {
        acc[lane * SCL_OUTPUTS_AT_ONCE] = sums[lane];
    }
}

#endif
