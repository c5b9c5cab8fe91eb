/* Convolution; the NumPy twin is host/sparcl_mcu/ops/conv2d.py.
 *
 * A dense layer over patches: each output position gathers the inputs its kernel
 * covers, with zeros for padding. A 1x1 kernel covers one position, which is used
 * where it lies. */
#include "matrix.h"
#include "window.h"

SCL_INLINE bool pointwise(const scl_window *w)
{
    return w->kernel_h == 1 && w->kernel_w == 1;
}

static const int8_t *gather(const scl_window *w, const int8_t *x, uint32_t y, uint32_t x0,
                            int8_t *patch)
{
    if (pointwise(w)) {
        return x + window_at(w, window_row(w, y, 0), window_col(w, x0, 0));
    }
    int8_t *to = patch;
    for (uint32_t ky = 0; ky < w->kernel_h; ky++) {
        const int32_t row = window_row(w, y, ky);
        for (uint32_t kx = 0; kx < w->kernel_w; kx++, to += w->channels) {
            const int32_t col = window_col(w, x0, kx);
            if (window_inside(w, row, col)) {
                memcpy(to, x + window_at(w, row, col), w->channels);
            } else {
                memset(to, 0, w->channels);
            }
        }
    }
    return patch;
}

static void scatter(const scl_window *w, const int32_t *patch, uint32_t y, uint32_t x0, int32_t *v)
{
    for (uint32_t ky = 0; ky < w->kernel_h; ky++) {
        const int32_t row = window_row(w, y, ky);
        for (uint32_t kx = 0; kx < w->kernel_w; kx++, patch += w->channels) {
            const int32_t col = window_col(w, x0, kx);
            if (!window_inside(w, row, col)) {
                continue;
            }
            int32_t *to = v + window_at(w, row, col);
            for (uint32_t c = 0; c < w->channels; c++) {
                to[c] += patch[c];
            }
        }
    }
}

SCL_INLINE void forward(const scl_matrix *m, const scl_window *w, scl_vec x, int8_t *patch,
                        scl_output *out, layout k)
{
    scl_output_begin(out, (uint32_t)w->out_h * w->out_w * m->rows);
    uint32_t base = 0;
    for (uint32_t y = 0; y < w->out_h; y++) {
        for (uint32_t col = 0; col < w->out_w; col++, base += m->rows) {
            matrix_forward(m, gather(w, x.q, y, col, patch), m->e_w + x.e, base, out, k);
        }
    }
}

SCL_INLINE void input_grad(const scl_matrix *m, const scl_window *w, scl_vec d, int32_t *patch,
                           int32_t *v, layout k)
{
    const int8_t *ds = d.q;
    memset(v, 0, window_inputs(w) * sizeof *v);
    for (uint32_t y = 0; y < w->out_h; y++) {
        for (uint32_t col = 0; col < w->out_w; col++, ds += m->rows) {
            if (pointwise(w)) {
                matrix_input_grad(m, ds,
                                  v + window_at(w, window_row(w, y, 0), window_col(w, col, 0)), k);
            } else {
                memset(patch, 0, m->fan_in * sizeof *patch);
                matrix_input_grad(m, ds, patch, k);
                scatter(w, patch, y, col, v);
            }
        }
    }
}

/* Which kernel position and channel an input of the matrix is; walks upwards without division. */
typedef struct tap {
    uint32_t ky, kx;
    uint32_t first; /* input number of channel 0 at (ky, kx) */
} tap;

SCL_INLINE void advance(tap *t, const scl_window *w, uint32_t input)
{
    while (input - t->first >= w->channels) {
        t->first += w->channels;
        if (++t->kx == w->kernel_w) {
            t->kx = 0;
            t->ky++;
        }
    }
}

/* Sum over positions of error times input, for one block: rows from o, inputs from `input`. */
SCL_INLINE void block_grad(const scl_window *w, uint32_t rows, const int8_t *d, const int8_t *x,
                           const tap *t, uint32_t channel, int32_t *g, layout k)
{
    for (uint32_t y = 0; y < w->out_h; y++) {
        const int32_t row = window_row(w, y, t->ky);
        for (uint32_t x0 = 0; x0 < w->out_w; x0++) {
            const int32_t col = window_col(w, x0, t->kx);
            if (!window_inside(w, row, col)) {
                continue;
            }
            const int8_t *ds = d + (y * w->out_w + x0) * rows;
            const int8_t *xs = x + window_at(w, row, col) + channel;
            for (uint32_t r = 0; r < k.rows; r++) {
                for (uint32_t c = 0; c < k.cols; c++) {
                    g[r * k.cols + c] += ds[r] * xs[c];
                }
            }
        }
    }
}

SCL_INLINE void weight_grad(const scl_matrix *m, const scl_window *w, sink to, scl_vec d, scl_vec x,
                            layout k)
{
    const int shift = sink_shift(&to, m->e_w, d.e + x.e);
    const int bias_shift = SCL_BIAS_EXPONENT - (d.e + to.rate.exponent);
    const uint32_t positions = (uint32_t)w->out_h * w->out_w;
    for (uint32_t group = 0; group < m->rows / k.rows; group++) {
        const uint32_t o = group * k.rows;
        const block_range range = sink_blocks(m, &to, group, k);
        if (!sink_takes_biases(&to) && range.first >= range.end) {
            continue;
        }
        int32_t any = 0;
        for (uint32_t r = 0; r < k.rows; r++) {
            int32_t sum = 0;
            for (uint32_t p = 0; p < positions; p++) {
                const int32_t error = d.q[p * m->rows + o + r];
                sum += error;
                any |= error;
            }
            if (sink_takes_biases(&to)) {
                sink_bias(&to, o + r, to.rate.mantissa * sum, bias_shift);
            }
        }
        if (any == 0) {
            continue;
        }
        tap t = {0, 0, 0};
        for (uint32_t b = range.first; b < range.end; b++) {
            if (!sink_takes_block(&to, b)) {
                continue;
            }
            const uint32_t input = block_input(m, b, b - range.group_first, k);
            uint32_t at = (b - range.origin) * k.rows * k.cols;
            int32_t g[4] = {0};
            advance(&t, w, input);
            block_grad(w, m->rows, d.q + o, x.q, &t, input - t.first, g, k);
            for (uint32_t i = 0; i < k.rows * k.cols; i++) {
                sink_weight(&to, at++, to.rate.mantissa * g[i], shift);
            }
        }
    }
}

#define DEFINE(name, r, c, ib, fr)                                                                 \
    void scl_conv2d_forward_##name(const scl_matrix *m, const scl_window *w, scl_vec x,            \
                                   int8_t *patch, scl_output *out)                                 \
    {                                                                                              \
        forward(m, w, x, patch, out, LAYOUT(r, c, ib, fr));                                        \
    }                                                                                              \
    void scl_conv2d_input_grad_##name(const scl_matrix *m, const scl_window *w, scl_vec d,         \
                                      int32_t *patch, int32_t *v)                                  \
    {                                                                                              \
        input_grad(m, w, d, patch, v, LAYOUT(r, c, ib, fr));                                       \
    }
SCL_TRAINABLE_LIST(DEFINE)
SCL_FROZEN_LIST(DEFINE)
#undef DEFINE

#define DEFINE(name, r, c, ib, fr)                                                                 \
    void scl_conv2d_weight_update_##name(const scl_matrix *m, const scl_window *w,                 \
                                         const scl_masters *to, scl_vec d, scl_vec x,              \
                                         scl_rate rate)                                            \
    {                                                                                              \
        weight_grad(m, w, SINK_UPDATE(to, rate), d, x, LAYOUT(r, c, ib, fr));                      \
    }                                                                                              \
    void scl_conv2d_weight_gather_##name(const scl_matrix *m, const scl_window *w,                 \
                                         const scl_gathered *to, scl_vec d, scl_vec x,             \
                                         scl_rate rate)                                            \
    {                                                                                              \
        weight_grad(m, w, SINK_GATHER(to, rate), d, x, LAYOUT(r, c, ib, fr));                      \
    }                                                                                              \
    void scl_conv2d_weight_watch_##name(const scl_matrix *m, const scl_window *w,                  \
                                        const scl_masters *of, scl_watch *watch, scl_vec d,        \
                                        scl_vec x, scl_rate rate)                                  \
    {                                                                                              \
        weight_grad(m, w, SINK_WATCH(of, rate, watch), d, x, LAYOUT(r, c, ib, fr));                \
    }
SCL_TRAINABLE_LIST(DEFINE)
#undef DEFINE

#define DEFINE(name, r, c, ib, fr)                                                                 \
    void scl_conv2d_weight_update_selected_##name(const scl_matrix *m, const scl_window *w,        \
                                                  const scl_masters *to, scl_vec d, scl_vec x,     \
                                                  scl_rate rate)                                   \
    {                                                                                              \
        weight_grad(m, w, SINK_SELECTED(to, rate), d, x, LAYOUT(r, c, ib, fr));                    \
    }                                                                                              \
    void scl_conv2d_weight_measure_##name(const scl_matrix *m, const scl_window *w,                \
                                          const scl_measure *to, scl_vec d, scl_vec x)             \
    {                                                                                              \
        weight_grad(m, w, SINK_MEASURE(to), d, x, LAYOUT(r, c, ib, fr));                           \
    }
SCL_SPARSE_LIST(DEFINE)
