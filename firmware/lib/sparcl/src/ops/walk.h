/* walk.h - positions in two maps, side by side: of errors d, and of inputs x or their errors v. */
#ifndef SPARCL_SRC_OPS_WALK_H
#define SPARCL_SRC_OPS_WALK_H

#include <stdint.h>

typedef struct walk {
    uint32_t rows, n;        /* rows of n positions; rows 0: none */
    uint32_t d, x;           /* where the first lies, its channel 0 */
    uint32_t d_step, x_step; /* from a position to the next, */
    int32_t d_skip, x_skip;  /* and from behind the last of a row to the first of the next */
} walk;

#endif
