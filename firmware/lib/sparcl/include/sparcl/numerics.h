/* numerics.h - the integer contract (docs/numerics.md), each rule once.
 *
 * Every tensor is mantissa * 2^exponent with one exponent for the whole tensor.
 * `>>` on a signed value is arithmetic on every compiler this runtime supports.
 * The NumPy twin is host/sparcl_mcu/numerics.py.
 */
#ifndef SPARCL_NUMERICS_H
#define SPARCL_NUMERICS_H

#include <stdbool.h>
#include <stdint.h>

_Static_assert((-3 >> 1) == -2, "the contract needs arithmetic right shifts");

#define SCL_BIAS_EXPONENT  (-20)
#define SCL_BIAS_LIMIT     (INT32_C(1) << 29) /* |bias mantissa| */
#define SCL_LOGIT_EXPONENT (-5)               /* one logit unit is 1/32 */
#define SCL_LOSS_EXPONENT  (-15)              /* softmax probabilities and loss gradient */
#define SCL_MASTER_MIN     (-32512)           /* M' = M + 128, so that hi >= -127 */
#define SCL_MASTER_MAX     32767
#define SCL_WINDOW         32 /* training forwards between two looks at the saturation counter */
#define SCL_RARE_BITS      14 /* one output in 2^14 may saturate */

/* What a random number is for. */
enum {
    SCL_STREAM_RESERVOIR = 1,
    SCL_STREAM_FIRST_DRAW = 2,
    SCL_STREAM_SECOND_DRAW = 3,
    SCL_STREAM_GROWTH = 4,
    SCL_STREAM_TIES = 5,
    SCL_STREAM_ROUNDING = 6,
    SCL_STREAM_IMPORTANCE_DRAW = 7,
};

/* Clamp to [-limit, limit]. */
static inline int32_t scl_sat(int32_t v, int32_t limit)
{
    return v > limit ? limit : v < -limit ? -limit : v;
}

/* Rounding shift right, round half up also for negative v; 1 <= shift <= 31. */
static inline int32_t scl_rsr_usual(int32_t v, int shift)
{
    /* floor plus the highest bit shifted out: no 64-bit sum needed */
    return (v >> shift) + ((v >> (shift - 1)) & 1);
}

/* The same for shifts that hardly occur, below 1 and above 31. */
int32_t scl_rsr_beyond(int32_t v, int shift);

/* Rounding shift right. shift <= 0 is a left shift saturated to +-(2^31 - 1); shift >= 32
 * gives 0. */
static inline int32_t scl_rsr(int32_t v, int shift)
{
    return shift >= 1 && shift <= 31 ? scl_rsr_usual(v, shift) : scl_rsr_beyond(v, shift);
}

/* Bits needed to write v: 32 - clz(v), 0 for 0. */
static inline int scl_blen(uint32_t v)
{
    return v == 0 ? 0 : 32 - __builtin_clz(v);
}

/* Counter-based random number in [0, 2^32), the same in any visiting order. */
uint32_t scl_hash32(uint32_t seed, uint32_t stream, uint32_t step, uint32_t layer, uint32_t index);

/* One argument of it: h is the seed, then what this gave for the arguments so far. For many numbers
 * that differ in the last. */
uint32_t scl_hash_with(uint32_t h, uint32_t argument);

/* n_p of the contract: a fraction of n in units of 2^-16, rounded half up; below n + 1. */
static inline uint32_t scl_share(uint32_t n, uint16_t fraction)
{
    return (uint32_t)(((uint64_t)n * fraction + 32768u) >> 16);
}

/* Bit `at` of a row of bits, lowest first. */
static inline bool scl_bit(const uint8_t *bits, uint32_t at)
{
    return (bits[at >> 3] & 1u << (at & 7u)) != 0;
}

static inline void scl_bit_set(uint8_t *bits, uint32_t at, bool value)
{
    const uint32_t mask = 1u << (at & 7u);
    bits[at >> 3] = (uint8_t)(value ? bits[at >> 3] | mask : bits[at >> 3] & ~mask);
}

/* Map a hash to [0, n) without division. */
static inline uint32_t scl_pick(uint32_t hash, uint32_t n)
{
    return (uint32_t)(((uint64_t)hash * n) >> 32);
}

#endif
