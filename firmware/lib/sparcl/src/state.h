/* state.h - where things lie in the state block. */
#ifndef SPARCL_SRC_STATE_H
#define SPARCL_SRC_STATE_H

#include "sparcl/numerics.h"
#include "sparcl/sparcl.h"

/* Do these words, the first three of a state block, name the network and this layout? */
static inline bool scl_is_state_of(const scl_model *model, const uint32_t *head)
{
    return head[0] == SCL_STATE_MAGIC && head[1] == SCL_STATE_VERSION && head[2] == model->hash;
}

/* Are the settings in their ranges, and is there room for them? SCL_ERR_CONFIG, SCL_ERR_ROOM. */
scl_err scl_config_check(const scl_model *model, const scl_config *config);

/* The member at `offset` bytes; NULL where the network has no room for it. */
static inline void *scl_member(const scl_learner *learner, uint32_t offset)
{
    return offset == 0 ? NULL : (uint8_t *)learner->state + offset;
}

/* Only these have masks; the others hold every weight. */
static inline bool scl_is_sparse(const scl_layer *layer)
{
    return layer->block != 0;
}

/* Blocks a sparse layer stores now. */
static inline uint32_t scl_stored(const scl_learner *learner, const scl_layer *layer)
{
    const uint16_t *start = scl_member(learner, layer->start);
    return start == NULL ? layer->made : start[layer->groups];
}

/* The most blocks a sparse layer has, while a new task has some on trial: K + n_inter, if the dense
 * layer has as many. The settings were checked against the capacity. */
static inline uint32_t scl_most_blocks(const scl_learner *learner, const scl_layer *layer)
{
    const uint32_t whole = (uint32_t)layer->groups * layer->columns;
    const uint32_t most = layer->made + scl_share(whole, learner->state->config.tdm_inter);
    return most < layer->capacity ? most : layer->capacity;
}

/* Blocks of a slice, which an importance window measures; the last of a layer may be smaller. */
static inline uint32_t scl_slice_blocks(const scl_model *model, const scl_layer *layer)
{
    return layer->block == 4 ? model->slice >> 2 : model->slice;
}

/* Masks change, or which of their blocks learn. */
static inline bool scl_masks_learn(const scl_config *config)
{
    return config->importance != SCL_IMPORTANCE_OFF || config->dgm_share > 0;
}

/* Gradients are measured for that. */
static inline bool scl_sweeps(const scl_config *config)
{
    return config->dgm_share > 0 || config->importance == SCL_IMPORTANCE_PAPER ||
           config->importance == SCL_IMPORTANCE_RELEASED;
}

#endif
