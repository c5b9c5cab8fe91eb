/* tile.h - outputs of a convolution: SCL_TILE positions share a weight.
 *
 * Values of a position lie in fours, in the order of next_quad, where weights come in fours along
 * the inputs; else each input's values lie together. */
#ifndef SPARCL_SRC_OPS_DSP_TILE_H
#define SPARCL_SRC_OPS_DSP_TILE_H

#include "weights.h"

SCL_INLINE bool tile_of_fours(const scl_matrix *m, layout k)
{
    return k.cols == 4 || (k.index_bytes == 0 && (m->fan_in & 3u) == 0);
}

/* Where value i of a position lies. */
SCL_INLINE uint32_t tile_at(uint32_t i, uint32_t lane, const scl_matrix *m, layout k)
{
    if (!tile_of_fours(m, k)) {
        return i * SCL_TILE + lane;
    }
    const uint32_t in_four = k.frozen ? (i >> 1 & 1u) | (i & 1u) << 1 : i & 3u; /* 0, 2, 1, 3 */
    return (i & ~3u) * SCL_TILE + 4 * lane + in_four;
}

/* Are values i .. i + n - 1 of a position fours? */
SCL_INLINE bool are_fours(uint32_t i, uint32_t n, const scl_matrix *m, layout k)
{
    return tile_of_fours(m, k) && ((i | n) & 3u) == 0;
}

/* Values i .. i + n - 1 of position `lane`; n > 0. */
SCL_INLINE void tile_put(int16_t *tile, uint32_t i, uint32_t lane, const int8_t *from, uint32_t n,
                         const scl_matrix *m, layout k)
{
    const int8_t *end = from + n;
    if (are_fours(i, n, m, k)) {
        int16_t *to = tile + i * SCL_TILE + 4 * lane;
        do {
            quad values = quad_of_bytes(from);
            if (!k.frozen) {
                values = (quad){low_halves(values.a, values.b), high_halves(values.a, values.b)};
            }
            put_four(&to, 8 * SCL_TILE, (uint32_t)values.a, (uint32_t)values.b);
            from += 4;
        } while (from != end);
        return;
    }
    if (!tile_of_fours(m, k)) {
        int16_t *to = tile + i * SCL_TILE + lane;
        for (; end - from >= 4; from += 4, i += 4, to += 4 * SCL_TILE) {
            const quad values = quad_of_bytes(from);
            to[0] = (int16_t)values.a;
            to[SCL_TILE] = (int16_t)values.b;
            to[2 * SCL_TILE] = (int16_t)(values.a >> 16);
            to[3 * SCL_TILE] = (int16_t)(values.b >> 16);
        }
    }
    for (; from < end; i++) {
        tile[tile_at(i, lane, m, k)] = *from++;
    }
}

/* The same, zeros. */
SCL_INLINE void tile_clear(int16_t *tile, uint32_t i, uint32_t lane, uint32_t n,
                           const scl_matrix *m, layout k)
{
    if (are_fours(i, n, m, k)) {
        for (int16_t *to = tile + i * SCL_TILE + 4 * lane; n > 0; n -= 4) {
            put_four(&to, 8 * SCL_TILE, 0, 0);
        }
        return;
    }
    for (; n > 0; n--, i++) {
        tile[tile_at(i, lane, m, k)] = 0;
    }
}

/* sum += weights times four values of a position. */
SCL_INLINE int32_t lane_dot(quad w, const int16_t *xs, int32_t lane, int32_t sum)
{
    uint32_t first;
    uint32_t second;
    peek_words(xs, 8 * lane, &first, &second);
    return __smlad(w.b, (int16x2_t)second, __smlad(w.a, (int16x2_t)first, sum));
}

SCL_INLINE void lanes_dot(quad w, const int16_t *xs, four *sums)
{
    sums->s0 = lane_dot(w, xs, 0, sums->s0);
    sums->s1 = lane_dot(w, xs, 1, sums->s1);
    sums->s2 = lane_dot(w, xs, 2, sums->s2);
    sums->s3 = lane_dot(w, xs, 3, sums->s3);
}

/* One weight times an input's values at all positions. */
SCL_INLINE void lanes_scale(int32_t w, const int16_t *xs, four *sums)
{
    uint32_t first;
    uint32_t second;
    peek_words(xs, 0, &first, &second);
    sums->s0 = __smlabb(w, (int32_t)first, sums->s0);
    sums->s1 = __smlabt(w, (int32_t)first, sums->s1);
    sums->s2 = __smlabb(w, (int32_t)second, sums->s2);
    sums->s3 = __smlabt(w, (int32_t)second, sums->s3);
}

SCL_INLINE void block_lanes(cursor *c, const int16_t *tile, four *sums, layout k)
{
    tile += next_input(c, k) * SCL_TILE;
    if (k.cols == 4) {
        lanes_dot(next_quad(c, k), tile, sums);
    } else {
        lanes_scale(next_single(c, k), tile, sums);
    }
}

SCL_INLINE void put_lanes(int32_t *acc, four sums)
{
    acc[0] = sums.s0;
    acc[SCL_OUTPUTS_AT_ONCE] = sums.s1;
    acc[2 * SCL_OUTPUTS_AT_ONCE] = sums.s2;
    acc[3 * SCL_OUTPUTS_AT_ONCE] = sums.s3;
}

/* A 4x1 block at two positions. */
SCL_INLINE void two_lanes_scale(quad w, int32_t xs, four *at_first, four *at_second, layout k)
{
    quad_scale(w, xs, at_first, k);
    at_second->s0 = __smlabt(w.a, xs, at_second->s0);
    at_second->s3 = __smlatt(w.b, xs, at_second->s3);
    if (k.frozen) {
        at_second->s2 = __smlatt(w.a, xs, at_second->s2);
        at_second->s1 = __smlabt(w.b, xs, at_second->s1);
    } else {
        at_second->s1 = __smlatt(w.a, xs, at_second->s1);
        at_second->s2 = __smlabt(w.b, xs, at_second->s2);
    }
}

SCL_INLINE void tile_dot_of_columns(cursor *at, uint32_t blocks, const int16_t *tile, int32_t *acc,
                                    layout k)
{
    cursor c = *at;
    for (uint32_t lane = 0; lane < SCL_TILE; lane += 2) {
        four at_first = {0, 0, 0, 0};
        four at_second = {0, 0, 0, 0};
        const int16_t *xs = base_register(tile + lane);
        c = *at;
        for (uint32_t b = blocks; b > 0; b--) {
            const int32_t two = (int32_t)load_word(xs + next_input(&c, k) * SCL_TILE);
            two_lanes_scale(next_quad(&c, k), two, &at_first, &at_second, k);
        }
        memcpy(acc + lane * SCL_OUTPUTS_AT_ONCE, &at_first, sizeof at_first);
        memcpy(acc + (lane + 1) * SCL_OUTPUTS_AT_ONCE, &at_second, sizeof at_second);
    }
    *at = c;
}

SCL_INLINE void tile_dot(const scl_matrix *m, cursor *at, uint32_t blocks, const int16_t *tile,
                         int32_t *acc, layout k)
{
    (void)m;
    cursor c = *at;
    four sums = {0, 0, 0, 0};
    if (k.rows == 4) {
        tile_dot_of_columns(at, blocks, tile, acc, k);
        return;
    }
    if (k.index_bytes == 0 && (blocks & 3u) == 0) { /* tile_of_fours */
        for (; blocks > 0; blocks -= 4, tile += 4 * SCL_TILE) {
            lanes_dot(next_of_row(&c, true, k), tile, &sums);
        }
    } else if (k.index_bytes == 0) {
        for (; blocks > 0; blocks--, tile += SCL_TILE) {
            lanes_scale(next_single(&c, k), tile, &sums);
        }
    } else {
        if (k.cols == 1) { /* short enough to be worth two at a time */
            if ((blocks & 1u) != 0) {
                block_lanes(&c, tile, &sums, k);
            }
            blocks >>= 1;
        }
        for (; blocks > 0; blocks--) {
            block_lanes(&c, tile, &sums, k);
            if (k.cols == 1) {
                block_lanes(&c, tile, &sums, k);
            }
        }
    }
    put_lanes(acc, sums);
    *at = c;
}

#endif
