#include "sparcl/lock.h"

typedef struct sip {
    uint64_t v0, v1, v2, v3;
} sip;

static uint64_t rotated(uint64_t x, int by)
{
    return x << by | x >> (64 - by);
}

static void rounds(sip *s, int n)
{
    for (; n > 0; n--) {
        s->v0 += s->v1;
        s->v1 = rotated(s->v1, 13) ^ s->v0;
        s->v0 = rotated(s->v0, 32);
        s->v2 += s->v3;
        s->v3 = rotated(s->v3, 16) ^ s->v2;
        s->v0 += s->v3;
        s->v3 = rotated(s->v3, 21) ^ s->v0;
        s->v2 += s->v1;
        s->v1 = rotated(s->v1, 17) ^ s->v2;
        s->v2 = rotated(s->v2, 32);
    }
}

/* Up to eight bytes, the first lowest. */
static uint64_t word(const uint8_t *bytes, size_t n)
{
    uint64_t value = 0;
    for (size_t i = 0; i < n; i++) {
        value |= (uint64_t)bytes[i] << (8 * i);
    }
    return value;
}

static void absorb(sip *s, uint64_t m)
{
    s->v3 ^= m;
    rounds(s, 2);
    s->v0 ^= m;
}

uint64_t scl_siphash(const uint8_t *key, const uint8_t *head, size_t head_bytes,
                     const uint8_t *data, size_t n)
{
    const uint64_t k0 = word(key, 8);
    const uint64_t k1 = word(key + 8, 8);
    sip s = {k0 ^ UINT64_C(0x736f6d6570736575), k1 ^ UINT64_C(0x646f72616e646f6d),
             k0 ^ UINT64_C(0x6c7967656e657261), k1 ^ UINT64_C(0x7465646279746573)};
    for (size_t at = 0; at < head_bytes; at += 8) {
        absorb(&s, word(head + at, 8));
    }
    size_t at = 0;
    for (; n - at >= 8; at += 8) {
        absorb(&s, word(data + at, 8));
    }
    absorb(&s, word(data + at, n - at) | (uint64_t)((head_bytes + n) & 0xff) << 56);
    s.v2 ^= 0xff;
    rounds(&s, 4);
    return s.v0 ^ s.v1 ^ s.v2 ^ s.v3;
}
