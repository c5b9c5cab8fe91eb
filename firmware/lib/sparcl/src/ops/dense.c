/* Dense layer; the NumPy twin is host/sparcl_mcu/ops/dense.py.
 *
 * One body a phase. Block shape and index width are constants where a body is
 * inlined, so each public variant has its loops unrolled and its tests removed. */
#include "sparcl/crc32.h"
#include "sparcl/ops.h"

#include "output.h"

#define INLINE static inline __attribute__((always_inline))

INLINE uint32_t column(const scl_dense *l, uint32_t block, uint32_t index_bytes)
{
    return index_bytes == 1 ? ((const uint8_t *)l->index)[block]
                            : ((const uint16_t *)l->index)[block];
}

/* Blocks [first, end) of a group of outputs. */
INLINE uint32_t first_block(const scl_dense *l, uint32_t group, uint32_t index_bytes)
{
    return index_bytes == 0 ? group * l->inputs : l->start[group];
}

INLINE void forward(const scl_dense *l, scl_vec x, scl_output *out, uint32_t rows, uint32_t cols,
                    uint32_t index_bytes)
{
    const int e_acc = l->e_w + x.e;
    scl_output_begin(out, l->outputs);
    for (uint32_t group = 0; group < l->outputs / rows; group++) {
        const uint32_t first = first_block(l, group, index_bytes);
        const uint32_t end = first_block(l, group + 1, index_bytes);
        const int16_t *w = l->master + first * rows * cols;
        int32_t acc[4] = {0};
        for (uint32_t b = first; b < end; b++) {
            const int8_t *xs =
                x.q + (index_bytes == 0 ? b - first : column(l, b, index_bytes)) * cols;
            for (uint32_t r = 0; r < rows; r++) {
                for (uint32_t c = 0; c < cols; c++) {
                    acc[r] += (*w++ >> 8) * xs[c];
                }
            }
        }
        for (uint32_t r = 0; r < rows; r++) {
            const uint32_t o = group * rows + r;
            const int32_t bias = scl_rsr(l->bias[o], e_acc - SCL_BIAS_EXPONENT);
            scl_output_put(out, o, acc[r] + bias, out->exponent - e_acc);
        }
    }
}

INLINE void input_grad(const scl_dense *l, scl_vec d, int32_t *v, uint32_t rows, uint32_t cols,
                       uint32_t index_bytes)
{
    memset(v, 0, l->inputs * sizeof *v);
    for (uint32_t group = 0; group < l->outputs / rows; group++) {
        const int8_t *ds = d.q + group * rows;
        const uint32_t first = first_block(l, group, index_bytes);
        const uint32_t end = first_block(l, group + 1, index_bytes);
        const int16_t *w = l->master + first * rows * cols;
        int32_t any = 0;
        for (uint32_t r = 0; r < rows; r++) {
            any |= ds[r];
        }
        if (any == 0) {
            continue;
        }
        for (uint32_t b = first; b < end; b++) {
            int32_t *vs = v + (index_bytes == 0 ? b - first : column(l, b, index_bytes)) * cols;
            for (uint32_t r = 0; r < rows; r++) {
                for (uint32_t c = 0; c < cols; c++) {
                    vs[c] += (*w++ >> 8) * ds[r];
                }
            }
        }
    }
}

INLINE void weight_update(const scl_dense *l, scl_vec d, scl_vec x, const scl_config *config,
                          uint32_t rows, uint32_t cols, uint32_t index_bytes)
{
    const int shift = (l->e_w - 8) - (d.e + x.e + config->lr_exponent);
    const int bias_shift = SCL_BIAS_EXPONENT - (d.e + config->lr_exponent);
    for (uint32_t group = 0; group < l->outputs / rows; group++) {
        int32_t scaled[4]; /* lr_mantissa * error of each output of the group */
        int32_t any = 0;
        for (uint32_t r = 0; r < rows; r++) {
            const uint32_t o = group * rows + r;
            scaled[r] = config->lr_mantissa * d.q[o];
            any |= scaled[r];
            const int32_t change = scl_rsr(scaled[r], bias_shift);
            const int64_t bias = (int64_t)l->bias[o] - change;
            l->bias[o] = bias > SCL_BIAS_LIMIT    ? SCL_BIAS_LIMIT
                         : bias < -SCL_BIAS_LIMIT ? -SCL_BIAS_LIMIT
                                                  : (int32_t)bias;
        }
        if (any == 0) {
            continue; /* nothing below would change */
        }
        const uint32_t first = first_block(l, group, index_bytes);
        const uint32_t end = first_block(l, group + 1, index_bytes);
        int16_t *w = l->master + first * rows * cols;
        for (uint32_t b = first; b < end; b++) {
            const int8_t *xs =
                x.q + (index_bytes == 0 ? b - first : column(l, b, index_bytes)) * cols;
            for (uint32_t r = 0; r < rows; r++) {
                for (uint32_t c = 0; c < cols; c++) {
                    const int32_t m = *w - scl_sat(scl_rsr(scaled[r] * xs[c], shift), 32767);
                    *w++ = (int16_t)(m > SCL_MASTER_MAX   ? SCL_MASTER_MAX
                                     : m < SCL_MASTER_MIN ? SCL_MASTER_MIN
                                                          : m);
                }
            }
        }
    }
}

/* Is block (group, block_column) stored? `next` is the first block of the group not yet passed. */
INLINE bool stored(const scl_dense *l, uint32_t next, uint32_t end, uint32_t block_column,
                   uint32_t index_bytes)
{
    return index_bytes == 0 || (next < end && column(l, next, index_bytes) == block_column);
}

INLINE uint32_t hash(const scl_dense *l, uint32_t crc, uint32_t rows, uint32_t cols,
                     uint32_t index_bytes)
{
    for (uint32_t o = 0; o < l->outputs; o++) {
        const uint32_t end = first_block(l, o / rows + 1, index_bytes);
        uint32_t b = first_block(l, o / rows, index_bytes);
        for (uint32_t block_column = 0; block_column < l->inputs / cols; block_column++) {
            const bool here = stored(l, b, end, block_column, index_bytes);
            for (uint32_t c = 0; c < cols; c++) {
                int32_t m = 0;
                if (here) {
                    m = l->master[(b * rows + o % rows) * cols + c] - 128;
                }
                const uint8_t bytes[2] = {(uint8_t)m, (uint8_t)(m >> 8)};
                crc = scl_crc32(crc, bytes, sizeof bytes);
            }
            b += here;
        }
    }
    if (index_bytes == 0) {
        return crc;
    }
    uint8_t byte = 0;
    uint32_t bits = 0; /* mask bits run on over row ends and are padded at the layer's end */
    for (uint32_t o = 0; o < l->outputs; o++) {
        const uint32_t end = first_block(l, o / rows + 1, index_bytes);
        uint32_t b = first_block(l, o / rows, index_bytes);
        for (uint32_t i = 0; i < l->inputs; i++) {
            const bool here = stored(l, b, end, i / cols, index_bytes);
            byte = (uint8_t)(byte | (uint32_t)here << (bits & 7u));
            if ((++bits & 7u) == 0) {
                crc = scl_crc32(crc, &byte, 1);
                byte = 0;
            }
            b += here && i % cols == cols - 1;
        }
    }
    return (bits & 7u) == 0 ? crc : scl_crc32(crc, &byte, 1);
}

#define DEFINE(name, rows, cols, index_bytes)                                                      \
    void scl_dense_forward_##name(const scl_dense *l, scl_vec x, scl_output *out)                  \
    {                                                                                              \
        forward(l, x, out, rows, cols, index_bytes);                                               \
    }                                                                                              \
    void scl_dense_input_grad_##name(const scl_dense *l, scl_vec d, int32_t *v)                    \
    {                                                                                              \
        input_grad(l, d, v, rows, cols, index_bytes);                                              \
    }                                                                                              \
    void scl_dense_weight_update_##name(const scl_dense *l, scl_vec d, scl_vec x,                  \
                                        const scl_config *config)                                  \
    {                                                                                              \
        weight_update(l, d, x, config, rows, cols, index_bytes);                                   \
    }                                                                                              \
    uint32_t scl_dense_hash_##name(const scl_dense *l, uint32_t crc)                               \
    {                                                                                              \
        return hash(l, crc, rows, cols, index_bytes);                                              \
    }
SCL_DENSE_LIST(DEFINE)
