/* An event of the schedule: masks move (TDM), then blocks are selected (DGM). */
#include "importance.h"
#include "sparcl/ops.h"
#include "state.h"

enum { PURPOSE_TDM = 0, PURPOSE_DGM = 1 };

static uint32_t ties(const scl_state *state, const scl_layer *layer, uint32_t purpose)
{
    return scl_hash32(state->config.seed, SCL_STREAM_TIES, state->step, layer->number, purpose);
}

static void shrink_to(const scl_state *state, const scl_layer *layer, scl_mask *mask, uint32_t n)
{
    const uint32_t stored = mask->start[mask->groups];
    const scl_rank rank = {mask, &state->config, state->window_shift};
    if (n < stored) {
        scl_mask_shrink(mask, scl_weight_importance, &rank, stored - n,
                        ties(state, layer, PURPOSE_TDM));
    }
}

static void grow_to(const scl_state *state, const scl_layer *layer, scl_mask *mask, uint32_t n)
{
    const uint32_t stored = mask->start[mask->groups];
    if (n > stored) {
        scl_mask_grow(mask, n - stored, state->config.seed, state->step, layer->number);
    }
}

static void move_mask(const scl_learner *learner, const scl_layer *layer, scl_mask *mask)
{
    const scl_state *state = learner->state;
    const uint32_t whole = (uint32_t)layer->groups * layer->columns;
    if (state->event == 0) {
        grow_to(state, layer, mask, scl_most_blocks(learner, layer));
    } else if (state->event < SCL_EVENTS - 1) {
        const uint32_t moved = scl_share(whole, state->config.tdm_intra);
        shrink_to(state, layer, mask, moved < layer->made ? layer->made - moved : 1);
        grow_to(state, layer, mask, layer->made);
    } else {
        shrink_to(state, layer, mask, layer->made);
    }
}

static void select_blocks(const scl_state *state, const scl_layer *layer, scl_mask *mask,
                          uint32_t stored)
{
    const uint32_t share = scl_share(stored, state->config.dgm_share);
    const uint32_t learn = share > 0 ? share : 1;
    const scl_rank rank = {mask, &state->config, state->window_shift};
    scl_mask_select(mask, scl_gradient_importance, &rank, stored, stored - learn,
                    ties(state, layer, PURPOSE_DGM));
}

static uint16_t count_selected(const scl_mask *mask, uint32_t stored)
{
    uint32_t n = 0;
    for (uint32_t b = 0; b < stored; b++) {
        n += scl_bit(mask->selected, b);
    }
    return (uint16_t)n;
}

void scl_event(scl_learner *learner)
{
    const scl_model *model = learner->model;
    const scl_state *state = learner->state;
    uint16_t *learning = scl_member(learner, model->learning_offset);
    if (state->event == 0 && state->tasks_begun == 1) {
        return; /* the masks as made, and all of their blocks learn */
    }
    for (uint32_t i = 0; i < model->layer_count; i++) {
        const scl_layer *layer = &model->layers[i];
        if (!scl_is_sparse(layer)) {
            continue;
        }
        scl_mask mask = scl_mask_of(learner, layer);
        if (state->config.importance != SCL_IMPORTANCE_OFF) {
            move_mask(learner, layer, &mask);
        }
        const uint32_t stored = scl_stored(learner, layer);
        if (state->config.dgm_share > 0) {
            select_blocks(state, layer, &mask, stored);
        }
        if (learning != NULL) {
            learning[i] = count_selected(&mask, stored);
        }
    }
}
