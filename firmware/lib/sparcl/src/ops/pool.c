/* Max and average pooling; the NumPy twin is host/sparcl_mcu/ops/pool.py. */
#include "window.h"

static void index_put(uint8_t *index, uint32_t i, uint32_t bits, uint32_t value)
{
    const uint32_t at = i * bits;
    index[at >> 3] = (uint8_t)(index[at >> 3] | value << (at & 7u));
}

static uint32_t index_get(const uint8_t *index, uint32_t i, uint32_t bits)
{
    const uint32_t at = i * bits;
    return (uint32_t)index[at >> 3] >> (at & 7u) & ((1u << bits) - 1u);
}

void scl_max_pool_forward(const scl_window *w, const int8_t *x, int8_t *q, uint8_t *index)
{
    const uint32_t bits = scl_pool_index_bits(w);
    uint32_t o = 0;
    if (index != NULL) {
        memset(index, 0, scl_max_pool_index_bytes(w));
    }
    for (uint32_t y = 0; y < w->out_h; y++) {
        for (uint32_t x0 = 0; x0 < w->out_w; x0++) {
            for (uint32_t c = 0; c < w->channels; c++, o++) {
                int32_t best = -128; /* below every mantissa */
                uint32_t winner = 0;
                for (uint32_t ky = 0; ky < w->kernel_h; ky++) {
                    const int32_t row = window_row(w, y, ky);
                    for (uint32_t kx = 0; kx < w->kernel_w; kx++) {
                        const int32_t col = window_col(w, x0, kx);
                        if (window_inside(w, row, col) && x[window_at(w, row, col) + c] > best) {
                            best = x[window_at(w, row, col) + c];
                            winner = ky * w->kernel_w + kx;
                        }
                    }
                }
                q[o] = (int8_t)best;
                if (index != NULL) {
                    index_put(index, o, bits, winner);
                }
            }
        }
    }
}

void scl_max_pool_input_grad(const scl_window *w, const int8_t *d, const uint8_t *index, int32_t *v)
{
    const uint32_t bits = scl_pool_index_bits(w);
    uint32_t o = 0;
    memset(v, 0, window_inputs(w) * sizeof *v);
    for (uint32_t y = 0; y < w->out_h; y++) {
        for (uint32_t x0 = 0; x0 < w->out_w; x0++) {
            for (uint32_t c = 0; c < w->channels; c++, o++) {
                const uint32_t winner = index_get(index, o, bits);
                uint32_t ky = 0;
                uint32_t kx = winner;
                for (; kx >= w->kernel_w; kx -= w->kernel_w) {
                    ky++;
                }
                v[window_at(w, window_row(w, y, ky), window_col(w, x0, kx)) + c] += d[o];
            }
        }
    }
}

void scl_avg_pool_forward(const scl_window *w, int32_t reciprocal, scl_vec x, scl_output *out)
{
    const int shift = out->exponent - (x.e - 15); /* of the reciprocal */
    uint32_t o = 0;
    for (uint32_t y = 0; y < w->out_h; y++) {
        for (uint32_t x0 = 0; x0 < w->out_w; x0++) {
            for (uint32_t c = 0; c < w->channels; c++) {
                int32_t sum = 0;
                for (uint32_t ky = 0; ky < w->kernel_h; ky++) {
                    for (uint32_t kx = 0; kx < w->kernel_w; kx++) {
                        sum += x.q[window_at(w, window_row(w, y, ky), window_col(w, x0, kx)) + c];
                    }
                }
                scl_output_put(out, o++, sum * reciprocal, shift);
            }
        }
    }
}

void scl_avg_pool_input_grad(const scl_window *w, int32_t reciprocal, const int8_t *d, int32_t *v)
{
    memset(v, 0, window_inputs(w) * sizeof *v);
    for (uint32_t y = 0; y < w->out_h; y++) {
        for (uint32_t x0 = 0; x0 < w->out_w; x0++, d += w->channels) {
            for (uint32_t ky = 0; ky < w->kernel_h; ky++) {
                for (uint32_t kx = 0; kx < w->kernel_w; kx++) {
                    int32_t *to = v + window_at(w, window_row(w, y, ky), window_col(w, x0, kx));
                    for (uint32_t c = 0; c < w->channels; c++) {
                        to[c] += d[c] * reciprocal;
                    }
                }
            }
        }
    }
}
