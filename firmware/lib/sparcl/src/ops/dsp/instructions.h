/* instructions.h - two 16-bit values in a register: what Cortex-M4, M7, M33 and M55 do with them.
 *
 * Most of it are intrinsics of <arm_acle.h>. The functions with assembly are single instructions
 * that gcc 12 does not find by itself.
 */
#ifndef SPARCL_SRC_OPS_DSP_INSTRUCTIONS_H
#define SPARCL_SRC_OPS_DSP_INSTRUCTIONS_H

#include <arm_acle.h>
#include <string.h>

#include "../output.h"

/* Four int8 values as int16: a holds the first in its low half, and b the last in its high
 * half. The order of the two between them depends on where they come from. */
typedef struct quad {
    int16x2_t a, b;
} quad;

/* Four sums; no array, so that they stay in registers. */
typedef struct four {
    int32_t s0, s1, s2, s3;
} four;

SCL_INLINE uint32_t load_word(const void *from)
{
    uint32_t word;
    memcpy(&word, from, sizeof word);
    return word;
}

#if defined(__arm__)

/* Bytes 1 and 3 of a word, sign-extended. */
SCL_INLINE int16x2_t odd_bytes(uint32_t word)
{
    int16x2_t pair;
    __asm__("sxtb16 %0, %1, ror #8" : "=r"(pair) : "r"(word));
    return pair;
}

/* (low half of low, low half of high): low and high half of the result. */
SCL_INLINE int16x2_t low_halves(int32_t low, int32_t high)
{
    int16x2_t pair;
    __asm__("pkhbt %0, %1, %2, lsl #16" : "=r"(pair) : "r"(low), "r"(high));
    return pair;
}

/* (high half of low, high half of high). */
SCL_INLINE int16x2_t high_halves(int32_t low, int32_t high)
{
    int16x2_t pair;
    __asm__("pkhtb %0, %1, %2, asr #16" : "=r"(pair) : "r"(high), "r"(low));
    return pair;
}

/* Two words from *from, which is aligned to 4, and moves on. */
SCL_INLINE void next_words(const int16_t **from, uint32_t *first, uint32_t *second)
{
    __asm__("ldrd %0, %1, [%2], #8"
            : "=&r"(*first), "=&r"(*second), "+r"(*from)
            : "m"(*(const int16_t(*)[4]) * from));
}

/* Two words at a constant number of bytes behind `at`, aligned to 4. */
SCL_INLINE void peek_words(const void *at, int32_t bytes, uint32_t *first, uint32_t *second)
{
    __asm__("ldrd %0, %1, [%2, %3]"
            : "=r"(*first), "=r"(*second)
            : "r"(at), "i"(bytes), "m"(*(const char(*)[8])((const char *)at + bytes)));
}

/* The same, loaded once `known` is: a load long before its use costs a register. */
SCL_INLINE void late_words(const void *at, int32_t bytes, int16x2_t known, uint32_t *first,
                           uint32_t *second)
{
    __asm__("ldrd %0, %1, [%2, %3]"
            : "=r"(*first), "=r"(*second)
            : "r"(at), "i"(bytes), "r"(known), "m"(*(const char(*)[8])((const char *)at + bytes)));
}

/* Two words to a constant number of bytes behind `at`, aligned to 4. */
SCL_INLINE void poke_words(void *at, int32_t bytes, uint32_t first, uint32_t second)
{
    __asm__("strd %1, %2, [%3, %4]"
            : "=m"(*(char(*)[8])((char *)at + bytes))
            : "r"(first), "r"(second), "r"(at), "i"(bytes));
}

/* Two words to *to, which is aligned to 4, and moves on by a constant number of bytes. */
SCL_INLINE void put_four(int16_t **to, int32_t bytes, uint32_t first, uint32_t second)
{
    __asm__("strd %2, %3, [%0], %4"
            : "+r"(*to), "=m"(*(int16_t(*)[4]) * to)
            : "r"(first), "r"(second), "i"(bytes));
}

/* A pointer to count from, where gcc would make it anew at each use. */
SCL_INLINE const int16_t *base_register(const int16_t *base)
{
    __asm__("" : "+r"(base));
    return base;
}

/* A constant to be kept in a register, where gcc would make it anew at each use. */
SCL_INLINE int32_t in_register(int32_t constant)
{
    __asm__("" : "+r"(constant));
    return constant;
}

#else /* what they compute, for tests on a host */

SCL_INLINE int16x2_t low_halves(int32_t low, int32_t high)
{
    return (int16x2_t)(((uint32_t)high << 16) | ((uint32_t)low & 0xffffu));
}

SCL_INLINE int16x2_t high_halves(int32_t low, int32_t high)
{
    return low_halves(low >> 16, high >> 16);
}

SCL_INLINE int16x2_t odd_bytes(uint32_t word)
{
    return low_halves((int8_t)(word >> 8), (int8_t)(word >> 24));
}

SCL_INLINE void peek_words(const void *at, int32_t bytes, uint32_t *first, uint32_t *second)
{
    *first = load_word((const char *)at + bytes);
    *second = load_word((const char *)at + bytes + 4);
}

SCL_INLINE void late_words(const void *at, int32_t bytes, int16x2_t known, uint32_t *first,
                           uint32_t *second)
{
    (void)known;
    peek_words(at, bytes, first, second);
}

SCL_INLINE void poke_words(void *at, int32_t bytes, uint32_t first, uint32_t second)
{
    memcpy((char *)at + bytes, &first, sizeof first);
    memcpy((char *)at + bytes + 4, &second, sizeof second);
}

SCL_INLINE void next_words(const int16_t **from, uint32_t *first, uint32_t *second)
{
    peek_words(*from, 0, first, second);
    *from += 4;
}

SCL_INLINE void put_four(int16_t **to, int32_t bytes, uint32_t first, uint32_t second)
{
    memcpy(*to, &first, sizeof first);
    memcpy(*to + 2, &second, sizeof second);
    *to += bytes / 2;
}

SCL_INLINE const int16_t *base_register(const int16_t *base)
{
    return base;
}

SCL_INLINE int32_t in_register(int32_t constant)
{
    return constant;
}

#endif

SCL_INLINE quad quad_of_bytes(const int8_t *from)
{
    const uint32_t word = load_word(from);
    return (quad){__sxtb16((int8x4_t)word), odd_bytes(word)}; /* (0, 2), (1, 3) */
}

#endif
