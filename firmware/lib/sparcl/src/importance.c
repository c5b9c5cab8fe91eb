#include "importance.h"

#include <string.h>

#include "pass.h"
#include "replay.h"
#include "schedule.h"
#include "sparcl/ops.h"
#include "state.h"

scl_mask scl_mask_of(const scl_learner *learner, const scl_layer *layer)
{
    static const scl_holds none;
    const scl_model *model = learner->model;
    const scl_holds *holds = model->holds == NULL ? &none : &model->holds[layer - model->layers];
    return (scl_mask){
        .master = scl_member(learner, layer->master),
        .anchor = scl_member(learner, holds->anchor),
        .held = scl_member(learner, holds->held),
        .fresh = scl_member(learner, holds->fresh),
        .start = scl_member(learner, layer->start),
        .index = scl_member(learner, layer->index),
        .terms = scl_member(learner, layer->terms),
        .selected = scl_member(learner, layer->selected),
        .groups = layer->groups,
        .columns = layer->columns,
        .capacity = layer->capacity,
        .block = layer->block,
        .index_bytes = layer->index_bytes,
    };
}

uint32_t scl_weight_importance(const void *of, uint32_t b)
{
    const scl_rank *rank = of;
    const scl_mask *mask = rank->mask;
    const int16_t *master = mask->master + b * mask->block;
    uint32_t key = 0; /* below 2^23: 4 masters, and a term below 2^20 */
    for (uint32_t i = 0; i < mask->block; i++) {
        const int32_t m = master[i] - 128;
        key += (uint32_t)(m < 0 ? -m : m);
    }
    const uint8_t importance = rank->config->importance;
    if (importance == SCL_IMPORTANCE_MAGNITUDE || mask->terms == NULL) {
        return scl_code(key);
    }
    const bool released = importance == SCL_IMPORTANCE_RELEASED;
    const bool stale =
        released && rank->config->dgm_share > 0 && !scl_bit(mask->selected, b); /* learns nothing */
    if (!stale && mask->terms[b] != SCL_TERM_GROWN) {
        key += (scl_decode(mask->terms[b]) << 3) >> rank->window_shift;
    }
    return scl_code(key);
}

uint32_t scl_gradient_importance(const void *of, uint32_t b)
{
    return ((const scl_rank *)of)->mask->terms[b];
}

/* A slice: the part of a layer that one window measures. False if there is no such slice. */
static bool find_slice(const scl_learner *learner, uint32_t slice, scl_measure *found)
{
    const scl_model *model = learner->model;
    for (uint32_t i = 0; i < model->layer_count; i++) {
        const scl_layer *layer = &model->layers[i];
        const uint32_t slices = scl_layer_slices(learner, layer);
        if (slice < slices) {
            const uint32_t blocks = scl_slice_blocks(model, layer);
            const uint32_t stored = scl_stored(learner, layer);
            *found = (scl_measure){.layer = i, .first = slice * blocks};
            if (found->first < stored) {
                const uint32_t left = stored - found->first;
                found->count = left < blocks ? left : blocks;
            }
            return true;
        }
        slice -= slices;
    }
    return false;
}

static int16_t *sums(const scl_learner *learner, uint32_t which)
{
    int16_t *both = scl_member(learner, learner->model->sums_offset);
    return both + which * learner->model->slice;
}

/* The window is over: every block's sums become its term. */
static void close_window(scl_learner *learner, const scl_measure *slice)
{
    const scl_layer *layer = &learner->model->layers[slice->layer];
    uint8_t *terms = scl_member(learner, layer->terms);
    const int16_t *of_task = sums(learner, 0);
    const int16_t *of_buffer = sums(learner, 1);
    for (uint32_t b = 0; b < slice->count; b++) {
        uint32_t total = 0;
        for (uint32_t i = 0; i < layer->block; i++) {
            const int32_t a0 = *of_task++;
            const int32_t a1 = *of_buffer++;
            total += (uint32_t)(a0 < 0 ? -a0 : a0) + 2u * (uint32_t)(a1 < 0 ? -a1 : a1);
        }
        terms[slice->first + b] = (uint8_t)scl_code(total);
    }
}

void scl_measure_step(scl_learner *learner, const int8_t *x, uint8_t label)
{
    scl_state *state = learner->state;
    const scl_model *model = learner->model;
    const scl_config *config = &state->config;
    const uint32_t window = 1u << state->window_shift;
    const bool released = config->importance == SCL_IMPORTANCE_RELEASED;
    scl_measure slice;
    if (!find_slice(learner, state->swept >> state->window_shift, &slice)) {
        return; /* cannot be: a sweep has as many windows as there are slices */
    }
    if ((state->swept & (window - 1)) == 0) {
        memset(sums(learner, 0), 0, 2u * model->slice * sizeof(int16_t));
    }
    if (slice.count > 0) {
        const uint8_t *task = scl_member(learner, model->classes_offset);
        slice.sums = sums(learner, 0);
        scl_pass_measure(
            learner, x,
            &(scl_lesson){.label = label,
                          .classes = released && !config->single_head_loss ? NULL : task,
                          .measure = &slice});
        if (config->replay != SCL_REPLAY_REPEAT && scl_replays(learner)) {
            const scl_replay_slot slot = scl_replay_draw(learner, SCL_STREAM_IMPORTANCE_DRAW);
            slice.sums = sums(learner, released ? 0 : 1);
            scl_pass_measure(learner, slot.x, &(scl_lesson){.label = *slot.y, .measure = &slice});
        }
    }
    state->swept++;
    if ((state->swept & (window - 1)) == 0) {
        close_window(learner, &slice);
    }
}
