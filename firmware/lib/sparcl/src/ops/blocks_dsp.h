/* blocks_dsp.h - the innermost loops of matrix.h for cores with 16-bit SIMD (dsp.h). What they
 * compute is written to be read in blocks.h. */
#ifndef SPARCL_SRC_OPS_BLOCKS_DSP_H
#define SPARCL_SRC_OPS_BLOCKS_DSP_H

#include "dsp.h"
#include "layout.h"

/* Where the next block lies. */
typedef struct cursor {
    const void *index;
    const int16_t *master; /* of blocks of four and rows, or */
    const int8_t *hi;      /* of a frozen layer or single weights; a master's high byte */
} cursor;

SCL_INLINE bool is_single(layout k)
{
    return k.index_bytes != 0 && k.rows * k.cols == 1;
}

SCL_INLINE cursor cursor_at(const scl_matrix *m, uint32_t block, layout k)
{
    const uint32_t at = block * k.rows * k.cols;
    cursor c = {(const uint8_t *)m->index + block * k.index_bytes, NULL, NULL};
    if (k.frozen) {
        c.hi = (const int8_t *)m->weights + at;
    } else if (is_single(k)) {
        c.hi = (const int8_t *)m->weights + 2 * at + 1; /* little-endian */
    } else {
        c.master = (const int16_t *)m->weights + at;
    }
    return c;
}

/* First input of the next block. */
SCL_INLINE uint32_t next_input(cursor *c, layout k)
{
    uint32_t column;
    if (k.index_bytes == 1) {
        const uint8_t *index = c->index;
        column = *index;
        c->index = index + 1;
    } else {
        const uint16_t *index = c->index;
        column = *index;
        c->index = index + 1;
    }
    return column * k.cols;
}

SCL_INLINE int32_t next_single(cursor *c, layout k)
{
    if (!k.frozen && !is_single(k)) {
        return *c->master++ >> 8;
    }
    const int32_t hi = *c->hi;
    c->hi += k.frozen ? 1 : 2;
    return hi;
}

/* Weights 0 .. 3: masters as (0, 1), (2, 3), frozen ones as (0, 2), (1, 3). */
SCL_INLINE quad next_quad(cursor *c, layout k)
{
    if (k.frozen) {
        const quad weights = quad_of_bytes(c->hi);
        c->hi += 4;
        return weights;
    }
    uint32_t first;
    uint32_t second;
    next_words(&c->master, &first, &second);
    return (quad){odd_bytes(first), odd_bytes(second)};
}

/* Weights 0 .. 3 of a row, which moves on; `even`: it is aligned to 4. */
SCL_INLINE quad next_of_row(cursor *row, bool even, layout k)
{
    if (!k.frozen && !even) {
        const quad w = {odd_bytes(load_word(row->master)), odd_bytes(load_word(row->master + 2))};
        row->master += 4;
        return w;
    }
    return next_quad(row, k);
}

/* sum += weights times four values as quad_of_bytes gives them. */
SCL_INLINE int32_t quad_dot(quad w, quad x, int32_t sum, layout k)
{
    if (k.frozen) {
        return __smlad(w.a, x.a, __smlad(w.b, x.b, sum));
    }
    sum = __smlabb(w.a, x.a, sum);
    sum = __smlatb(w.a, x.b, sum);
    sum = __smlabt(w.b, x.a, sum);
    return __smlatt(w.b, x.b, sum);
}

/* Sum i += weight i times x. */
SCL_INLINE void quad_scale(quad w, int32_t x, four *sums, layout k)
{
    sums->s0 = __smlabb(w.a, x, sums->s0);
    sums->s3 = __smlatb(w.b, x, sums->s3);
    if (k.frozen) {
        sums->s2 = __smlatb(w.a, x, sums->s2);
        sums->s1 = __smlabb(w.b, x, sums->s1);
    } else {
        sums->s1 = __smlatb(w.a, x, sums->s1);
        sums->s2 = __smlabb(w.b, x, sums->s2);
    }
}

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

/* The four of a block are errors or inputs, the other side is one value. */
SCL_INLINE void run_grad(const int8_t *d, uint32_t d_step, const int8_t *x, uint32_t x_step,
                         uint32_t n, int32_t *g, layout k)
{
    const layout of_bytes = {.frozen = true}; /* the order of quad_of_bytes */
    four sums = {g[0], g[1], g[2], g[3]};
    for (; n > 0; n--, d += d_step, x += x_step) {
        if (k.rows == 4) {
            quad_scale(quad_of_bytes(d), *x, &sums, of_bytes);
        } else if (k.cols == 4) {
            quad_scale(quad_of_bytes(x), *d, &sums, of_bytes);
        } else {
            sums.s0 += *d * *x;
        }
    }
    g[0] = sums.s0;
    if (k.rows * k.cols == 4) {
        g[1] = sums.s1;
        g[2] = sums.s2;
        g[3] = sums.s3;
    }
}

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

/* ---- tiles: SCL_TILE positions of a convolution share a weight ----
 *
 * Values of a position lie in fours, in the order of next_quad, where weights come in fours along
 * the inputs; else each input's values lie together. */

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

/* Values i .. i + n - 1 of position `lane`; n > 0. */
SCL_INLINE void tile_put(int16_t *tile, uint32_t i, uint32_t lane, const int8_t *from, uint32_t n,
                         const scl_matrix *m, layout k)
{
    const int8_t *end = from + n;
    if (!tile_of_fours(m, k) || ((i | n) & 3u) != 0) {
        for (; from < end; i++) {
            tile[tile_at(i, lane, m, k)] = *from++;
        }
        return;
    }
    int16_t *to = tile + i * SCL_TILE + 4 * lane;
    do {
        quad values = quad_of_bytes(from);
        if (!k.frozen) {
            values = (quad){low_halves(values.a, values.b), high_halves(values.a, values.b)};
        }
        put_four(&to, 8 * SCL_TILE, (uint32_t)values.a, (uint32_t)values.b);
        from += 4;
    } while (from != end);
}

/* The same, zeros. */
SCL_INLINE void tile_clear(int16_t *tile, uint32_t i, uint32_t lane, uint32_t n,
                           const scl_matrix *m, layout k)
{
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
        c = *at;
        for (uint32_t b = blocks; b > 0; b--) {
            const int16_t *xs = tile + next_input(&c, k) * SCL_TILE + lane;
            two_lanes_scale(next_quad(&c, k), (int32_t)load_word(xs), &at_first, &at_second, k);
        }
        memcpy(acc + lane * SCL_OUTPUTS_AT_ONCE, &at_first, sizeof at_first);
        memcpy(acc + (lane + 1) * SCL_OUTPUTS_AT_ONCE, &at_second, sizeof at_second);
    }
    *at = c;
}

SCL_INLINE void tile_dot(cursor *at, uint32_t blocks, const int16_t *tile, int32_t *acc, layout k)
{
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

/* ---- dense rows: n of them at once share what is loaded of the other side ---- */

/* Are there four rows that each begin at a word? */
SCL_INLINE bool rows_align(const scl_matrix *m, uint32_t n, layout k)
{
    return n == SCL_DENSE_ROWS && (k.frozen || (m->fan_in & 1u) == 0);
}

SCL_INLINE void some_rows_dot(const scl_matrix *m, uint32_t o, uint32_t n, const int8_t *x,
                              int32_t *acc, bool even, layout k)
{
    cursor rows[SCL_DENSE_ROWS];
    int32_t sums[SCL_DENSE_ROWS] = {0};
    SCL_UNROLL
    for (uint32_t r = 0; r < n; r++) {
        rows[r] = cursor_at(m, (o + r) * m->fan_in, k);
    }
    for (const int8_t *end = x + (m->fan_in & ~3u); x < end; x += 4) {
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
    for (uint32_t left = m->fan_in & 3u; left > 0; left--, x++) {
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

/* ---- updates: two masters at a time ----
 *
 * A step is (product + half) >> 16, the product made with the scaled error shifted to the left by
 * 16 - shift. 256 more are taken off a master, with saturation at -32768, and put back: so it is
 * cut off at SCL_MASTER_MIN and SCL_MASTER_MAX without a comparison. */

#define MORE       256
#define STEP_START (MORE * 65536 + 32768)

/* Larger and smaller ones are rare, and go the way of other sinks. */
SCL_INLINE bool steps_fit(int shift)
{
    return shift >= 1 && shift <= 16;
}

/* Two masters, and their products with STEP_START. */
SCL_INLINE uint32_t two_stepped(uint32_t masters, int32_t low, int32_t high)
{
    const int16x2_t less = __qsub16((int16x2_t)masters, high_halves(low, high));
    return (uint32_t)__qadd16(less, MORE * 0x10001);
}

SCL_INLINE int16_t one_stepped(int32_t master, int32_t product)
{
    return (int16_t)__qadd16(__qsub16(master, product >> 16), MORE); /* in the low halves */
}

/* The next one or two blocks of single weights. */
SCL_INLINE void single_learns(cursor *c, int16_t **master, int32_t s, const int8_t *x,
                              int32_t start, layout k)
{
    **master = one_stepped(**master, s * x[next_input(c, k)] + start);
    *master += 1;
}

SCL_INLINE void two_singles_learn(cursor *c, int16_t **master, int32_t s, const int8_t *x,
                                  int32_t start, layout k)
{
    const int32_t low = s * x[next_input(c, k)] + start;
    const int32_t high = s * x[next_input(c, k)] + start;
    const uint32_t both = two_stepped(load_word(*master), low, high);
    memcpy(*master, &both, sizeof both);
    *master += 2;
}

/* The next block of four: 4x1, rows with errors s; 1x4, one row. */
SCL_INLINE void four_learn(cursor *c, int16_t **master, const int32_t *s, const int8_t *x,
                           int32_t start, layout k)
{
    uint32_t first;
    uint32_t second;
    x += next_input(c, k);
    peek_words(*master, 0, &first, &second);
    if (k.rows == 4) {
        first = two_stepped(first, s[0] * *x + start, s[1] * *x + start);
        second = two_stepped(second, s[2] * *x + start, s[3] * *x + start);
    } else {
        first = two_stepped(first, s[0] * x[0] + start, s[0] * x[1] + start);
        second = two_stepped(second, s[0] * x[2] + start, s[0] * x[3] + start);
    }
    put_four(master, 8, first, second);
}

/* Those of blocks first .. end - 1 that are selected. */
SCL_INLINE void selected_learn(const scl_matrix *m, int16_t *master, uint32_t first, uint32_t end,
                               const uint8_t *selected, const int32_t *s, const int8_t *x,
                               int32_t start, layout k)
{
    for (uint32_t b = first, n; b < end; b += n) { /* what a byte of bits says */
        uint32_t bits = (uint32_t)selected[b >> 3] >> (b & 7u);
        n = 8u - (b & 7u);
        if (n > end - b) {
            n = end - b;
            bits &= (1u << n) - 1u;
        }
        for (; bits != 0; bits &= bits - 1u) {
            const uint32_t block = b + (uint32_t)__builtin_ctz(bits);
            cursor c = cursor_at(m, block, k);
            int16_t *at = master + block * k.rows * k.cols;
            if (is_single(k)) {
                single_learns(&c, &at, s[0], x, start, k);
            } else {
                four_learn(&c, &at, s, x, start, k);
            }
        }
    }
}

/* Blocks first .. end - 1 of a group; scaled (k.rows): mantissa of the rate * error. */
SCL_INLINE void group_learn(const scl_matrix *m, int16_t *master, uint32_t first, uint32_t end,
                            const uint8_t *selected, const int32_t *scaled, const int8_t *x,
                            int shift, layout k)
{
    const int32_t start = in_register(STEP_START);
    int32_t s[4] = {0};
    SCL_UNROLL
    for (uint32_t r = 0; r < k.rows; r++) {
        s[r] = scaled[r] * (1 << (16 - shift));
    }
    if (selected != NULL) {
        selected_learn(m, master, first, end, selected, s, x, start, k);
        return;
    }
    cursor c = cursor_at(m, first, k);
    uint32_t blocks = end - first;
    master += first * k.rows * k.cols;
    if ((blocks & 1u) != 0) {
        if (is_single(k)) {
            single_learns(&c, &master, s[0], x, start, k);
        } else {
            four_learn(&c, &master, s, x, start, k);
        }
    }
    for (blocks >>= 1; blocks > 0; blocks--) {
        if (is_single(k)) {
            two_singles_learn(&c, &master, s[0], x, start, k);
        } else {
            four_learn(&c, &master, s, x, start, k);
            four_learn(&c, &master, s, x, start, k);
        }
    }
}

/* A row of a dense layer, or the rest of it. */
SCL_INLINE void row_learn(int16_t *row, uint32_t inputs, int32_t scaled, const int8_t *x, int shift)
{
    const int32_t start = in_register(STEP_START);
    const int32_t s = scaled * (1 << (16 - shift));
    if (((uintptr_t)row & 2u) != 0 && inputs > 0) {
        *row = one_stepped(*row, s * *x++ + start);
        row++;
        inputs--;
    }
    for (; inputs >= 4; inputs -= 4, x += 4) {
        uint32_t first;
        uint32_t second;
        peek_words(row, 0, &first, &second);
        first = two_stepped(first, s * x[0] + start, s * x[1] + start);
        second = two_stepped(second, s * x[2] + start, s * x[3] + start);
        put_four(&row, 8, first, second);
    }
    for (; inputs > 0; inputs--, row++) {
        *row = one_stepped(*row, s * *x++ + start);
    }
}

#endif
