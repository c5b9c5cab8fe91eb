#include "sparcl/ids.h"

#include "sparcl/numerics.h"

#define LEVEL_BITS 8                  /* a level is 2^LEVEL_BITS log2 of a squared score */
#define STEP_BITS  10                 /* a threshold is in units of 2^-STEP_BITS levels */
#define LARGEST    (INT32_C(1) << 30) /* above every level of an exponent that a state may have */

/* |g|^2 |h|^2 as integers, below 2^63: a softmax's gradients square to 2 * 2^30 at most. */
static uint64_t squared_score(const scl_ids *sample)
{
    uint32_t g = 0;
    uint32_t h = 0;
    for (uint32_t j = 0; j < sample->classes; j++) {
        g += (uint32_t)(sample->g[j] * sample->g[j]);
    }
    for (uint32_t i = 0; i < sample->inputs; i++) {
        h += (uint32_t)(sample->h[i] * sample->h[i]);
    }
    return (uint64_t)g * h;
}

/* Of a score above 0; the logarithm is linear between two powers of two. */
static int32_t level(uint64_t score, int exponent)
{
    const int n = 63 - __builtin_clzll(score);
    const uint64_t mantissa =
        n > LEVEL_BITS ? score >> (n - LEVEL_BITS) : score << (LEVEL_BITS - n);
    const int32_t fraction = (int32_t)mantissa - (1 << LEVEL_BITS);
    return (n + 2 * (exponent + SCL_LOSS_EXPONENT)) * (1 << LEVEL_BITS) + fraction;
}

bool scl_ids_takes(const scl_ids *sample, int32_t *threshold)
{
    const uint64_t score = squared_score(sample);
    if (score == 0) {
        return true; /* there is nothing to be left out of */
    }
    const int32_t scaled = level(score, sample->exponent) * (1 << STEP_BITS);
    if (*threshold == SCL_IDS_FRESH) {
        *threshold = scaled;
    }
    const bool taken = scaled >= *threshold;
    *threshold += taken ? 65536 - sample->share : -sample->share;
    return taken;
}

bool scl_ids_fits(int32_t threshold)
{
    return threshold == SCL_IDS_FRESH || scl_sat(threshold, LARGEST) == threshold;
}
