#include "sparcl/sparcl.h"

#include <string.h>

#include "replay.h"
#include "sparcl/crc32.h"

static scl_err check(const scl_config *config)
{
    const bool ok = (config->lr_mantissa == 1 || config->lr_mantissa == 3) &&
                    config->lr_exponent >= -15 && config->lr_exponent <= 0 &&
                    config->second_pass <= SCL_SECOND_REPEAT;
    return ok ? SCL_OK : SCL_ERR_CONFIG;
}

scl_err scl_init(scl_learner *learner, const scl_model *model, void *state, void *arena)
{
    if (learner == NULL || model == NULL || state == NULL || arena == NULL) {
        return SCL_ERR_ARG;
    }
    learner->model = model;
    learner->state = state;
    learner->arena = arena;
    return scl_reset(learner, &model->defaults);
}

scl_err scl_reset(scl_learner *learner, const scl_config *config)
{
    const scl_err err = config == NULL ? SCL_ERR_ARG : check(config);
    if (err != SCL_OK) {
        return err;
    }
    const scl_model *model = learner->model;
    memset(learner->state, 0, model->state_bytes);
    memset(&learner->counters, 0, sizeof learner->counters);
    learner->state->magic = SCL_STATE_MAGIC;
    learner->state->version = SCL_STATE_VERSION;
    learner->state->model_hash = model->hash;
    learner->state->config = *config;
    model->load(learner->state);
    return SCL_OK;
}

scl_err scl_begin_task(scl_learner *learner)
{
    if (learner->state->task_open || learner->state->tasks_begun == UINT16_MAX) {
        return SCL_ERR_TASK;
    }
    learner->state->tasks_begun++;
    learner->state->task_open = 1;
    return SCL_OK;
}

static void apply_batch(scl_learner *learner)
{
    if (learner->state->gathered > 0) {
        learner->model->apply(learner->state);
        learner->state->gathered = 0;
    }
}

scl_err scl_end_task(scl_learner *learner)
{
    if (!learner->state->task_open) {
        return SCL_ERR_TASK;
    }
    apply_batch(learner);
    learner->state->task_open = 0;
    return SCL_OK;
}

static uint8_t arg_max(const int16_t *logits, uint32_t n)
{
    uint32_t best = 0;
    for (uint32_t j = 1; j < n; j++) {
        if (logits[j] > logits[best]) {
            best = j;
        }
    }
    return (uint8_t)best;
}

/* Forward, loss, backward, update. Returns the class given before the update. */
static uint8_t train(scl_learner *learner, const int8_t *x, uint8_t label)
{
    const scl_model *model = learner->model;
    scl_counters *count = &learner->counters;
    const int16_t *logits = model->forward(learner->state, learner->arena, x, true);
    const uint8_t predicted = arg_max(logits, model->classes);
    count->training_passes++;
    count->macs_forward += model->macs_forward;
    if (model->backward(learner->state, learner->arena, x, label)) {
        count->backward_passes++;
        count->macs_input_grad += model->macs_input_grad;
        count->macs_weight_grad += model->macs_weight_grad;
    }
    return predicted;
}

scl_err scl_observe(scl_learner *learner, const int8_t *x, uint8_t label, uint8_t *predicted)
{
    scl_state *state = learner->state;
    if (x == NULL) {
        return SCL_ERR_ARG;
    }
    if (label >= learner->model->classes) {
        return SCL_ERR_LABEL;
    }
    if (!state->task_open) {
        return SCL_ERR_TASK;
    }
    const uint8_t before = train(learner, x, label);
    if (predicted != NULL) {
        *predicted = before;
    }
    if (state->tasks_begun >= 2) {
        scl_replay_slot slot;
        if (state->config.second_pass == SCL_SECOND_REPEAT) {
            train(learner, x, label);
        } else if (scl_replay_draw(learner->model, state, &slot)) {
            train(learner, slot.x, *slot.y);
        }
    }
    scl_replay_insert(learner->model, state, x, label);
    state->step++;
    learner->counters.steps++;
    if (learner->model->batch > 1 && ++state->gathered == learner->model->batch) {
        apply_batch(learner);
    }
    return SCL_OK;
}

scl_err scl_predict(scl_learner *learner, const int8_t *x, uint8_t *predicted,
                    const int16_t **logits)
{
    if (x == NULL || predicted == NULL) {
        return SCL_ERR_ARG;
    }
    const int16_t *z = learner->model->forward(learner->state, learner->arena, x, false);
    *predicted = arg_max(z, learner->model->classes);
    if (logits != NULL) {
        *logits = z;
    }
    learner->counters.predictions++;
    return SCL_OK;
}

uint32_t scl_state_hash(const scl_learner *learner)
{
    const scl_model *model = learner->model;
    const scl_state *state = learner->state;
    const uint8_t *bytes = (const uint8_t *)state;
    const uint32_t tail[3] = {state->seen, state->step, state->config.seed};
    uint32_t crc = model->hash_layers(state, 0);
    crc = scl_crc32(crc, bytes + model->replay_x_offset,
                    (size_t)model->replay_capacity * model->inputs);
    crc = scl_crc32(crc, bytes + model->replay_y_offset, model->replay_capacity);
    return scl_crc32(crc, tail, sizeof tail);
}
