/* Dense layer; the NumPy twin is host/sparcl_mcu/ops/dense.py. */
#include "matrix.h"
#include "watch.h"

SCL_INLINE void forward(const scl_matrix *m, scl_vec x, scl_output *out, layout k)
{
    scl_output_begin(out, m->rows);
    matrix_forward(m, x.q, m->e_w + x.e, 0, out, k);
}

SCL_INLINE void input_grad(const scl_matrix *m, scl_vec d, int32_t *v, layout k)
{
    memset(v, 0, m->fan_in * sizeof *v);
    matrix_input_grad(m, d.q, v, k);
}

/* Updates of a group with a usual shift, which are many, and the counting of what they do run in
 * functions of their own: with registers to themselves. */
typedef void learn_function(const scl_matrix *m, const sink *to, uint32_t first, uint32_t end,
                            const int32_t *scaled, const int8_t *x, int shift);

#define LEARN static __attribute__((noinline)) void

SCL_INLINE void weight_grad(const scl_matrix *m, sink to, scl_vec d, scl_vec x, layout k,
                            learn_function *learn)
{
    const int shift = sink_shift(&to, m->e_w, d.e + x.e);
    const int bias_shift = SCL_BIAS_EXPONENT - (d.e + to.rate.exponent);
    if (to.kind == SINK_UPDATE) {
        scl_biases_learn(to.bias, d.q, m->rows, to.rate.mantissa, bias_shift);
    }
    for (uint32_t group = 0; group < m->rows / k.rows; group++) {
        int32_t scaled[4]; /* mantissa of the rate * error of each row of the group */
        int32_t any = 0;
        for (uint32_t r = 0; r < k.rows; r++) {
            const uint32_t o = group * k.rows + r;
            scaled[r] = to.rate.mantissa * d.q[o];
            any |= scaled[r];
            if (to.kind == SINK_GATHER) {
                sink_bias(&to, o, scaled[r], bias_shift);
            }
        }
        if (any == 0) {
            continue; /* nothing below would change */
        }
        const block_range range = sink_blocks(m, &to, group, k);
        if (learn != NULL && steps_fit(shift)) {
            learn(m, &to, range.first, range.end, scaled, x.q, shift);
            continue;
        }
        for (uint32_t b = range.first; b < range.end; b++) {
            if (!sink_takes_block(&to, b)) {
                continue;
            }
            const int8_t *xs = x.q + block_input(m, b, b - range.group_first, k);
            uint32_t at = (b - range.origin) * k.rows * k.cols;
            for (uint32_t r = 0; r < k.rows; r++) {
                for (uint32_t c = 0; c < k.cols; c++) {
                    sink_weight(&to, at++, scaled[r] * xs[c], shift);
                }
            }
        }
    }
}

#define DEFINE(name, r, c, ib, fr)                                                                 \
    void scl_dense_forward_##name(const scl_matrix *m, scl_vec x, scl_output *out)                 \
    {                                                                                              \
        forward(m, x, out, LAYOUT(r, c, ib, fr));                                                  \
    }                                                                                              \
    void scl_dense_input_grad_##name(const scl_matrix *m, scl_vec d, int32_t *v)                   \
    {                                                                                              \
        input_grad(m, d, v, LAYOUT(r, c, ib, fr));                                                 \
    }
SCL_TRAINABLE_LIST(DEFINE)
SCL_FROZEN_LIST(DEFINE)
#undef DEFINE

#define DEFINE(name, r, c, ib, fr)                                                                 \
    LEARN learn_##name(const scl_matrix *m, const sink *to, uint32_t first, uint32_t end,          \
                       const int32_t *scaled, const int8_t *x, int shift)                          \
    {                                                                                              \
        if ((ib) == 0) {                                                                           \
            row_learn(to->master + first, end - first, scaled[0], x, shift);                       \
        } else {                                                                                   \
            group_learn(m, to->master, first, end, NULL, scaled, x, shift, LAYOUT(r, c, ib, fr));  \
        }                                                                                          \
    }                                                                                              \
    LEARN watch_##name(const scl_matrix *m, const sink *to, uint32_t first, uint32_t end,          \
                       const int32_t *scaled, const int8_t *x, int shift)                          \
    {                                                                                              \
        group_watch(m, to, first, end, scaled, x, shift, LAYOUT(r, c, ib, fr));                    \
    }                                                                                              \
    void scl_dense_weight_update_##name(const scl_matrix *m, const scl_masters *to, scl_vec d,     \
                                        scl_vec x, scl_rate rate)                                  \
    {                                                                                              \
        weight_grad(m, SINK_UPDATE(to, rate), d, x, LAYOUT(r, c, ib, fr), learn_##name);           \
    }                                                                                              \
    void scl_dense_weight_gather_##name(const scl_matrix *m, const scl_gathered *to, scl_vec d,    \
                                        scl_vec x, scl_rate rate)                                  \
    {                                                                                              \
        weight_grad(m, SINK_GATHER(to, rate), d, x, LAYOUT(r, c, ib, fr), NULL);                   \
    }                                                                                              \
    void scl_dense_weight_watch_##name(const scl_matrix *m, const scl_masters *of,                 \
                                       scl_watch *watch, scl_vec d, scl_vec x, scl_rate rate)      \
    {                                                                                              \
        weight_grad(m, SINK_WATCH(of, rate, watch), d, x, LAYOUT(r, c, ib, fr), watch_##name);     \
    }
SCL_TRAINABLE_LIST(DEFINE)
#undef DEFINE

#define DEFINE(name, r, c, ib, fr)                                                                 \
    LEARN learn_selected_##name(const scl_matrix *m, const sink *to, uint32_t first, uint32_t end, \
                                const int32_t *scaled, const int8_t *x, int shift)                 \
    {                                                                                              \
        group_learn(m, to->master, first, end, to->selected, scaled, x, shift,                     \
                    LAYOUT(r, c, ib, fr));                                                         \
    }                                                                                              \
    void scl_dense_weight_update_selected_##name(const scl_matrix *m, const scl_masters *to,       \
                                                 scl_vec d, scl_vec x, scl_rate rate)              \
    {                                                                                              \
        weight_grad(m, SINK_SELECTED(to, rate), d, x, LAYOUT(r, c, ib, fr),                        \
                    learn_selected_##name);                                                        \
    }                                                                                              \
    void scl_dense_weight_measure_##name(const scl_matrix *m, const scl_measure *to, scl_vec d,    \
                                         scl_vec x)                                                \
    {                                                                                              \
        weight_grad(m, SINK_MEASURE(to), d, x, LAYOUT(r, c, ib, fr), NULL);                        \
    }
SCL_SPARSE_LIST(DEFINE)
