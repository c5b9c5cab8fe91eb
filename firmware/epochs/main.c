/* main.c - epochs of learning without a host, for `sparcl bench`: two tasks of drawn samples.
 * Every call that learns becomes a line, in hexadecimal: its instructions, and what happened in
 * it. A line with the state's hash ends the first task, one with all multiply-accumulates of the
 * second the program. The tasks are generated into model.h.
 */
#include "../bench/tell.h"
#include "model.h"
#include "sparcl/numerics.h"
#include "sparcl/sparcl.h"

static scl_model_state state;
static scl_model_arena arena;
static scl_learner learner;
static scl_counters before;
static uint32_t started;

static void start(void)
{
    started = port_instructions();
}

static uint64_t macs(const scl_counters *c)
{
    return c->macs_forward + c->macs_input_grad + c->macs_weight_grad + c->macs_importance;
}

/* Bits: 0 a sample was learnt, 1 masks were looked at, 2 importance was measured, from 3 on samples
 * were removed. */
static void tell(void)
{
    const uint32_t instructions = port_instructions() - started;
    const scl_counters *now = &learner.counters;
    const uint32_t happened = (uint32_t)(now->steps != before.steps) |
                              (uint32_t)(now->events != before.events) << 1 |
                              (uint32_t)(now->macs_importance != before.macs_importance) << 2 |
                              (now->removed - before.removed) << 3;
    before = *now;
    put_hex(instructions, ' ');
    put_hex(happened, '\n');
}

static bool turned(uint32_t of, uint32_t input, uint32_t share)
{
    return scl_hash32(of, 0, 0, 0, input) < share;
}

/* EPOCHS_X with the signs of its class and some more turned. */
static void draw(int8_t *x, const epochs_task *task, uint32_t number, uint8_t label)
{
    const uint32_t own = task->seed + number;
    for (uint32_t i = 0; i < SCL_MODEL_INPUTS; i++) {
        const bool turn = turned(label, i, EPOCHS_BY_CLASS) != turned(own, i, EPOCHS_BY_CHANCE);
        x[i] = (int8_t)(turn ? -epochs_x[i] : epochs_x[i]);
    }
}

static void learn(const epochs_task *task, uint32_t number)
{
    static int8_t x[SCL_MODEL_INPUTS];
    const uint8_t label = task->labels[number & 1u];
    draw(x, task, number, label);
    start();
    if (scl_wanted(&learner, number)) {
        (void)scl_observe(&learner, x, label, number, NULL);
    }
    tell();
}

static void run(const epochs_task *task)
{
    const uint8_t classes[2] = {(uint8_t)(1u << task->labels[0] | 1u << task->labels[1]), 0};
    const scl_task announced = {
        .classes = classes, .samples = task->samples, .epochs = task->epochs};
    start();
    (void)scl_begin_task(&learner, &announced);
    tell();
    for (uint32_t epoch = 0; epoch < task->epochs; epoch++) {
        for (uint32_t number = 0; number < task->samples; number++) {
            learn(task, number);
        }
        start();
        (void)scl_end_epoch(&learner);
        tell();
    }
    (void)scl_end_task(&learner);
}

void app_start(void)
{
    if (scl_init(&learner, &scl_model_generated, &state, &arena) != SCL_OK) {
        port_exit(1); /* generated code and memory do not belong together */
    }
    run(&epochs_tasks[0]);
    put_hex(0, ' ');
    put_hex(scl_state_hash(&learner), '\n');
    const uint64_t first = macs(&learner.counters);
    run(&epochs_tasks[1]);
    const uint64_t second = macs(&learner.counters) - first;
    put_hex((uint32_t)(second >> 32), ' ');
    put_hex((uint32_t)second, '\n');
    port_exit(0);
}

void app_step(void) {}
