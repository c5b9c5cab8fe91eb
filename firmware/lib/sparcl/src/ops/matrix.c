/* The state hash of a weight matrix: canonical dense order, whatever the layout. */
#include "matrix.h"

#include "sparcl/crc32.h"

/* Is the block that starts at `input` stored? `b` is the first of the group not yet passed. */
SCL_INLINE bool stored(const scl_matrix *m, uint32_t b, uint32_t end, uint32_t input, layout k)
{
    return k.index_bytes == 0 || (b < end && block_input(m, b, 0, k) == input);
}

SCL_INLINE uint32_t masters_hash(const scl_matrix *m, uint32_t crc, layout k)
{
    for (uint32_t o = 0; o < m->rows; o++) {
        const uint32_t end = first_block(m, o / k.rows + 1, k);
        uint32_t b = first_block(m, o / k.rows, k);
        for (uint32_t i = 0; i < m->fan_in; i += k.cols) {
            const bool here = stored(m, b, end, i, k);
            for (uint32_t c = 0; c < k.cols; c++) {
                const uint32_t at = (b * k.rows + o % k.rows) * k.cols + c;
                const int32_t value = here ? ((const int16_t *)m->weights)[at] - 128 : 0;
                const uint8_t bytes[2] = {(uint8_t)value, (uint8_t)(value >> 8)};
                crc = scl_crc32(crc, bytes, sizeof bytes);
            }
            b += here;
        }
    }
    return crc;
}

/* One bit a weight: is it stored, and among `selected` if not NULL? Bits run on over row ends and
 * are padded at the layer's end. */
SCL_INLINE uint32_t bits_hash(const scl_matrix *m, const uint8_t *selected, uint32_t crc, layout k)
{
    uint8_t byte = 0;
    uint32_t bits = 0;
    for (uint32_t o = 0; o < m->rows; o++) {
        const uint32_t end = first_block(m, o / k.rows + 1, k);
        uint32_t b = first_block(m, o / k.rows, k);
        for (uint32_t i = 0; i < m->fan_in; i++) {
            const bool here = stored(m, b, end, i - i % k.cols, k);
            const bool bit = here && (selected == NULL || scl_bit(selected, b));
            byte = (uint8_t)(byte | (uint32_t)bit << (bits & 7u));
            if ((++bits & 7u) == 0) {
                crc = scl_crc32(crc, &byte, 1);
                byte = 0;
            }
            b += here && i % k.cols == k.cols - 1;
        }
    }
    return (bits & 7u) == 0 ? crc : scl_crc32(crc, &byte, 1);
}

#define DEFINE(name, r, c, ib, fr)                                                                 \
    uint32_t scl_matrix_hash_##name(const scl_matrix *m, const uint8_t *selected, uint32_t crc)    \
    {                                                                                              \
        const uint32_t rows_of_bits = (ib) == 0 ? 0 : selected == NULL ? 1 : 2;                    \
        crc = masters_hash(m, crc, LAYOUT(r, c, ib, fr));                                          \
        for (uint32_t n = 0; n < rows_of_bits; n++) { /* the mask, then the selection */           \
            crc = bits_hash(m, n == 0 ? NULL : selected, crc, LAYOUT(r, c, ib, fr));               \
        }                                                                                          \
        return crc;                                                                                \
    }
SCL_TRAINABLE_LIST(DEFINE)
