#include "pass.h"

#include "sparcl/ops.h"
#include "state.h"

uint32_t scl_layer_live(const scl_learner *learner, const scl_layer *layer)
{
    return scl_is_sparse(layer) ? scl_stored(learner, layer) * layer->block : layer->stored;
}

uint32_t scl_layer_learns(const scl_learner *learner, const scl_layer *layer)
{
    const scl_model *model = learner->model;
    const uint16_t *learning = scl_member(learner, model->learning_offset);
    if (layer->number == SCL_FROZEN) {
        return 0;
    }
    if (learning == NULL || !scl_is_sparse(layer)) {
        return scl_layer_live(learner, layer);
    }
    return (uint32_t)learning[layer - model->layers] * layer->block;
}

static uint32_t passes_error(const scl_learner *learner, const scl_layer *layer)
{
    return layer->passes_error ? scl_layer_live(learner, layer) : 0;
}

/* Multiply-accumulates: `weights` of each layer from `first` on, times its positions. */
static uint64_t work(const scl_learner *learner, uint32_t first,
                     uint32_t (*weights)(const scl_learner *, const scl_layer *))
{
    const scl_model *model = learner->model;
    uint64_t macs = 0;
    for (uint32_t i = first; i < model->layer_count; i++) {
        macs += (uint64_t)weights(learner, &model->layers[i]) * model->layers[i].positions;
    }
    return macs;
}

const int8_t *scl_pass_enter(const scl_learner *learner, const int8_t *x)
{
    const scl_model *model = learner->model;
    return model->latent == NULL ? x : model->latent(learner->arena, x);
}

const int16_t *scl_pass_forward(scl_learner *learner, const int8_t *x)
{
    learner->counters.training_passes++;
    learner->counters.macs_forward += work(learner, 0, scl_layer_live);
    return learner->model->forward(learner->state, learner->arena, x, true);
}

void scl_pass_learn(scl_learner *learner, const int8_t *x, const scl_lesson *lesson)
{
    if (learner->model->backward(learner->state, learner->arena, x, lesson)) {
        scl_counters *count = &learner->counters;
        count->backward_passes++;
        count->macs_input_grad += work(learner, 0, passes_error);
        count->macs_weight_grad += work(learner, 0, scl_layer_learns);
        if (learner->model->twice != NULL) {
            learner->model->twice(learner);
        }
    }
}

void scl_pass_twice(scl_learner *learner)
{
    scl_counters *count = &learner->counters;
    count->macs_forward += work(learner, 0, scl_layer_live);
    count->macs_input_grad += work(learner, 0, passes_error);
    count->macs_weight_grad += work(learner, 0, scl_layer_learns);
}

void scl_pass(scl_learner *learner, const int8_t *x, const scl_lesson *lesson)
{
    (void)scl_pass_forward(learner, x);
    scl_pass_learn(learner, x, lesson);
}

void scl_pass_need(scl_learner *learner, const int8_t *x, uint8_t label)
{
    const scl_model *model = learner->model;
    const scl_config *config = &learner->state->config;
    const scl_lesson lesson = {.label = label, .rate = {config->lr_mantissa, config->lr_exponent}};
    (void)model->forward(learner->state, learner->arena, x, false);
    (void)model->backward(learner->state, learner->arena, x, &lesson);
}

void scl_pass_measure(scl_learner *learner, const int8_t *x, const scl_lesson *lesson)
{
    const scl_model *model = learner->model;
    uint64_t macs = work(learner, 0, scl_layer_live);
    (void)model->forward(learner->state, learner->arena, x, false);
    if (model->backward(learner->state, learner->arena, x, lesson)) {
        const scl_measure *slice = lesson->measure;
        const scl_layer *layer = &model->layers[slice->layer];
        macs += work(learner, slice->layer + 1, passes_error);
        macs += (uint64_t)slice->count * layer->block * layer->positions;
    }
    learner->counters.macs_importance += macs;
}
