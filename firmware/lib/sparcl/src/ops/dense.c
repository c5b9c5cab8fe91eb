/* Dense layer; the NumPy twin is host/sparcl_mcu/ops/dense.py. */
#include "matrix.h"

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

SCL_INLINE void weight_grad(const scl_matrix *m, sink to, scl_vec d, scl_vec x,
                            const scl_config *config, layout k)
{
    const int shift = (m->e_w - 8) - (d.e + x.e + config->lr_exponent);
    const int bias_shift = SCL_BIAS_EXPONENT - (d.e + config->lr_exponent);
    for (uint32_t group = 0; group < m->rows / k.rows; group++) {
        int32_t scaled[4]; /* lr_mantissa * error of each row of the group */
        int32_t any = 0;
        for (uint32_t r = 0; r < k.rows; r++) {
            const uint32_t o = group * k.rows + r;
            scaled[r] = config->lr_mantissa * d.q[o];
            any |= scaled[r];
            sink_bias(to, o, scaled[r], bias_shift);
        }
        if (any == 0) {
            continue; /* nothing below would change */
        }
        const uint32_t first = first_block(m, group, k);
        const uint32_t end = first_block(m, group + 1, k);
        uint32_t at = first * k.rows * k.cols;
        for (uint32_t b = first; b < end; b++) {
            const int8_t *xs = x.q + block_input(m, b, b - first, k);
            for (uint32_t r = 0; r < k.rows; r++) {
                for (uint32_t c = 0; c < k.cols; c++) {
                    sink_weight(to, at++, scaled[r] * xs[c], shift);
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
    void scl_dense_weight_update_##name(const scl_matrix *m, const scl_masters *to, scl_vec d,     \
                                        scl_vec x, const scl_config *config)                       \
    {                                                                                              \
        weight_grad(m, SINK_UPDATE(to), d, x, config, LAYOUT(r, c, ib, fr));                       \
    }                                                                                              \
    void scl_dense_weight_gather_##name(const scl_matrix *m, const scl_gathered *to, scl_vec d,    \
                                        scl_vec x, const scl_config *config)                       \
    {                                                                                              \
        weight_grad(m, SINK_GATHER(to), d, x, config, LAYOUT(r, c, ib, fr));                       \
    }
SCL_TRAINABLE_LIST(DEFINE)
