/* paired.h - four rows that lie in pairs with the vectors of MVE (Cortex-M55), sixteen inputs at
 * once. What is left over goes the way of dsp/paired.h. */
#ifndef SPARCL_SRC_OPS_MVE_PAIRED_H
#define SPARCL_SRC_OPS_MVE_PAIRED_H

#include <arm_mve.h>

/* Eight inputs. bytes: each with a 0 behind it, so that they meet bytes of even rows only. */
typedef struct eight {
    int16x8_t values;
    int8x16_t bytes;
} eight;

/* Eight values of a pair times their inputs. */
SCL_INLINE void eight_of_pair(int32x4_t words, eight xs, pair_sums *sums)
{
    sums->both = vmlaldavaq_s16(sums->both, vreinterpretq_s16_s32(words), xs.values);
    sums->even = vmladavaq_s8(sums->even, vreinterpretq_s8_s32(words), xs.bytes);
}

/* The next sixteens of inputs; returns how many fours are left. */
SCL_INLINE uint32_t sixteens_of_rows(const int16_t **w, const int8_t **x, uint32_t fours,
                                     pair_sums *first, pair_sums *second)
{
    for (; fours >= 4; fours -= 4, *x += 16, *w += 32) {
        const int8x16_t xs = vldrbq_s8(*x);
        const uint8x16_t bits = vreinterpretq_u8_s8(xs);
        const eight xs02 = {vmovlbq_s8(xs), vreinterpretq_s8_u16(vmovlbq_u8(bits))};
        const eight xs13 = {vmovltq_s8(xs), vreinterpretq_s8_u16(vmovltq_u8(bits))};
        const int32x4x4_t words = vld4q_s32((const int32_t *)(const void *)*w);
        eight_of_pair(words.val[0], xs02, first);
        eight_of_pair(words.val[1], xs13, first);
        eight_of_pair(words.val[2], xs02, second);
        eight_of_pair(words.val[3], xs13, second);
    }
    return fours;
}

#endif
