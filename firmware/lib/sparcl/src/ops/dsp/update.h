/* update.h - masters that learn two at a time.
 *
 * A step is (product + half) >> 16, the product made with the scaled error shifted to the left by
 * 16 - shift. 256 more are taken off a master, with saturation at -32768, and put back: so it is
 * cut off at SCL_MASTER_MIN and SCL_MASTER_MAX without a comparison. */
#ifndef SPARCL_SRC_OPS_DSP_UPDATE_H
#define SPARCL_SRC_OPS_DSP_UPDATE_H

#include "weights.h"

#define MORE       256
#define STEP_START (MORE * 65536 + 32768)

/* Larger and smaller ones are rare, and go the way of other sinks. */
SCL_INLINE bool steps_fit(int shift)
{
    return shift >= 1 && shift <= 16;
}

/* Two masters, and the high halves of their products with STEP_START. */
SCL_INLINE uint32_t two_stepped(uint32_t masters, int16x2_t steps)
{
    const int16x2_t less = __qsub16((int16x2_t)masters, steps);
    return (uint32_t)__qadd16(less, MORE * 0x10001);
}

SCL_INLINE int16_t one_stepped(int32_t master, int32_t product)
{
    return (int16_t)__qadd16(__qsub16(master, product >> 16), MORE); /* in the low halves */
}

/* The next two blocks of single weights. */
SCL_INLINE void two_singles_learn(cursor *c, int16_t **master, int32_t s, const int8_t *x,
                                  int32_t start, layout k)
{
    const int32_t low = s * x[next_input(c, k)] + start;
    const int32_t high = s * x[next_input(c, k)] + start;
    const uint32_t both = two_stepped(load_word(*master), high_halves(low, high));
    memcpy(*master, &both, sizeof both);
    *master += 2;
}

/* The masters of a block of four, a constant number of bytes behind `at`, as they will be: 4x1,
 * rows with errors s; 1x4, one row. x: the block's inputs. */
SCL_INLINE void four_stepped(const int16_t *at, int32_t bytes, const int32_t *s, const int8_t *x,
                             int32_t start, uint32_t *first, uint32_t *second, layout k)
{
    int16x2_t low;
    int16x2_t high;
    if (k.rows == 4) {
        low = high_halves(s[0] * *x + start, s[1] * *x + start);
        high = high_halves(s[2] * *x + start, s[3] * *x + start);
    } else {
        low = high_halves(s[0] * x[0] + start, s[0] * x[1] + start);
        high = high_halves(s[0] * x[2] + start, s[0] * x[3] + start);
    }
    late_words(at, bytes, high, first, second);
    *first = two_stepped(*first, low);
    *second = two_stepped(*second, high);
}

/* The next block. */
SCL_INLINE void block_learns(cursor *c, int16_t **master, const int32_t *s, const int8_t *x,
                             int32_t start, layout k)
{
    uint32_t first;
    uint32_t second;
    x += next_input(c, k);
    if (is_single(k)) {
        **master = one_stepped(**master, s[0] * *x + start);
        *master += 1;
    } else {
        four_stepped(*master, 0, s, x, start, &first, &second, k);
        put_four(master, 8, first, second);
    }
}

#define BITS 8u /* of a byte that says which blocks are selected */

/* The next BITS blocks, those whose bit is set: a test and a branch each. */
SCL_INLINE void learn_by_bits(const void *index, int16_t *master, uint32_t bits, const int32_t *s,
                              const int8_t *x, int32_t start, layout k)
{
#pragma GCC unroll 8
    for (uint32_t i = 0; i < BITS; i++) {
        uint32_t first;
        uint32_t second;
        if ((bits & 1u << i) == 0) {
            continue;
        }
        if (is_single(k)) {
            master[i] = one_stepped(master[i], s[0] * x[input_at(index, i, k)] + start);
        } else {
            const int32_t bytes = (int32_t)(8 * i);
            four_stepped(master, bytes, s, x + input_at(index, i, k), start, &first, &second, k);
            poke_words(master, bytes, first, second);
        }
    }
}

/* Those of blocks first .. end - 1 that are selected. */
SCL_INLINE void selected_learn(const scl_matrix *m, int16_t *master, uint32_t first, uint32_t end,
                               const uint8_t *selected, const int32_t *s, const int8_t *x,
                               int32_t start, layout k)
{
    const uint32_t others = first & (BITS - 1u); /* blocks of another group in the first byte */
    uint32_t left = end - first + others;
    uint32_t bits = 0xffu << others;
    cursor c = cursor_at(m, first - others, k);
    master += (first - others) * k.rows * k.cols;
    selected += first / BITS;
    for (;;) {
        bits &= *selected;
        if (left < BITS) {
            bits &= (1u << left) - 1u;
        }
        learn_by_bits(c.index, master, bits, s, x, start, k);
        if (left <= BITS) {
            break;
        }
        left -= BITS;
        bits = 0xff;
        selected++;
        master += BITS * k.rows * k.cols;
        c.index = (const uint8_t *)c.index + BITS * k.index_bytes;
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
        block_learns(&c, &master, s, x, start, k);
    }
    for (blocks >>= 1; blocks > 0; blocks--) {
        if (is_single(k)) {
            two_singles_learn(&c, &master, s[0], x, start, k);
        } else {
            block_learns(&c, &master, s, x, start, k);
            block_learns(&c, &master, s, x, start, k);
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
        first = two_stepped(first, high_halves(s * x[0] + start, s * x[1] + start));
        second = two_stepped(second, high_halves(s * x[2] + start, s * x[3] + start));
        put_four(&row, 8, first, second);
    }
    for (; inputs > 0; inputs--, row++) {
        *row = one_stepped(*row, s * *x++ + start);
    }
}

#endif
