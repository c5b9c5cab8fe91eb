#include "replay.h"

#include <string.h>

#include "sparcl/numerics.h"

static scl_replay_slot slot_at(const scl_model *model, scl_state *state, uint32_t slot)
{
    uint8_t *base = (uint8_t *)state;
    return (scl_replay_slot){
        .x = (int8_t *)(base + model->replay_x_offset + (size_t)slot * model->inputs),
        .y = base + model->replay_y_offset + slot,
    };
}

bool scl_replay_draw(const scl_model *model, scl_state *state, scl_replay_slot *slot)
{
    const uint32_t filled =
        state->seen < model->replay_capacity ? state->seen : model->replay_capacity;
    if (filled == 0) {
        return false;
    }
    const uint32_t h = scl_hash32(state->config.seed, SCL_STREAM_FIRST_DRAW, state->step, 0, 0);
    *slot = slot_at(model, state, scl_pick(h, filled));
    return true;
}

void scl_replay_insert(const scl_model *model, scl_state *state, const int8_t *x, uint8_t label)
{
    state->seen++;
    uint32_t chosen = state->seen - 1;
    if (state->seen > model->replay_capacity) {
        const uint32_t h = scl_hash32(state->config.seed, SCL_STREAM_RESERVOIR, state->step, 0, 0);
        chosen = scl_pick(h, state->seen);
    }
    if (chosen < model->replay_capacity) {
        const scl_replay_slot slot = slot_at(model, state, chosen);
        memcpy(slot.x, x, model->inputs);
        *slot.y = label;
    }
}
