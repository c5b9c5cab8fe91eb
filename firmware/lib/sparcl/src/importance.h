/* importance.h - what a block is worth: measured gradients, their terms, and the keys made of them
 * (docs/numerics.md, "Importance"). */
#ifndef SPARCL_SRC_IMPORTANCE_H
#define SPARCL_SRC_IMPORTANCE_H

#include "mask.h"
#include "sparcl/sparcl.h"

/* The blocks of a sparse layer in the learner's memory. */
scl_mask scl_mask_of(const scl_learner *learner, const scl_layer *layer);

/* What keys are made of. */
typedef struct scl_rank {
    const scl_mask *mask;
    const scl_config *config;
    uint32_t window_shift;
} scl_rank;

/* Codes of CWI, by which TDM removes, and of CGI, by which DGM selects; `of` is a scl_rank. */
scl_code_of scl_weight_importance, scl_gradient_importance;

#endif
