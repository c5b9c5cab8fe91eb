/* replay.h - the replay buffer inside the state block: reservoir sampling (Vitter's algorithm R).
 */
#ifndef SPARCL_SRC_REPLAY_H
#define SPARCL_SRC_REPLAY_H

#include "sparcl/sparcl.h"

/* A stored sample. */
typedef struct scl_replay_slot {
    int8_t *x;       /* (replay_values) the sample, or its latent */
    uint8_t *y;      /* label */
    int16_t *logits; /* (classes) it was stored with; NULL where there is no room for them */
} scl_replay_slot;

/* Is there replay in this step? From the second task on, or after samples were remembered. */
bool scl_replays(const scl_learner *learner);

/* The slot drawn with this stream in this step; scl_replays. */
scl_replay_slot scl_replay_draw(const scl_learner *learner, uint32_t stream);

/* Slot 0 .. B; slot B, of logits alone, is the new sample's. */
scl_replay_slot scl_replay_at(const scl_learner *learner, uint32_t slot);

/* A new sample was forwarded: keep its logits until it is offered; nothing without room for them.
 * lesson, and what is returned: as scl_model.see. */
bool scl_replay_see(scl_learner *learner, const int8_t *x, const scl_lesson *lesson,
                    const int16_t *logits);

/* Offer one sample, with the logits kept; LightCL has taken what it wants already. */
void scl_replay_insert(const scl_learner *learner, const int8_t *x, uint8_t label);

#endif
