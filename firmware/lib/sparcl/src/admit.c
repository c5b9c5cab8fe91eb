/* Whether a state block that came from elsewhere may be learnt with: nothing in it makes a call of
 * sparcl.h read or write where it must not, wait for ever, or overflow. */
#include "schedule.h"
#include "sparcl/ops.h"
#include "state.h"

#define LARGEST_EXPONENT 1024 /* far above any network's */
#define LONGEST_WINDOW   5    /* scl_state.window_shift */

bool scl_biases_fit(const int32_t *bias, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++) {
        if (bias[i] > SCL_BIAS_LIMIT || bias[i] < -SCL_BIAS_LIMIT) {
            return false;
        }
    }
    return true;
}

bool scl_masters_fit(const int16_t *master, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++) {
        if (master[i] < SCL_MASTER_MIN) {
            return false;
        }
    }
    return true;
}

bool scl_scale_fits(const scl_scale *scale, int32_t made)
{
    return scale->exponent >= made && scale->exponent <= LARGEST_EXPONENT &&
           scale->window < SCL_WINDOW;
}

static uint32_t column(const scl_layer *layer, const void *index, uint32_t b)
{
    return layer->index_bytes == 1 ? ((const uint8_t *)index)[b] : ((const uint16_t *)index)[b];
}

/* A mask that moves: groups in order, columns ascending in each. */
static bool mask_fits(const scl_learner *learner, const scl_layer *layer)
{
    const uint16_t *start = scl_member(learner, layer->start);
    const void *index = scl_member(learner, layer->index);
    if (start == NULL) {
        return true;
    }
    if (start[0] != 0) {
        return false;
    }
    for (uint32_t group = 0; group < layer->groups; group++) {
        if (start[group + 1] < start[group] || start[group + 1] > layer->capacity) {
            return false;
        }
        for (uint32_t b = start[group]; b < start[group + 1]; b++) {
            const uint32_t here = column(layer, index, b);
            if (here >= layer->columns ||
                (b > start[group] && here <= column(layer, index, b - 1))) {
                return false;
            }
        }
    }
    return true;
}

static bool schedule_fits(const scl_learner *learner)
{
    const scl_state *state = learner->state;
    const scl_task task = {.samples = state->samples, .epochs = state->epochs};
    if (state->tasks_begun == 0 && (state->task_open || state->samples > 0)) {
        return false;
    }
    return (state->tasks_begun == 0 || scl_schedule_check(learner, &task) == SCL_OK) &&
           state->event <= SCL_EVENTS && state->window_shift <= LONGEST_WINDOW &&
           (state->event == SCL_EVENTS || scl_masks_learn(&state->config)) &&
           (state->slices == 0 || scl_sweeps(&state->config)) && state->task_open <= 1 &&
           state->remembered <= 1 && state->gathered < learner->model->batch;
}

scl_err scl_admit(const scl_learner *learner)
{
    const scl_model *model = learner->model;
    const uint8_t *labels = scl_member(learner, model->replay_y_offset);
    if (!scl_is_state_of(model, &learner->state->magic) ||
        scl_config_check(model, &learner->state->config) != SCL_OK || !schedule_fits(learner) ||
        !model->fits(learner->state)) {
        return SCL_ERR_STATE;
    }
    for (uint32_t i = 0; i < model->replay_capacity; i++) {
        if (labels[i] >= model->classes) {
            return SCL_ERR_STATE;
        }
    }
    for (uint32_t i = 0; i < model->layer_count; i++) {
        if (!mask_fits(learner, &model->layers[i])) {
            return SCL_ERR_STATE;
        }
    }
    return SCL_OK;
}
