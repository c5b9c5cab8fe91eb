/* weights.h - a walk over stored weights, two or four of them at a time. */
#ifndef SPARCL_SRC_OPS_DSP_WEIGHTS_H
#define SPARCL_SRC_OPS_DSP_WEIGHTS_H

#include "../layout.h"
#include "instructions.h"

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

/* First input of a block, `nth` behind the one that `index` points to. */
SCL_INLINE uint32_t input_at(const void *index, uint32_t nth, layout k)
{
    return k.cols * (k.index_bytes == 1 ? ((const uint8_t *)index)[nth]
                                        : (uint32_t)((const uint16_t *)index)[nth]);
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

/* Are there four rows that each begin at a word? */
SCL_INLINE bool rows_align(const scl_matrix *m, uint32_t n, layout k)
{
    return n == SCL_DENSE_ROWS && (k.frozen || (m->fan_in & 1u) == 0);
}

#endif
