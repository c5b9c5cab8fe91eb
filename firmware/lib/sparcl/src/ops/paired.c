/* Dense layer, frozen, its rows stored in pairs; the NumPy twin is host/sparcl_mcu/ops/dense.py. */
#include "output.h"

#define ROWS 4u /* that are worked on together: two pairs */
#define FOUR 4u /* inputs */

/* sums (ROWS) += the next fours of inputs times ROWS rows; returns where those weights end. A
 * function of its own: with registers to itself. */
static const int16_t *fours_dot(const int16_t *w, const int8_t *x, uint32_t fours, int32_t *sums)
    __attribute__((noinline));

#if SCL_DSP
#include "dsp/paired.h"
#else

static const int16_t *fours_dot(const int16_t *w, const int8_t *x, uint32_t fours, int32_t *sums)
{
    for (uint32_t pair = 0; pair < ROWS / 2; pair++, sums += 2) {
        const int16_t *values = w + FOUR * pair;
        const int8_t *xs = x;
        int32_t even = 0;
        int32_t odd = 0;
        for (uint32_t n = fours; n > 0; n--, values += FOUR * ROWS / 2, xs += FOUR) {
            SCL_UNROLL
            for (uint32_t i = 0; i < FOUR; i++) {
                const int32_t input = xs[(i & 1u) << 1 | i >> 1]; /* 0, 2, 1, 3 */
                even += (int8_t)values[i] * input;
                odd += ((values[i] + 128) >> 8) * input;
            }
        }
        sums[0] += even;
        sums[1] += odd;
    }
    return w + fours * FOUR * ROWS / 2;
}

#endif

void scl_dense_forward_paired(const scl_matrix *m, scl_vec x, scl_output *out)
{
    const uint32_t fours = m->fan_in / FOUR;
    const uint32_t left = m->fan_in % FOUR;
    int8_t rest[FOUR] = {0}; /* what makes no four */
    memcpy(rest, x.q + fours * FOUR, left);
    const int16_t *w = m->weights;
    scl_output_begin(out, m->rows);
    for (uint32_t o = 0; o < m->rows; o += ROWS) {
        const uint32_t n = m->rows - o < ROWS ? m->rows - o : ROWS;
        int32_t sums[ROWS] = {0};
        w = fours_dot(w, x.q, fours, sums);
        if (left > 0) {
            w = fours_dot(w, rest, 1, sums);
        }
        scl_outputs_put(out, o, n, sums, m->bias + o, m->e_w + x.e);
    }
}
