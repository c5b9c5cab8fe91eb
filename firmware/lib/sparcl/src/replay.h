/* replay.h - the replay buffer inside the state block: reservoir sampling (Vitter's algorithm R).
 */
#ifndef SPARCL_SRC_REPLAY_H
#define SPARCL_SRC_REPLAY_H

#include "sparcl/sparcl.h"

/* A stored sample. */
typedef struct scl_replay_slot {
    int8_t *x;  /* (inputs) */
    uint8_t *y; /* label */
} scl_replay_slot;

/* The slot to replay in this step. False while the buffer is empty. */
bool scl_replay_draw(const scl_model *model, scl_state *state, scl_replay_slot *slot);

/* Offer one sample. */
void scl_replay_insert(const scl_model *model, scl_state *state, const int8_t *x, uint8_t label);

#endif
