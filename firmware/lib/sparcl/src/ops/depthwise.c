/* Depthwise convolution; the NumPy twin is host/sparcl_mcu/ops/depthwise.py. */
#include "window.h"

#include "sparcl/crc32.h"

SCL_INLINE int32_t weight(const scl_depthwise *m, uint32_t at, bool frozen)
{
    return frozen ? ((const int8_t *)m->weights)[at] : ((const int16_t *)m->weights)[at] >> 8;
}

/* What the kernel covers at a position, but for padding. */
typedef struct seen {
    const int8_t *x;     /* channel 0 */
    const int8_t *first; /* its weight */
} seen;

/* Weights as bytes: a master's high byte is its weight (little-endian). */
SCL_INLINE uint32_t weight_bytes(bool frozen)
{
    return frozen ? 1 : 2;
}

SCL_INLINE uint32_t look(const scl_depthwise *m, const scl_window *w, const int8_t *x, uint32_t y,
                         uint32_t x0, seen *found, bool frozen)
{
    const int8_t *weights = (const int8_t *)m->weights + weight_bytes(frozen) - 1;
    uint32_t n = 0;
    for (uint32_t ky = 0; ky < w->kernel_h; ky++) {
        const int32_t row = window_row(w, y, ky);
        for (uint32_t kx = 0; kx < w->kernel_w; kx++, weights += weight_bytes(frozen)) {
            const int32_t col = window_col(w, x0, kx);
            if (window_inside(w, row, col)) {
                found[n++] = (seen){x + window_at(w, row, col), weights};
            }
        }
    }
    return n;
}

/* acc[i] = sum over what is seen, for `many` channels from c on; `many` is a constant. A channel's
 * weights are `apart` bytes behind those of the one before. */
SCL_INLINE void channels_dot(const seen *from, const seen *end, uint32_t c, uint32_t apart,
                             uint32_t many, int32_t *acc)
{
    int32_t sums[4] = {0};
    for (; from < end; from++) {
        const int8_t *xs = from->x + c;
        const int8_t *weights = from->first + c * apart;
        SCL_UNROLL
        for (uint32_t i = 0; i < many; i++, weights += apart) {
            sums[i] += *weights * xs[i];
        }
    }
    SCL_UNROLL
    for (uint32_t i = 0; i < many; i++) {
        acc[i] = sums[i];
    }
}

#define MOST_TAPS 25u /* of a 5x5 kernel, the largest there is */

SCL_INLINE void forward(const scl_depthwise *m, const scl_window *w, scl_vec x, scl_output *out,
                        bool frozen)
{
    const uint32_t apart = weight_bytes(frozen) * w->kernel_h * w->kernel_w;
    seen found[MOST_TAPS];
    int32_t acc[SCL_OUTPUTS_AT_ONCE];
    uint32_t o = 0;
    scl_output_begin(out, (uint32_t)w->out_h * w->out_w * w->channels);
    for (uint32_t y = 0; y < w->out_h; y++) {
        for (uint32_t x0 = 0; x0 < w->out_w; x0++) {
            const seen *end = found + look(m, w, x.q, y, x0, found, frozen);
            for (uint32_t c = 0, n; c < w->channels; c += n, o += n) {
                const uint32_t left = w->channels - c;
                uint32_t i = 0;
                n = left < SCL_OUTPUTS_AT_ONCE ? left : SCL_OUTPUTS_AT_ONCE;
                for (; n - i >= 4; i += 4) {
                    channels_dot(found, end, c + i, apart, 4, acc + i);
                }
                for (; i < n; i++) {
                    channels_dot(found, end, c + i, apart, 1, acc + i);
                }
                scl_outputs_put_each(out, o, n, acc, m->bias + c, m->e_w + c, x.e);
            }
        }
    }
}

SCL_INLINE void input_grad(const scl_depthwise *m, const scl_window *w, scl_vec d, int32_t *v,
                           bool frozen)
{
    const uint32_t inputs = window_inputs(w);
    const int8_t *ds = d.q;
    memset(v, 0, inputs * sizeof *v);
    for (uint32_t y = 0; y < w->out_h; y++) {
        for (uint32_t x0 = 0; x0 < w->out_w; x0++, ds += w->channels) {
            for (uint32_t ky = 0; ky < w->kernel_h; ky++) {
                const int32_t row = window_row(w, y, ky);
                for (uint32_t kx = 0; kx < w->kernel_w; kx++) {
                    const int32_t col = window_col(w, x0, kx);
                    if (!window_inside(w, row, col)) {
                        continue;
                    }
                    int32_t *to = v + window_at(w, row, col);
                    for (uint32_t c = 0; c < w->channels; c++) {
                        const uint32_t at = (c * w->kernel_h + ky) * w->kernel_w + kx;
                        to[c] += weight(m, at, frozen) * ds[c];
                    }
                }
            }
        }
    }
    /* every channel to the largest exponent */
    for (uint32_t i = 0; i < inputs; i += w->channels) {
        for (uint32_t c = 0; c < w->channels; c++) {
            v[i + c] = scl_rsr(v[i + c], m->e_w_max - m->e_w[c]);
        }
    }
}

void scl_depthwise_forward(const scl_depthwise *m, const scl_window *w, scl_vec x, scl_output *out)
{
    forward(m, w, x, out, false);
}

void scl_depthwise_forward_frozen(const scl_depthwise *m, const scl_window *w, scl_vec x,
                                  scl_output *out)
{
    forward(m, w, x, out, true);
}

void scl_depthwise_input_grad(const scl_depthwise *m, const scl_window *w, scl_vec d, int32_t *v)
{
    input_grad(m, w, d, v, false);
}

void scl_depthwise_input_grad_frozen(const scl_depthwise *m, const scl_window *w, scl_vec d,
                                     int32_t *v)
{
    input_grad(m, w, d, v, true);
}

SCL_INLINE void weight_grad(const scl_depthwise *m, const scl_window *w, sink to, scl_vec d,
                            scl_vec x)
{
    const uint32_t positions = (uint32_t)w->out_h * w->out_w;
    const int bias_shift = SCL_BIAS_EXPONENT - (d.e + to.rate.exponent);
    uint32_t at = 0;
    for (uint32_t c = 0; c < w->channels; c++) {
        const int shift = sink_shift(&to, m->e_w[c], d.e + x.e);
        int32_t sum = 0;
        for (uint32_t p = 0; p < positions; p++) {
            sum += d.q[p * w->channels + c];
        }
        if (sink_takes_biases(&to)) {
            sink_bias(&to, c, to.rate.mantissa * sum, bias_shift);
        }
        for (uint32_t ky = 0; ky < w->kernel_h; ky++) {
            for (uint32_t kx = 0; kx < w->kernel_w; kx++) {
                const int8_t *ds = d.q + c;
                int32_t g = 0;
                for (uint32_t y = 0; y < w->out_h; y++) {
                    const int32_t row = window_row(w, y, ky);
                    for (uint32_t x0 = 0; x0 < w->out_w; x0++, ds += w->channels) {
                        const int32_t col = window_col(w, x0, kx);
                        if (window_inside(w, row, col)) {
                            g += *ds * x.q[window_at(w, row, col) + c];
                        }
                    }
                }
                sink_weight(&to, at++, to.rate.mantissa * g, shift);
            }
        }
    }
}

void scl_depthwise_weight_update(const scl_depthwise *m, const scl_window *w, const scl_masters *to,
                                 scl_vec d, scl_vec x, scl_rate rate)
{
    weight_grad(m, w, SINK_UPDATE(to, rate), d, x);
}

void scl_depthwise_weight_gather(const scl_depthwise *m, const scl_window *w,
                                 const scl_gathered *to, scl_vec d, scl_vec x, scl_rate rate)
{
    weight_grad(m, w, SINK_GATHER(to, rate), d, x);
}

void scl_depthwise_weight_watch(const scl_depthwise *m, const scl_window *w, const scl_masters *of,
                                scl_watch *watch, scl_vec d, scl_vec x, scl_rate rate)
{
    weight_grad(m, w, SINK_WATCH(of, rate, watch), d, x);
}

uint32_t scl_depthwise_hash(const scl_depthwise *m, const scl_window *w, uint32_t crc)
{
    const uint32_t n = (uint32_t)w->channels * w->kernel_h * w->kernel_w;
    for (uint32_t i = 0; i < n; i++) {
        const int32_t value = ((const int16_t *)m->weights)[i] - 128;
        const uint8_t bytes[2] = {(uint8_t)value, (uint8_t)(value >> 8)};
        crc = scl_crc32(crc, bytes, sizeof bytes);
    }
    return crc;
}
