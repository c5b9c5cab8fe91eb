/* lightcl.h - LightCL (Wang et al. 2025): maps and logits of a few new samples, the anchors, are
 * held near what the network gave before it learnt their task (docs/numerics.md, "LightCL").
 * Called by generated code that has room for it; applications choose SCL_REPLAY_LIGHTCL.
 */
#ifndef SPARCL_LIGHTCL_H
#define SPARCL_LIGHTCL_H

#include "sparcl/ops.h"
#include "sparcl/sparcl.h"

/* A layer whose outputs are held. Offsets are bytes into the state block. */
typedef struct scl_anchors {
    uint32_t q;         /* bytes into the arena: its outputs, int8 (positions, channels) */
    uint32_t scale;     /* their scl_scale; 0: `exponent` never moves */
    uint32_t kept;      /* (channels) bits */
    uint32_t activity;  /* uint32 (channels) sums of |q| over a task's last epoch, saturated */
    uint32_t maps;      /* int8 (anchors, most * positions) kept channels, position by position */
    uint32_t exponents; /* int16 (anchors) of these */
    uint16_t positions, channels;
    uint16_t take; /* channels that each task wants kept */
    uint16_t most; /* channels kept at most */
    int16_t exponent;
} scl_anchors;

typedef struct scl_lightcl {
    void (*replay)(scl_learner *learner); /* scl_lightcl_replay */
    const scl_anchors *layers;
    uint32_t count;
} scl_lightcl;

/* scl_model.see. With a task's first sample the channels that the last one excited most are kept,
 * and its anchors forgotten; then it is noted what x excites, if that is asked for. True if it
 * became an anchor. Nothing under other settings than SCL_REPLAY_LIGHTCL. */
bool scl_lightcl_see(scl_learner *learner, const int8_t *x, const scl_lesson *lesson);

/* The pass of an anchor that is drawn. */
void scl_lightcl_replay(scl_learner *learner);

/* Before an error is closed: add how far the layer's outputs are from those of the drawn anchor.
 * Nothing where the lesson is no anchor. */
void scl_lightcl_hold(const scl_anchors *layer, const scl_state *state, const void *arena,
                      const scl_lesson *lesson, scl_sum *sum);

/* May this be in a state that came from elsewhere (scl_admit)? Its scale was looked at. */
bool scl_lightcl_fits(const scl_anchors *layer, const scl_state *state, uint32_t anchors);

#endif
