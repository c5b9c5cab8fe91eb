/* How a learner stands: its hash, and a look at a layer. */
#include "pass.h"
#include "sparcl/crc32.h"
#include "state.h"

static uint32_t hash_member(const scl_learner *learner, uint32_t crc, uint32_t offset, size_t bytes)
{
    return offset == 0 ? crc : scl_crc32(crc, scl_member(learner, offset), bytes);
}

uint32_t scl_state_hash(const scl_learner *learner)
{
    const scl_model *m = learner->model;
    const scl_state *state = learner->state;
    const uint32_t tail[4] = {state->seen, state->step, state->config.seed, state->position};
    const size_t slots = m->replay_capacity;
    uint32_t crc = m->hash_layers(state, 0);
    crc = hash_member(learner, crc, m->replay_x_offset, slots * m->replay_values);
    crc = hash_member(learner, crc, m->replay_y_offset, slots);
    crc = hash_member(learner, crc, m->replay_logits_offset, slots * m->classes * sizeof(int16_t));
    crc = hash_member(learner, crc, m->alive_offset, (m->ddr + 7u) / 8u);
    crc = hash_member(learner, crc, m->wrong_offset, (m->ddr + 1u) / 2u);
    return scl_crc32(crc, tail, sizeof tail);
}

scl_err scl_layer_query(const scl_learner *learner, uint32_t index, scl_layer_info *info)
{
    if (index >= learner->model->layer_count || info == NULL) {
        return SCL_ERR_ARG;
    }
    const scl_layer *layer = &learner->model->layers[index];
    const uint8_t *terms = scl_member(learner, layer->terms);
    *info = (scl_layer_info){
        .live = scl_layer_live(learner, layer),
        .learn = scl_layer_learns(learner, layer),
        .weights = layer->weights,
    };
    if (terms != NULL) {
        for (uint32_t b = 0; b < scl_stored(learner, layer); b++) {
            info->terms += terms[b] != 0;
        }
    }
    return SCL_OK;
}
