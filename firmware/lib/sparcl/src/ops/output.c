#include "output.h"

/* Clamped to 0 .. 127; in this form gcc finds Arm's USAT. */
SCL_INLINE int8_t relu_127(int32_t v)
{
    const int32_t least = v < 127 ? v : 127;
    return (int8_t)(least > 0 ? least : 0);
}

/* Set those of n <= 32 bits in a row of bits, from bit `at` on. */
static void put_bits(uint8_t *row, uint32_t at, uint32_t bits)
{
    const uint32_t first = 8u - (at & 7u); /* that fit the first byte */
    uint8_t *byte = row + (at >> 3);
    *byte = (uint8_t)(*byte | bits << (at & 7u));
    for (bits >>= first; bits != 0; bits >>= 8) {
        byte++;
        *byte = (uint8_t)(*byte | bits);
    }
}

SCL_INLINE bool shifts_are_usual(int shift, int bias_shift)
{
    return shift >= 2 && shift <= 31 && bias_shift >= 1 && bias_shift <= 31;
}

/* What some outputs with ReLU leave behind. */
typedef struct rectified {
    uint32_t saturated;
    uint32_t bits; /* of the ReLU mask, the last output's is the highest */
} rectified;

/* One output with ReLU and usual shifts, without a branch. A rounding shift is here
 * ((v >> (shift - 1)) + 1) >> 1, which leaves room for the 1 from shift 2 on. */
SCL_INLINE int8_t rectify(rectified *so_far, int32_t acc, int32_t bias, int bias_shift, int shift)
{
    const int32_t v = acc + (((bias >> (bias_shift - 1)) + 1) >> 1);
    const int32_t twice = (v >> (shift - 1)) + 1;
    so_far->saturated += (uint32_t)(255 - twice) >> 31;
    so_far->bits = so_far->bits >> 1 | ((uint32_t)-v & 1u << 31);
    return relu_127(twice >> 1);
}

static void put_rectified(scl_output *out, uint32_t o, uint32_t n, rectified done)
{
    out->saturated += done.saturated;
    if (out->positive != NULL) {
        put_bits(out->positive, o, done.bits >> (SCL_OUTPUTS_AT_ONCE - n));
    }
}

void scl_outputs_put(scl_output *out, uint32_t o, uint32_t n, const int32_t *acc,
                     const int32_t *bias, int e_acc)
{
    const int shift = out->exponent - e_acc;
    const int bias_shift = e_acc - SCL_BIAS_EXPONENT;
    rectified done = {0, 0};
    if (out->relu && out->logits == NULL && shifts_are_usual(shift, bias_shift)) {
        int8_t *q = out->q + o;
        for (uint32_t r = 0; r < n; r++) {
            q[r] = rectify(&done, acc[r], bias[r], bias_shift, shift);
        }
        put_rectified(out, o, n, done);
        return;
    }
    for (uint32_t r = 0; r < n; r++) {
        scl_output_put(out, o + r, acc[r] + scl_rsr(bias[r], bias_shift), shift);
    }
}

void scl_outputs_put_each(scl_output *out, uint32_t o, uint32_t n, const int32_t *acc,
                          const int32_t *bias, const int8_t *e_w, int e_x)
{
    rectified done = {0, 0};
    uint32_t r = 0;
    if (out->relu && out->logits == NULL) {
        int8_t *q = out->q + o;
        for (; r < n; r++) {
            const int e_acc = e_w[r] + e_x;
            const int shift = out->exponent - e_acc;
            const int bias_shift = e_acc - SCL_BIAS_EXPONENT;
            if (!shifts_are_usual(shift, bias_shift)) {
                break;
            }
            q[r] = rectify(&done, acc[r], bias[r], bias_shift, shift);
        }
        if (r > 0) {
            put_rectified(out, o, r, done);
        }
    }
    for (; r < n; r++) {
        const int e_acc = e_w[r] + e_x;
        const int32_t b = scl_rsr(bias[r], e_acc - SCL_BIAS_EXPONENT);
        scl_output_put(out, o + r, acc[r] + b, out->exponent - e_acc);
    }
}

void scl_master_step(int16_t *master, int32_t change, int shift)
{
    *master = scl_master_clamp(*master - scl_sat(scl_rsr(change, shift), 32767));
}

void scl_watch_step(scl_watch *watch, int32_t master, int32_t change, int shift)
{
    const int32_t step = scl_sat(scl_rsr(change, shift), 32767);
    const int32_t m = master - step;
    watch->watched += change != 0;
    watch->dead += change != 0 && step == 0;
    watch->saturated += m != scl_master_clamp(m);
}

void scl_biases_learn(int32_t *bias, const int8_t *d, uint32_t n, int32_t mantissa, int shift)
{
    if (shift > 31 || shift < -20) {
        for (uint32_t r = 0; r < n; r++) {
            scl_bias_step(&bias[r], mantissa * d[r], shift);
        }
        return;
    }
    /* the usual case, in which nothing can overflow */
    const int right = shift > 0 ? shift : 0;
    const int32_t scale = mantissa * (1 << (right - shift));
    const int32_t half = (int32_t)(1u << right >> 1);
    for (uint32_t r = 0; r < n; r++) {
        bias[r] = scl_sat(bias[r] - ((scale * d[r] + half) >> right), SCL_BIAS_LIMIT);
    }
}
