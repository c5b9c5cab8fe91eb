/* paired.h - four rows that lie in pairs, four inputs at a time.
 *
 * A pair's value 256 a + b times x is 256 a x + b x. So one SMLALD multiplies both rows as they lie
 * there; with a sum of the b x alone, whose bytes SXTB16 unpacks, the other follows. */
#ifndef SPARCL_SRC_OPS_DSP_PAIRED_H
#define SPARCL_SRC_OPS_DSP_PAIRED_H

#include "instructions.h"

/* Of a pair. both: of 256 a + b, which needs more than 32 bits; even: of b. */
typedef struct pair_sums {
    int64_t both;
    int32_t even;
} pair_sums;

#if SCL_MVE
#include "../mve/paired.h"
#else /* nothing at once, all is left */

SCL_INLINE uint32_t sixteens_of_rows(const int16_t **w, const int8_t **x, uint32_t fours,
                                     pair_sums *first, pair_sums *second)
{
    (void)w, (void)x, (void)first, (void)second;
    return fours;
}

#endif

/* The next four values of a pair times inputs (0, 2), (1, 3). */
SCL_INLINE void four_of_pair(const int16_t **w, quad xs, pair_sums *sums)
{
    uint32_t values02;
    uint32_t values13;
    next_words(w, &values02, &values13);
    sums->both = __smlald((int16x2_t)values02, xs.a, sums->both);
    sums->both = __smlald((int16x2_t)values13, xs.b, sums->both);
    sums->even = __smlad(__sxtb16((int8x4_t)values02), xs.a, sums->even);
    sums->even = __smlad(__sxtb16((int8x4_t)values13), xs.b, sums->even);
}

SCL_INLINE int32_t odd_of(pair_sums sums)
{
    return (int32_t)((sums.both - sums.even) >> 8);
}

static const int16_t *fours_dot(const int16_t *w, const int8_t *x, uint32_t fours, int32_t *sums)
{
    pair_sums first = {0, 0};
    pair_sums second = {0, 0};
    fours = sixteens_of_rows(&w, &x, fours, &first, &second);
    for (const int8_t *end = x + FOUR * fours; x < end; x += FOUR) {
        const quad xs = quad_of_bytes(x);
        four_of_pair(&w, xs, &first);
        four_of_pair(&w, xs, &second);
    }
    sums[0] += first.even;
    sums[1] += odd_of(first);
    sums[2] += second.even;
    sums[3] += odd_of(second);
    return w;
}

#endif
