#include "sparcl/lightcl.h"

#include <string.h>

#include "pass.h"
#include "replay.h"
#include "schedule.h"
#include "state.h"

static const void *at(const scl_state *state, uint32_t offset)
{
    return (const uint8_t *)state + offset;
}

static int exponent_of(const scl_anchors *layer, const scl_state *state)
{
    const scl_scale *scale = at(state, layer->scale);
    return layer->scale == 0 ? layer->exponent : scale->exponent;
}

static uint32_t count_kept(const scl_anchors *layer, const scl_state *state)
{
    const uint8_t *kept = at(state, layer->kept);
    uint32_t n = 0;
    for (uint32_t c = 0; c < layer->channels; c++) {
        n += scl_bit(kept, c);
    }
    return n;
}

/* The most active channels, which are forgotten one by one. Those without activity do not count. */
static void keep(const scl_anchors *layer, scl_learner *learner)
{
    uint8_t *kept = scl_member(learner, layer->kept);
    uint32_t *activity = scl_member(learner, layer->activity);
    uint32_t room = layer->most - count_kept(layer, learner->state);
    for (uint32_t taken = 0; taken < layer->take; taken++) {
        uint32_t best = 0;
        for (uint32_t c = 1; c < layer->channels; c++) {
            best = activity[c] > activity[best] ? c : best;
        }
        if (activity[best] > 0 && room > 0 && !scl_bit(kept, best)) {
            scl_bit_set(kept, best, true);
            room--;
        }
        activity[best] = 0;
    }
    memset(activity, 0, layer->channels * sizeof *activity);
}

static void note(const scl_anchors *layer, scl_learner *learner, const int8_t *q)
{
    uint32_t *activity = scl_member(learner, layer->activity);
    for (uint32_t p = 0; p < layer->positions; p++) {
        for (uint32_t c = 0; c < layer->channels; c++, q++) {
            const uint32_t more = (uint32_t)(*q < 0 ? -*q : *q);
            activity[c] = activity[c] > UINT32_MAX - more ? UINT32_MAX : activity[c] + more;
        }
    }
}

/* Offset of a slot's map. */
static uint32_t map_of(const scl_anchors *layer, uint32_t slot)
{
    return layer->maps + slot * layer->most * layer->positions;
}

static void store(const scl_anchors *layer, scl_learner *learner, uint32_t slot, const int8_t *q)
{
    const uint8_t *kept = scl_member(learner, layer->kept);
    int16_t *exponents = scl_member(learner, layer->exponents);
    int8_t *map = scl_member(learner, map_of(layer, slot));
    for (uint32_t p = 0; p < layer->positions; p++) {
        for (uint32_t c = 0; c < layer->channels; c++, q++) {
            if (scl_bit(kept, c)) {
                *map++ = *q;
            }
        }
    }
    exponents[slot] = (int16_t)exponent_of(layer, learner->state);
}

bool scl_lightcl_see(scl_learner *learner, const int8_t *x, const scl_lesson *lesson)
{
    scl_state *state = learner->state;
    if (state->config.replay != SCL_REPLAY_LIGHTCL) {
        return false;
    }
    const scl_model *model = learner->model;
    const scl_lightcl *light = model->lightcl;
    const bool first = state->task_open && state->position == 0 && state->epochs_done == 0;
    const bool notes = !state->task_open || state->epochs_done + 1 >= state->epochs;
    const uint32_t slot = first ? 0 : state->anchored;
    const bool anchors = state->task_open && (state->tasks_begun >= 2 || state->remembered) &&
                         slot < model->replay_capacity;
    for (uint32_t i = 0; i < light->count; i++) {
        const scl_anchors *layer = &light->layers[i];
        const int8_t *q = (const int8_t *)learner->arena + layer->q;
        if (first) {
            keep(layer, learner);
        }
        if (notes) {
            note(layer, learner, q);
        }
        if (anchors) {
            store(layer, learner, slot, q);
        }
    }
    if (anchors) {
        const scl_replay_slot to = scl_replay_at(learner, slot);
        const scl_replay_slot new = scl_replay_at(learner, model->replay_capacity);
        memcpy(to.x, x, model->replay_values);
        *to.y = lesson->label;
        memcpy(to.logits, new.logits, model->classes * sizeof *to.logits);
    }
    state->anchored = (uint8_t)(slot + anchors);
    return anchors;
}

void scl_lightcl_replay(scl_learner *learner)
{
    const scl_state *state = learner->state;
    const scl_config *config = &state->config;
    const uint32_t h = scl_hash32(config->seed, SCL_STREAM_FIRST_DRAW, state->step, 0, 0);
    const uint32_t drawn = scl_pick(h, state->anchored);
    const scl_replay_slot slot = scl_replay_at(learner, drawn);
    scl_pass(learner, slot.x,
             &(scl_lesson){.label = *slot.y,
                           .alpha_shift = config->alpha_shift,
                           .rate = scl_schedule_rate(state),
                           .slot = (uint16_t)drawn,
                           .logits = slot.logits});
}

/* Is any kept output away from its anchor? v (NULL: only look): add errors of exponent e - up. */
static bool away(const scl_anchors *layer, const scl_state *state, const int8_t *q,
                 const scl_lesson *lesson, int up, int32_t *v)
{
    const uint8_t *kept = at(state, layer->kept);
    const int16_t *exponents = at(state, layer->exponents);
    const int8_t *map = at(state, map_of(layer, lesson->slot));
    const int moved = exponent_of(layer, state) - exponents[lesson->slot];
    bool any = false;
    for (uint32_t i = 0, p = 0; p < layer->positions; p++) {
        for (uint32_t c = 0; c < layer->channels; c++, i++) {
            if (!scl_bit(kept, c)) {
                continue;
            }
            const int32_t error = q[i] - scl_rsr(*map++, moved);
            any = any || error != 0;
            if (v != NULL) {
                v[i] += scl_rsr(error, up);
            }
        }
    }
    return any;
}

void scl_lightcl_hold(const scl_anchors *layer, const scl_state *state, const void *arena,
                      const scl_lesson *lesson, scl_sum *sum)
{
    const int8_t *q = (const int8_t *)arena + layer->q;
    if (state->config.replay != SCL_REPLAY_LIGHTCL || lesson->logits == NULL ||
        !away(layer, state, q, lesson, 0, NULL)) {
        return;
    }
    const int own = exponent_of(layer, state) - lesson->alpha_shift;
    const int e = sum->any && sum->e > own ? sum->e : own;
    for (uint32_t i = 0; i < sum->n; i++) {
        sum->v[i] = sum->any ? scl_rsr(sum->v[i], e - sum->e) : 0;
    }
    (void)away(layer, state, q, lesson, e - own, sum->v);
    sum->e = e;
    sum->any = true;
}

bool scl_lightcl_fits(const scl_anchors *layer, const scl_state *state, uint32_t anchors)
{
    const int16_t *exponents = at(state, layer->exponents);
    if (state->anchored > anchors || count_kept(layer, state) > layer->most) {
        return false;
    }
    for (uint32_t i = 0; i < state->anchored; i++) {
        if (exponents[i] > exponent_of(layer, state)) {
            return false;
        }
    }
    return true;
}
