/* window.h - walking the positions of a kernel over a map. */
#ifndef SPARCL_SRC_OPS_WINDOW_H
#define SPARCL_SRC_OPS_WINDOW_H

#include "output.h"

/* Row of the input under kernel row ky at output row y; negative or >= in_h in the padding. */
SCL_INLINE int32_t window_row(const scl_window *w, uint32_t y, uint32_t ky)
{
    return (int32_t)(y * w->stride_h + ky) - w->pad_top;
}

/* The same for columns. */
SCL_INLINE int32_t window_col(const scl_window *w, uint32_t x, uint32_t kx)
{
    return (int32_t)(x * w->stride_w + kx) - w->pad_left;
}

SCL_INLINE bool window_inside(const scl_window *w, int32_t row, int32_t col)
{
    return (uint32_t)row < w->in_h && (uint32_t)col < w->in_w; /* negative values become large */
}

/* Index of channel 0 at an inside position of the input map. */
SCL_INLINE uint32_t window_at(const scl_window *w, int32_t row, int32_t col)
{
    return ((uint32_t)row * w->in_w + (uint32_t)col) * w->channels;
}

SCL_INLINE uint32_t window_inputs(const scl_window *w)
{
    return (uint32_t)w->in_h * w->in_w * w->channels;
}

#endif
