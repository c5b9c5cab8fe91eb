#include "schedule.h"

#include "state.h"

#define LONGEST_WINDOW_SHIFT 5 /* 32 steps */

uint32_t scl_layer_slices(const scl_learner *learner, const scl_layer *layer)
{
    if (!scl_is_sparse(layer)) {
        return 0;
    }
    const uint32_t most = scl_most_blocks(learner, layer);
    uint32_t n = 0;
    while (n * scl_slice_blocks(learner->model, layer) < most) {
        n++;
    }
    return n;
}

/* W; 0 where nothing is measured. */
static uint32_t slices(const scl_learner *learner)
{
    uint32_t n = 0;
    if (scl_sweeps(&learner->state->config)) {
        for (uint32_t i = 0; i < learner->model->layer_count; i++) {
            n += scl_layer_slices(learner, &learner->model->layers[i]);
        }
    }
    return n;
}

static uint64_t length(const scl_state *state)
{
    return (uint64_t)state->samples * state->epochs;
}

/* Is the next event due at this position? Multiplied out, so that nothing is divided. */
static bool is_due(const scl_state *state, uint64_t position)
{
    return 10 * position >= state->event * length(state);
}

scl_err scl_schedule_check(const scl_learner *learner, const scl_task *task)
{
    const scl_config *config = &learner->state->config;
    const uint64_t steps = (uint64_t)task->samples * task->epochs;
    if (steps > UINT32_MAX) {
        return SCL_ERR_ARG;
    }
    if (scl_masks_learn(config) && (steps == 0 || steps < 10ull * slices(learner))) {
        return SCL_ERR_SCHEDULE;
    }
    if (config->replay == SCL_REPLAY_LIGHTCL && steps > 0 &&
        steps <= learner->model->replay_capacity) {
        return SCL_ERR_SCHEDULE; /* all would become anchors, and none be learnt */
    }
    if (config->anneal > 0 && task->epochs <= config->anneal) {
        return SCL_ERR_SCHEDULE;
    }
    if (config->ddr_fraction > 0 && (task->samples == 0 || task->epochs < 3)) {
        return SCL_ERR_SCHEDULE;
    }
    if (config->ddr_fraction > 0 && task->samples > learner->model->ddr) {
        return SCL_ERR_ROOM;
    }
    return SCL_OK;
}

scl_rate scl_schedule_rate(const scl_state *state)
{
    const scl_config *config = &state->config;
    const int begun = state->epochs_done + 1 + config->anneal - state->epochs; /* last epochs */
    const int halved = begun < 0 ? 0 : begun < config->anneal ? begun : config->anneal;
    return (scl_rate){config->lr_mantissa, (int8_t)(config->lr_exponent - halved)};
}

void scl_schedule_begin(scl_learner *learner, const scl_task *task)
{
    scl_state *state = learner->state;
    state->samples = task->samples;
    state->epochs = task->epochs;
    state->epochs_done = 0;
    state->position = 0;
    state->swept = 0;
    state->slices = slices(learner);
    state->window_shift = 0;
    while (state->window_shift < LONGEST_WINDOW_SHIFT &&
           (10ull * state->slices << (state->window_shift + 1)) <= length(state)) {
        state->window_shift++;
    }
    state->event = scl_masks_learn(&state->config) ? 0 : SCL_EVENTS;
    scl_schedule_event(learner);
}

bool scl_schedule_measures(const scl_learner *learner)
{
    const scl_state *state = learner->state;
    const uint32_t sweep = state->slices << state->window_shift;
    if (state->event >= SCL_EVENTS || state->swept >= sweep) {
        return false;
    }
    return state->swept > 0 || is_due(state, state->position + (uint64_t)sweep);
}

static bool due_now(const scl_state *state)
{
    return state->event < SCL_EVENTS && is_due(state, state->position);
}

static void happen(scl_learner *learner)
{
    learner->model->event(learner);
    learner->counters.events++;
    learner->state->event++;
    learner->state->swept = 0;
}

void scl_schedule_event(scl_learner *learner)
{
    const scl_state *state = learner->state;
    const bool swept = state->swept >= state->slices << state->window_shift;
    if (due_now(state) && (state->event == 0 || swept)) {
        happen(learner);
    }
}

void scl_schedule_catch_up(scl_learner *learner)
{
    while (due_now(learner->state)) {
        happen(learner);
    }
}
