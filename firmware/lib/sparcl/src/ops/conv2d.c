/* Convolution; the NumPy twin is host/sparcl_mcu/ops/conv2d.py.
 *
 * A dense layer over patches: each output position gathers the inputs its kernel
 * covers, with zeros for padding. Forward works on a tile of positions at once, backward
 * takes a block over all positions that see it, so that a weight is looked up once for
 * all of them. */
#include "matrix.h"
#include "taps.h"

/* The inputs that the kernel covers at output (y, x0), into a lane of a tile. Those of a kernel row
 * lie together in the map, too, but for what is padding on the left and on the right. */
SCL_INLINE void gather(const scl_matrix *m, const scl_window *w, const int8_t *x, uint32_t y,
                       uint32_t x0, int16_t *tile, uint32_t lane, layout k)
{
    const int32_t col = window_col(w, x0, 0);
    const int32_t inside = (int32_t)w->in_w - col; /* columns from col on */
    const uint32_t width = w->kernel_w;
    const uint32_t skipped = col < 0 ? (uint32_t)-col : 0;
    const uint32_t left = skipped < width ? skipped : width;
    const uint32_t end = inside < (int32_t)width ? (uint32_t)inside : width;
    uint32_t i = 0;
    for (uint32_t ky = 0; ky < w->kernel_h; ky++) {
        const int32_t row = window_row(w, y, ky);
        const uint32_t first = (uint32_t)row < w->in_h ? left : width;
        if (first > 0) {
            tile_clear(tile, i, lane, first * w->channels, m, k);
        }
        if (first < end) {
            tile_put(tile, i + first * w->channels, lane,
                     x + window_at(w, row, col + (int32_t)first), (end - first) * w->channels, m,
                     k);
        }
        if (first < width && end < width) {
            tile_clear(tile, i + end * w->channels, lane, (width - end) * w->channels, m, k);
        }
        i += width * w->channels;
    }
}

SCL_INLINE void forward(const scl_matrix *m, const scl_window *w, scl_vec x, int16_t *tile,
                        scl_output *out, layout k)
{
    const uint32_t positions = (uint32_t)w->out_h * w->out_w;
    uint32_t y = 0;
    uint32_t x0 = 0;
    uint32_t lane = 0;
    scl_output_begin(out, positions * m->rows);
    for (uint32_t p = 0; p < positions; p++) {
        gather(m, w, x.q, y, x0, tile, lane, k);
        if (++x0 == w->out_w) {
            x0 = 0;
            y++;
        }
        if (++lane == SCL_TILE || p + 1 == positions) {
            const uint32_t base = (p + 1 - lane) * m->rows;
            matrix_forward_tile(m, tile, lane, m->e_w + x.e, base, out, k);
            lane = 0;
        }
    }
}

/* The errors of a block's inputs; at: its first weight, whose next row is `pitch` behind. */
SCL_INLINE void weights_spread(const scl_matrix *m, const walk *seen, uint32_t at, uint32_t pitch,
                               const int8_t *d, int32_t *v, layout k)
{
    int32_t weights[4];
    SCL_UNROLL
    for (uint32_t i = 0; i < k.rows * k.cols; i++) {
        weights[i] = weight(m, at + i / k.cols * pitch + i % k.cols, k);
    }
    walk_spread(seen, weights, d, v, k);
}

SCL_INLINE void input_grad_of(const scl_matrix *m, const scl_window *w, scl_vec d, uint32_t first,
                              uint32_t end, int32_t *v, layout k)
{
    const bool dense = k.index_bytes == 0;
    for (uint32_t o = first; o < end; o += k.rows) {
        tap t = tap_at(w, m->rows, 0, 0, 0);
        const uint32_t from = dense ? 0 : m->start[o / k.rows];
        const uint32_t to = dense ? m->fan_in : m->start[o / k.rows + 1];
        for (uint32_t b = from; b < to; b++) {
            const uint32_t input = block_input(m, b, b, k);
            const uint32_t at = dense ? o * m->fan_in + input : b * k.rows * k.cols;
            advance(&t, w, m->rows, input);
            weights_spread(m, &t.seen, at, dense ? m->fan_in : k.cols, d.q + o,
                           v + (input - t.first), k);
        }
    }
}

SCL_INLINE void input_grad(const scl_matrix *m, const scl_window *w, scl_vec d, int32_t *v,
                           layout k)
{
    memset(v, 0, window_inputs(w) * sizeof *v);
    if (k.index_bytes == 0) { /* four rows of a dense layer are a block, too */
        const uint32_t fours = m->rows & ~3u;
        input_grad_of(m, w, d, 0, fours, v, LAYOUT(4, 1, 0, k.frozen));
        input_grad_of(m, w, d, fours, m->rows, v, k);
    } else {
        input_grad_of(m, w, d, 0, m->rows, v, k);
    }
}

SCL_INLINE void weight_grad_of(const scl_matrix *m, const scl_window *w, sink to, scl_vec d,
                               scl_vec x, layout k)
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
        tap t = tap_at(w, m->rows, 0, 0, 0);
        for (uint32_t b = range.first; b < range.end; b++) {
            if (!sink_takes_block(&to, b)) {
                continue;
            }
            const uint32_t input = block_input(m, b, b - range.group_first, k);
            uint32_t at = (b - range.origin) * k.rows * k.cols;
            int32_t g[4] = {0};
            advance(&t, w, m->rows, input);
            walk_grad(&t.seen, d.q + o, x.q + (input - t.first), g, k);
            for (uint32_t i = 0; i < k.rows * k.cols; i++) {
                sink_weight(&to, at++, to.rate.mantissa * g[i], shift);
            }
        }
    }
}

SCL_INLINE void weight_grad(const scl_matrix *m, const scl_window *w, sink to, scl_vec d, scl_vec x,
                            layout k)
{
    if (k.index_bytes == 0 && (w->channels & 3u) == 0) { /* a dense layer is made of blocks, too */
        weight_grad_of(m, w, to, d, x, LAYOUT(1, 4, 0, false));
    } else {
        weight_grad_of(m, w, to, d, x, k);
    }
}

#define DEFINE(name, r, c, ib, fr)                                                                 \
    void scl_conv2d_forward_##name(const scl_matrix *m, const scl_window *w, scl_vec x,            \
                                   int16_t *tile, scl_output *out)                                 \
    {                                                                                              \
        forward(m, w, x, tile, out, LAYOUT(r, c, ib, fr));                                         \
    }                                                                                              \
    void scl_conv2d_input_grad_##name(const scl_matrix *m, const scl_window *w, scl_vec d,         \
                                      int32_t *v)                                                  \
    {                                                                                              \
        input_grad(m, w, d, v, LAYOUT(r, c, ib, fr));                                              \
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
