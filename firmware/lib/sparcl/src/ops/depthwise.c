/* Depthwise convolution; the NumPy twin is host/sparcl_mcu/ops/depthwise.py. */
#include "channels.h"
#include "taps.h"

#include "sparcl/crc32.h"

SCL_INLINE int32_t weight(const scl_depthwise *m, uint32_t at, bool frozen)
{
    return frozen ? ((const int8_t *)m->weights)[at] : ((const int16_t *)m->weights)[at] >> 8;
}

/* Weights as bytes: a master's high byte is its weight (little-endian). */
SCL_INLINE uint32_t weight_bytes(bool frozen)
{
    return frozen ? 1 : 2;
}

SCL_INLINE uint32_t look(const scl_depthwise *m, const scl_window *w, const int8_t *x, uint32_t y,
                         uint32_t x0, tap_input *found, bool frozen)
{
    const int8_t *weights = (const int8_t *)m->weights + weight_bytes(frozen) - 1;
    uint32_t n = 0;
    for (uint32_t ky = 0; ky < w->kernel_h; ky++) {
        const int32_t row = window_row(w, y, ky);
        for (uint32_t kx = 0; kx < w->kernel_w; kx++, weights += weight_bytes(frozen)) {
            const int32_t col = window_col(w, x0, kx);
            if (window_inside(w, row, col)) {
                found[n++] = (tap_input){x + window_at(w, row, col), weights};
            }
        }
    }
    return n;
}

#define MOST_TAPS 25u /* of a 5x5 kernel, the largest there is */

SCL_INLINE void forward(const scl_depthwise *m, const scl_window *w, scl_vec x, scl_output *out,
                        bool frozen)
{
    const uint32_t apart = weight_bytes(frozen) * w->kernel_h * w->kernel_w;
    tap_input found[MOST_TAPS];
    int32_t acc[SCL_OUTPUTS_AT_ONCE];
    uint32_t o = 0;
    scl_output_begin(out, (uint32_t)w->out_h * w->out_w * w->channels);
    for (uint32_t y = 0; y < w->out_h; y++) {
        for (uint32_t x0 = 0; x0 < w->out_w; x0++) {
            const tap_input *end = found + look(m, w, x.q, y, x0, found, frozen);
            for (uint32_t c = 0, n; c < w->channels; c += n, o += n) {
                const uint32_t left = w->channels - c;
                uint32_t i = 0;
                n = left < SCL_OUTPUTS_AT_ONCE ? left : SCL_OUTPUTS_AT_ONCE;
                for (; n - i >= 4; i += 4) {
                    four_channels_dot(found, end, c + i, apart, acc + i);
                }
                for (; i < n; i++) {
                    channels_dot(found, end, c + i, apart, 1, acc + i);
                }
                scl_outputs_put_each(out, o, n, acc, m->bias + c, m->e_w + c, x.e);
            }
        }
    }
}

/* The positions that see tap t of the kernel. */
static walk depthwise_walk(const scl_window *w, uint32_t t)
{
    return tap_at(w, w->channels, t / w->kernel_w, t % w->kernel_w, 0).seen;
}

SCL_INLINE void input_grad(const scl_depthwise *m, const scl_window *w, scl_vec d, int32_t *v,
                           bool frozen)
{
    const uint32_t inputs = window_inputs(w);
    const uint32_t taps = (uint32_t)w->kernel_h * w->kernel_w;
    memset(v, 0, inputs * sizeof *v);
    for (uint32_t t = 0; t < taps; t++) {
        const walk at = depthwise_walk(w, t);
        for (uint32_t c = 0, n; c < w->channels; c += n) {
            int32_t weights[4];
            n = w->channels - c < 4 ? 1 : 4;
            for (uint32_t i = 0; i < n; i++) {
                weights[i] = weight(m, (c + i) * taps + t, frozen);
            }
            if (n == 4) {
                four_channels_spread(&at, weights, d.q + c, v + c);
            } else {
                channels_spread(&at, weights, d.q + c, v + c, 1);
            }
        }
    }
    for (uint32_t c = 0; c < w->channels; c++) { /* every channel to the largest exponent */
        const int shift = m->e_w_max - m->e_w[c];
        for (uint32_t i = c; shift > 0 && i < inputs; i += w->channels) {
            v[i] = scl_rsr(v[i], shift);
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
    const uint32_t taps = (uint32_t)w->kernel_h * w->kernel_w;
    const int bias_shift = SCL_BIAS_EXPONENT - (d.e + to.rate.exponent);
    for (uint32_t c = 0; sink_takes_biases(&to) && c < w->channels; c++) {
        int32_t sum = 0;
        for (uint32_t p = 0; p < positions; p++) {
            sum += d.q[p * w->channels + c];
        }
        sink_bias(&to, c, to.rate.mantissa * sum, bias_shift);
    }
    for (uint32_t t = 0; t < taps; t++) {
        const walk at = depthwise_walk(w, t);
        for (uint32_t c = 0, n; c < w->channels; c += n) {
            int32_t g[4];
            n = w->channels - c < 4 ? 1 : 4;
            if (n == 4) {
                four_channels_grad(&at, d.q + c, x.q + c, g);
            } else {
                channels_grad(&at, d.q + c, x.q + c, 1, g);
            }
            for (uint32_t i = 0; i < n; i++) {
                sink_weight(&to, (c + i) * taps + t, to.rate.mantissa * g[i],
                            sink_shift(&to, m->e_w[c + i], d.e + x.e));
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
