#include "replay.h"

#include <string.h>

#include "state.h"

scl_replay_slot scl_replay_at(const scl_learner *learner, uint32_t slot)
{
    const scl_model *model = learner->model;
    int16_t *logits = scl_member(learner, model->replay_logits_offset);
    return (scl_replay_slot){
        .x = (int8_t *)scl_member(learner, model->replay_x_offset) +
             (size_t)slot * model->replay_values,
        .y = (uint8_t *)scl_member(learner, model->replay_y_offset) + slot,
        .logits = logits == NULL ? NULL : logits + (size_t)slot * model->classes,
    };
}

static uint32_t filled(const scl_learner *learner)
{
    const uint32_t capacity = learner->model->replay_capacity;
    return learner->state->seen < capacity ? learner->state->seen : capacity;
}

bool scl_replays(const scl_learner *learner)
{
    const scl_state *state = learner->state;
    const bool needs_none = state->config.replay == SCL_REPLAY_REPEAT;
    return (state->tasks_begun >= 2 || state->remembered) && (needs_none || filled(learner) > 0);
}

scl_replay_slot scl_replay_draw(const scl_learner *learner, uint32_t stream)
{
    const scl_state *state = learner->state;
    const uint32_t h = scl_hash32(state->config.seed, stream, state->step, 0, 0);
    return scl_replay_at(learner, scl_pick(h, filled(learner)));
}

/* Behind the last slot. */
static int16_t *kept_logits(const scl_learner *learner)
{
    return scl_replay_at(learner, learner->model->replay_capacity).logits;
}

bool scl_replay_see(scl_learner *learner, const int8_t *x, const scl_lesson *lesson,
                    const int16_t *logits)
{
    const scl_model *model = learner->model;
    int16_t *kept = kept_logits(learner);
    if (kept != NULL) {
        memcpy(kept, logits, model->classes * sizeof *kept);
    }
    return model->see != NULL && model->see(learner, x, lesson);
}

void scl_replay_insert(const scl_learner *learner, const int8_t *x, uint8_t label)
{
    scl_state *state = learner->state;
    const scl_model *model = learner->model;
    uint32_t chosen = state->seen;
    if (chosen >= model->replay_capacity) {
        const uint32_t h = scl_hash32(state->config.seed, SCL_STREAM_RESERVOIR, state->seen, 0, 0);
        chosen = scl_pick(h, state->seen + 1);
    }
    if (chosen < model->replay_capacity && state->config.replay != SCL_REPLAY_LIGHTCL) {
        const scl_replay_slot slot = scl_replay_at(learner, chosen);
        memcpy(slot.x, x, model->replay_values);
        *slot.y = label;
        if (slot.logits != NULL) {
            memcpy(slot.logits, kept_logits(learner), model->classes * sizeof *slot.logits);
        }
    }
    state->seen++;
}

uint32_t scl_buffer_count(const scl_learner *learner, uint8_t label)
{
    const scl_state *state = learner->state;
    const uint8_t *labels = scl_member(learner, learner->model->replay_y_offset);
    const bool anchors = state->config.replay == SCL_REPLAY_LIGHTCL;
    const uint32_t held = anchors ? state->anchored : filled(learner);
    uint32_t n = 0;
    for (uint32_t i = 0; i < held; i++) {
        n += labels[i] == label;
    }
    return n;
}
