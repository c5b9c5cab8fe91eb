/* pass.h - one pass of a sample through the network, and the work it was. */
#ifndef SPARCL_SRC_PASS_H
#define SPARCL_SRC_PASS_H

#include "sparcl/sparcl.h"

/* What every pass, and the replay buffer, takes of a sample: itself, or its latent. */
const int8_t *scl_pass_enter(const scl_learner *learner, const int8_t *x);

/* Forward of a training pass; int16 (classes) logits, valid until scl_pass_learn. */
const int16_t *scl_pass_forward(scl_learner *learner, const int8_t *x);

/* Loss, errors and updates of the sample last forwarded. */
void scl_pass_learn(scl_learner *learner, const int8_t *x, const scl_lesson *lesson);

/* Both for a sample whose logits nobody wants to see. */
void scl_pass(scl_learner *learner, const int8_t *x, const scl_lesson *lesson);

/* A pass that measures gradients (lesson->measure) and learns nothing. */
void scl_pass_measure(scl_learner *learner, const int8_t *x, const scl_lesson *lesson);

/* EWC, outside of a task: hold what this sample needs; nothing is learnt, no work counted. */
void scl_pass_need(scl_learner *learner, const int8_t *x, uint8_t label);

/* Stored weights of a layer, and those of them that learn now. */
uint32_t scl_layer_live(const scl_learner *learner, const scl_layer *layer);
uint32_t scl_layer_learns(const scl_learner *learner, const scl_layer *layer);

#endif
