/* layout.h - how a matrix is stored: what is constant in a variant, and where its blocks lie. */
#ifndef SPARCL_SRC_OPS_LAYOUT_H
#define SPARCL_SRC_OPS_LAYOUT_H

#include "output.h"

/* The constants a variant is made of. */
typedef struct layout {
    uint32_t rows, cols;  /* block shape, rows * cols <= 4 */
    uint32_t index_bytes; /* 0: dense, no index */
    bool frozen;
} layout;

#define LAYOUT(r, c, ib, fr)                                                                       \
    ((layout){.rows = (r), .cols = (c), .index_bytes = (ib), .frozen = (fr)})

#define SCL_DENSE_ROWS 4u /* rows of a dense layer that are worked on together */

#define SCL_TILE 4u /* positions of a convolution that are worked on together */

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "a master's second byte is its weight");

SCL_INLINE int32_t weight(const scl_matrix *m, uint32_t at, layout k)
{
    const int8_t *bytes = m->weights;
    return bytes[k.frozen ? at : 2 * at + 1];
}

/* First input of a block. `nth` is its number within its group. */
SCL_INLINE uint32_t block_input(const scl_matrix *m, uint32_t block, uint32_t nth, layout k)
{
    const uint32_t column = k.index_bytes == 0   ? nth
                            : k.index_bytes == 1 ? ((const uint8_t *)m->index)[block]
                                                 : ((const uint16_t *)m->index)[block];
    return column * k.cols;
}

SCL_INLINE uint32_t first_block(const scl_matrix *m, uint32_t group, layout k)
{
    return k.index_bytes == 0 ? group * (m->fan_in / k.cols) : m->start[group];
}

/* Rows that are worked on together from row o on: those of a block, or some of a dense layer. */
SCL_INLINE uint32_t group_rows(const scl_matrix *m, uint32_t o, layout k)
{
    return k.index_bytes != 0             ? k.rows
           : m->rows - o < SCL_DENSE_ROWS ? m->rows - o
                                          : SCL_DENSE_ROWS;
}

#endif
