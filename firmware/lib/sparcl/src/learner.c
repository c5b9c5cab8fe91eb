#include "sparcl/sparcl.h"

#include <string.h>

#include "pass.h"
#include "removal.h"
#include "replay.h"
#include "schedule.h"
#include "sparcl/lightcl.h"
#include "state.h"

#define WATCH_STEPS 64u /* what updates do is counted in one step of so many */

scl_err scl_config_check(const scl_model *model, const scl_config *c)
{
    const bool valid = (c->lr_mantissa == 1 || c->lr_mantissa == 3) && c->lr_exponent >= -15 &&
                       c->lr_exponent <= 0 && c->replay <= SCL_REPLAY_LIGHTCL &&
                       c->alpha_shift <= 15 && c->beta_shift <= 7 && c->single_head_loss <= 1 &&
                       c->importance <= SCL_IMPORTANCE_MAGNITUDE && c->ddr_within_task <= 1 &&
                       c->anneal <= c->lr_exponent + 15 &&
                       (c->anneal == 0 || c->replay != SCL_REPLAY_EWC);
    if (!valid) {
        return SCL_ERR_CONFIG;
    }
    const bool der = c->replay == SCL_REPLAY_DER || c->replay == SCL_REPLAY_DERPP;
    const bool missing =
        (der && model->replay_logits_offset == 0) ||
        (c->replay == SCL_REPLAY_EWC && model->end_task == NULL) ||
        (c->replay == SCL_REPLAY_LIGHTCL && model->lightcl == NULL) ||
        (c->importance != SCL_IMPORTANCE_OFF && !model->tdm) || c->tdm_inter > model->inter ||
        (c->dgm_share > 0 && model->learning_offset == 0) || (scl_sweeps(c) && model->slice == 0) ||
        (c->ddr_fraction > 0 && model->ddr == 0);
    return missing ? SCL_ERR_ROOM : SCL_OK;
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
    const scl_err err = config == NULL ? SCL_ERR_ARG : scl_config_check(learner->model, config);
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
    learner->state->event = SCL_EVENTS;
    model->load(learner->state);
    return SCL_OK;
}

/* ---- sets of classes: bits, lowest first; NULL: all ---- */

static bool has(const uint8_t *classes, uint32_t label)
{
    return classes == NULL || scl_bit(classes, label);
}

/* Is it a set of the network's classes, and not empty? */
static bool is_set(const scl_model *model, const uint8_t *classes)
{
    const uint32_t used = model->classes & 7u; /* bits of the last byte, 0: all */
    if (classes != NULL && used != 0 && classes[model->classes >> 3] >> used != 0) {
        return false;
    }
    for (uint32_t j = 0; j < model->classes; j++) {
        if (has(classes, j)) {
            return true;
        }
    }
    return false;
}

/* The largest logit but that of class `except`; -32768, below every logit, if there is none. */
static int32_t largest(const scl_model *model, const int16_t *logits, const uint8_t *among,
                       uint32_t except, uint8_t *which)
{
    int32_t best = INT16_MIN;
    for (uint32_t j = 0; j < model->classes; j++) {
        if (j != except && has(among, j) && logits[j] > best) {
            best = logits[j];
            *which = (uint8_t)j;
        }
    }
    return best;
}

#define NO_CLASS 256u

static uint8_t arg_max(const scl_model *model, const int16_t *logits, const uint8_t *among)
{
    uint8_t which = 0;
    (void)largest(model, logits, among, NO_CLASS, &which);
    return which;
}

/* Is the sample right by the margin, so that it need not be learnt? */
static bool is_easy(const scl_learner *learner, const int16_t *logits, uint8_t label)
{
    uint8_t which;
    const int32_t margin = learner->state->config.margin;
    return margin > 0 &&
           logits[label] - largest(learner->model, logits, NULL, label, &which) >= margin;
}

/* ---- tasks ---- */

scl_err scl_begin_task(scl_learner *learner, const scl_task *task)
{
    scl_state *state = learner->state;
    const scl_model *model = learner->model;
    if (state->task_open || state->tasks_begun == UINT16_MAX) {
        return SCL_ERR_TASK;
    }
    if (task == NULL) {
        return SCL_ERR_ARG;
    }
    if (!is_set(model, task->classes)) {
        return SCL_ERR_LABEL;
    }
    const scl_err err = scl_schedule_check(learner, task);
    if (err != SCL_OK) {
        return err;
    }
    uint8_t *classes = scl_member(learner, model->classes_offset);
    for (uint32_t j = 0; j < model->classes; j++) {
        scl_bit_set(classes, j, has(task->classes, j));
    }
    state->tasks_begun++;
    state->task_open = 1;
    scl_schedule_begin(learner, task);
    if (state->config.ddr_fraction > 0) {
        scl_removal_begin(learner);
    }
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
    if (learner->state->config.replay == SCL_REPLAY_EWC) {
        learner->model->end_task(learner->state);
    }
    learner->state->task_open = 0;
    return SCL_OK;
}

scl_err scl_end_epoch(scl_learner *learner)
{
    scl_state *state = learner->state;
    if (!state->task_open) {
        return SCL_ERR_TASK;
    }
    const uint64_t position = (state->epochs_done + 1ull) * state->samples;
    if (state->epochs_done == UINT16_MAX || position > UINT32_MAX) {
        return SCL_ERR_SCHEDULE;
    }
    state->epochs_done++;
    if (state->config.ddr_fraction > 0) {
        learner->model->remove(learner);
        scl_removal_forget(learner);
    }
    state->position = (uint32_t)position;
    scl_schedule_catch_up(learner);
    return SCL_OK;
}

/* ---- one step ---- */

/* Cross entropy of the new sample. */
static scl_lesson new_sample(const scl_learner *learner, uint8_t label)
{
    const scl_config *config = &learner->state->config;
    return (scl_lesson){
        .label = label,
        .rate = scl_schedule_rate(learner->state),
        .classes =
            config->single_head_loss ? scl_member(learner, learner->model->classes_offset) : NULL,
    };
}

static void replay_label(scl_learner *learner, uint32_t stream)
{
    const scl_replay_slot slot = scl_replay_draw(learner, stream);
    scl_rate rate = scl_schedule_rate(learner->state);
    rate.exponent = (int8_t)(rate.exponent - learner->state->config.beta_shift);
    scl_pass(learner, slot.x, &(scl_lesson){.label = *slot.y, .rate = rate});
}

static void replay_logits(scl_learner *learner)
{
    const scl_replay_slot slot = scl_replay_draw(learner, SCL_STREAM_FIRST_DRAW);
    scl_pass(learner, slot.x,
             &(scl_lesson){.label = *slot.y,
                           .alpha_shift = learner->state->config.alpha_shift,
                           .rate = scl_schedule_rate(learner->state),
                           .logits = slot.logits});
}

static void replay(scl_learner *learner, const int8_t *x, const scl_lesson *again)
{
    switch (learner->state->config.replay) {
    case SCL_REPLAY_REPEAT:
        scl_pass(learner, x, again);
        break;
    case SCL_REPLAY_DER:
        replay_logits(learner);
        break;
    case SCL_REPLAY_DERPP:
        replay_logits(learner);
        replay_label(learner, SCL_STREAM_SECOND_DRAW);
        break;
    case SCL_REPLAY_EWC:
        break;
    case SCL_REPLAY_LIGHTCL:
        learner->model->lightcl->replay(learner);
        break;
    default:
        replay_label(learner, SCL_STREAM_FIRST_DRAW);
        break;
    }
}

/* The pass of the new sample. Returns the class given before the update. */
static uint8_t learn(scl_learner *learner, const int8_t *x, const scl_lesson *lesson,
                     uint32_t number)
{
    const scl_model *model = learner->model;
    const scl_config *config = &learner->state->config;
    scl_counters *count = &learner->counters;
    const int16_t *logits = scl_pass_forward(learner, x);
    const uint8_t before = arg_max(model, logits, NULL);
    scl_watch watch = {0};
    scl_lesson once = *lesson;
    const bool left_out = scl_replay_see(learner, x, lesson, logits);
    if (config->ddr_fraction > 0) {
        const uint8_t *task = scl_member(learner, model->classes_offset);
        const uint8_t given = config->ddr_within_task ? arg_max(model, logits, task) : before;
        scl_removal_note(learner, number, given != lesson->label);
    }
    once.nothing = left_out || is_easy(learner, logits, lesson->label);
    once.watch = learner->state->step % WATCH_STEPS == 0 ? &watch : NULL;
    scl_pass_learn(learner, x, &once);
    count->skipped += once.nothing;
    count->updates_watched += watch.watched;
    count->updates_dead += watch.dead;
    count->updates_saturated += watch.saturated;
    return before;
}

scl_err scl_observe(scl_learner *learner, const int8_t *x, uint8_t label, uint32_t number,
                    uint8_t *predicted)
{
    scl_state *state = learner->state;
    const scl_model *model = learner->model;
    if (x == NULL) {
        return SCL_ERR_ARG;
    }
    if (label >= model->classes) {
        return SCL_ERR_LABEL;
    }
    if (!state->task_open) {
        return SCL_ERR_TASK;
    }
    if (!scl_bit(scl_member(learner, model->classes_offset), label)) {
        return SCL_ERR_LABEL;
    }
    if (state->config.ddr_fraction > 0 && !scl_wanted(learner, number)) {
        return SCL_ERR_SAMPLE;
    }
    x = scl_pass_enter(learner, x);
    learner->counters.macs_forward += model->latent_macs;
    const scl_lesson lesson = new_sample(learner, label);
    const uint8_t before = learn(learner, x, &lesson, number);
    if (predicted != NULL) {
        *predicted = before;
    }
    if (scl_replays(learner)) {
        replay(learner, x, &lesson);
    }
    if (scl_schedule_measures(learner)) {
        model->measure(learner, x, label);
    }
    scl_replay_insert(learner, x, label);
    learner->counters.steps++;
    state->step++;
    state->position++;
    if (model->batch > 1 && ++state->gathered == model->batch) {
        apply_batch(learner);
    }
    scl_schedule_event(learner);
    return SCL_OK;
}

scl_err scl_remember(scl_learner *learner, const int8_t *x, uint8_t label)
{
    scl_state *state = learner->state;
    if (x == NULL) {
        return SCL_ERR_ARG;
    }
    if (label >= learner->model->classes) {
        return SCL_ERR_LABEL;
    }
    if (state->task_open) {
        return SCL_ERR_TASK;
    }
    x = scl_pass_enter(learner, x);
    if (learner->model->replay_logits_offset != 0) {
        (void)scl_replay_see(learner, x, NULL,
                             learner->model->forward(state, learner->arena, x, false));
    }
    if (state->config.replay == SCL_REPLAY_EWC) {
        scl_pass_need(learner, x, label);
    }
    scl_replay_insert(learner, x, label);
    if (state->tasks_begun == 0) {
        state->remembered = 1;
    }
    return SCL_OK;
}

scl_err scl_predict(scl_learner *learner, const int8_t *x, const uint8_t *among, uint8_t *predicted,
                    const int16_t **logits)
{
    const scl_model *model = learner->model;
    if (x == NULL || predicted == NULL) {
        return SCL_ERR_ARG;
    }
    if (!is_set(model, among)) {
        return SCL_ERR_LABEL;
    }
    const int16_t *z =
        model->forward(learner->state, learner->arena, scl_pass_enter(learner, x), false);
    *predicted = arg_max(model, z, among);
    if (logits != NULL) {
        *logits = z;
    }
    learner->counters.predictions++;
    return SCL_OK;
}
