/* What intrinsics of <arm_acle.h> compute, in C: kernels for cores with 16-bit SIMD are tested on
 * the host with it. */
#ifndef SPARCL_TESTS_ARM_ACLE_H
#define SPARCL_TESTS_ARM_ACLE_H

#include <stdint.h>

typedef int32_t int16x2_t;
typedef int32_t int8x4_t;

static inline int32_t acle_low(int16x2_t pair)
{
    return (int16_t)pair;
}

static inline int32_t acle_high(int16x2_t pair)
{
    return pair >> 16;
}

static inline int16x2_t acle_pair(int32_t low, int32_t high)
{
    return (int16x2_t)((uint32_t)high << 16 | ((uint32_t)low & 0xffffu));
}

static inline int32_t acle_saturated(int32_t v)
{
    return v > 32767 ? 32767 : v < -32768 ? -32768 : v;
}

static inline int16x2_t __sxtb16(int8x4_t bytes)
{
    return acle_pair((int8_t)bytes, (int8_t)(bytes >> 16));
}

static inline int32_t __smlabb(int32_t a, int32_t b, int32_t sum)
{
    return sum + acle_low(a) * acle_low(b);
}

static inline int32_t __smlabt(int32_t a, int32_t b, int32_t sum)
{
    return sum + acle_low(a) * acle_high(b);
}

static inline int32_t __smlatb(int32_t a, int32_t b, int32_t sum)
{
    return sum + acle_high(a) * acle_low(b);
}

static inline int32_t __smlatt(int32_t a, int32_t b, int32_t sum)
{
    return sum + acle_high(a) * acle_high(b);
}

static inline int32_t __smlad(int16x2_t a, int16x2_t b, int32_t sum)
{
    return sum + acle_low(a) * acle_low(b) + acle_high(a) * acle_high(b);
}

static inline int64_t __smlald(int16x2_t a, int16x2_t b, int64_t sum)
{
    return sum + acle_low(a) * acle_low(b) + (int64_t)(acle_high(a) * acle_high(b));
}

static inline int16x2_t __qadd16(int16x2_t a, int16x2_t b)
{
    return acle_pair(acle_saturated(acle_low(a) + acle_low(b)),
                     acle_saturated(acle_high(a) + acle_high(b)));
}

static inline int16x2_t __qsub16(int16x2_t a, int16x2_t b)
{
    return acle_pair(acle_saturated(acle_low(a) - acle_low(b)),
                     acle_saturated(acle_high(a) - acle_high(b)));
}

#endif
