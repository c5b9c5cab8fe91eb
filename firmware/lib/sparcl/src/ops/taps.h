/* taps.h - which output positions see an input at a kernel's positions. */
#ifndef SPARCL_SRC_OPS_TAPS_H
#define SPARCL_SRC_OPS_TAPS_H

#include "walk.h"
#include "window.h"

/* Outputs first .. end - 1 along one side of the map whose kernel position k is not padding. */
typedef struct span {
    uint32_t first, end;
} span;

static span inside_of(uint32_t out, uint32_t in, uint32_t stride, uint32_t k, uint32_t pad)
{
    span s = {0, out};
    while (s.first < out && s.first * stride + k < pad) {
        s.first++;
    }
    while (s.end > s.first && (s.end - 1) * stride + k >= in + pad) {
        s.end--;
    }
    return s;
}

/* Which kernel position and channel an input of the matrix is; walks upwards without division. */
typedef struct tap {
    uint32_t ky, kx;
    uint32_t first; /* input number of channel 0 at (ky, kx) */
    walk seen;      /* by outputs there */
} tap;

/* outputs: channels of the output map. */
static tap tap_at(const scl_window *w, uint32_t outputs, uint32_t ky, uint32_t kx, uint32_t first)
{
    const span y = inside_of(w->out_h, w->in_h, w->stride_h, ky, w->pad_top);
    const span x = inside_of(w->out_w, w->in_w, w->stride_w, kx, w->pad_left);
    walk seen = {.rows = y.end - y.first,
                 .n = x.end - x.first,
                 .d_step = outputs,
                 .x_step = (uint32_t)w->stride_w * w->channels};
    if (seen.rows == 0 || seen.n == 0) {
        return (tap){ky, kx, first, {0}};
    }
    seen.d = (y.first * w->out_w + x.first) * outputs;
    seen.x = window_at(w, window_row(w, y.first, ky), window_col(w, x.first, kx));
    seen.d_skip = (int32_t)((w->out_w - seen.n) * outputs);
    seen.x_skip = (int32_t)((uint32_t)w->stride_h * w->in_w * w->channels - seen.n * seen.x_step);
    if (seen.d_skip == 0 && seen.x_skip == 0) { /* rows that follow each other are one */
        seen.n *= seen.rows;
        seen.rows = 1;
    }
    return (tap){ky, kx, first, seen};
}

SCL_INLINE void advance(tap *t, const scl_window *w, uint32_t outputs, uint32_t input)
{
    while (input - t->first >= w->channels) {
        const bool next_row = t->kx + 1u == w->kernel_w;
        *t =
            tap_at(w, outputs, t->ky + next_row, next_row ? 0 : t->kx + 1u, t->first + w->channels);
    }
}

#endif
