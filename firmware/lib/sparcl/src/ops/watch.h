/* watch.h - what an update of a group would do to its masters is counted, for shifts as steps have
 * them; others go the way of other sinks. The same for every core: it runs once in 64 steps. */
#ifndef SPARCL_SRC_OPS_WATCH_H
#define SPARCL_SRC_OPS_WATCH_H

#include "layout.h"

/* Blocks first .. end - 1, of a dense layer a row of them; scaled (k.rows): mantissa of the rate
 * times the errors of their rows; 1 <= shift <= 31. */
SCL_INLINE void group_watch(const scl_matrix *m, const sink *to, uint32_t first, uint32_t end,
                            const int32_t *scaled, const int8_t *x, int shift, layout k)
{
    const int32_t half = (int32_t)(1u << (shift - 1));
    const int16_t *master = to->master + first * k.rows * k.cols;
    uint32_t gradients = 0; /* of an input that is not 0 */
    uint32_t watched = 0;
    uint32_t moved = 0;
    uint32_t saturated = 0;
    for (uint32_t r = 0; r < k.rows; r++) {
        gradients += scaled[r] != 0;
    }
    for (uint32_t b = first; b < end; b++, master += k.rows * k.cols) {
        if (!sink_takes_block(to, b)) {
            continue;
        }
        const int8_t *xs = x + block_input(m, b, b - first, k);
        SCL_UNROLL
        for (uint32_t c = 0; c < k.cols; c++) {
            watched += xs[c] != 0 ? gradients : 0;
            SCL_UNROLL
            for (uint32_t r = 0; r < k.rows; r++) {
                const int32_t step = (scaled[r] * xs[c] + half) >> shift; /* 16 bits at most */
                const int32_t stepped = master[r * k.cols + c] - step;
                moved += step != 0;
                saturated += stepped != scl_master_clamp(stepped);
            }
        }
    }
    to->watch->watched += watched;
    to->watch->dead += watched - moved;
    to->watch->saturated += saturated;
}

#endif
