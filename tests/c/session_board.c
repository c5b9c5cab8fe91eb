/* A board for the link's tests: the real session on stdin and stdout, before a
 * learner that learns nothing but writes every call into a checksum. Equal
 * checksums mean that the same calls were made, once each and in order.
 *
 * With SPEED the line can run at that speed, and says on stdout when it is told to: @SPEED and a
 * zero.
 *
 * usage: session_board INPUTS WINDOW [SPEED] */
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "sparcl/crc32.h"
#include "sparcl/session.h"

#define CLASSES 10u

static uint32_t calls, speed;
static scl_state state = {
    .magic = SCL_STATE_MAGIC, .version = SCL_STATE_VERSION, .model_hash = 0x12345678u};

static void note(char call, const void *data, size_t n)
{
    calls = scl_crc32(scl_crc32(calls, &call, 1), data, n);
}

static uint8_t classify(const scl_learner *learner, const int8_t *x)
{
    return (uint8_t)((uint8_t)(x[0] ^ x[learner->model->inputs - 1]) % CLASSES);
}

scl_err scl_reset(scl_learner *learner, const scl_config *config)
{
    if (config->lr_mantissa != 1 && config->lr_mantissa != 3)
        return SCL_ERR_CONFIG;
    state.config = *config;
    state.step = state.seen = 0;
    state.tasks_begun = state.task_open = 0;
    learner->counters = (scl_counters){0};
    calls = 0;
    note('R', config, sizeof *config);
    return SCL_OK;
}

scl_err scl_begin_task(scl_learner *learner, const scl_task *task)
{
    (void)learner;
    if (state.task_open)
        return SCL_ERR_TASK;
    state.task_open = 1;
    state.tasks_begun++;
    state.samples = task->samples;
    note('B', &task->samples, sizeof task->samples);
    note('e', &task->epochs, sizeof task->epochs);
    note('c', task->classes, SCL_CLASS_BYTES(CLASSES));
    return SCL_OK;
}

scl_err scl_end_task(scl_learner *learner)
{
    (void)learner;
    if (!state.task_open)
        return SCL_ERR_TASK;
    state.task_open = 0;
    note('E', NULL, 0);
    return SCL_OK;
}

scl_err scl_end_epoch(scl_learner *learner)
{
    (void)learner;
    if (!state.task_open)
        return SCL_ERR_TASK;
    note('N', NULL, 0);
    return SCL_OK;
}

scl_err scl_observe(scl_learner *learner, const int8_t *x, uint8_t label, uint32_t number,
                    uint8_t *predicted)
{
    if (!state.task_open)
        return SCL_ERR_TASK;
    if (label >= CLASSES)
        return SCL_ERR_LABEL;
    note('O', &label, 1);
    note('n', &number, sizeof number);
    note('x', x, learner->model->inputs);
    learner->counters.steps++;
    state.step++;
    state.seen++;
    *predicted = classify(learner, x);
    return SCL_OK;
}

scl_err scl_remember(scl_learner *learner, const int8_t *x, uint8_t label)
{
    if (state.task_open)
        return SCL_ERR_TASK;
    note('M', &label, 1);
    note('x', x, learner->model->inputs);
    state.seen++;
    return SCL_OK;
}

scl_err scl_predict(scl_learner *learner, const int8_t *x, const uint8_t *among, uint8_t *predicted,
                    const int16_t **logits)
{
    (void)logits;
    learner->counters.predictions++;
    *predicted = among == NULL ? classify(learner, x) : among[0];
    return SCL_OK;
}

/* Every third sample was removed. */
bool scl_wanted(const scl_learner *learner, uint32_t number)
{
    return number < learner->state->samples && number % 3u != 0;
}

scl_err scl_layer_query(const scl_learner *learner, uint32_t index, scl_layer_info *info)
{
    (void)learner;
    *info = (scl_layer_info){index + 1u, index + 2u, index + 3u, 0x12345678u};
    return SCL_OK;
}

uint32_t scl_buffer_count(const scl_learner *learner, uint8_t label)
{
    (void)learner;
    return 1000u + label;
}

scl_err scl_admit(const scl_learner *learner)
{
    (void)learner;
    note('A', &state, sizeof state);
    return SCL_OK;
}

uint32_t scl_state_hash(const scl_learner *learner)
{
    (void)learner;
    return calls;
}

static void send(const uint8_t *data, size_t n)
{
    while (n > 0) {
        ssize_t done = write(STDOUT_FILENO, data, n);
        if (done <= 0)
            exit(1);
        data += done;
        n -= (size_t)done;
    }
}

/* Seven instructions between any two looks, the first two across the wrap at 2^32. */
static uint32_t count(void)
{
    static uint32_t now = 0u - 10u;
    return now += 7;
}

static uint32_t stack_used(void)
{
    return 1234;
}

static bool can_run_at(uint32_t baud)
{
    return baud == 0 || baud == speed;
}

static void run_at(uint32_t baud)
{
    char text[12];
    send((const uint8_t *)text, (size_t)snprintf(text, sizeof text, "@%u", (unsigned)baud) + 1);
}

int main(int argc, char **argv)
{
    if (argc != 3 && argc != 4)
        return 2;
    uint16_t inputs = (uint16_t)atoi(argv[1]);
    scl_model model = {.hash = 0x12345678u,
                       .state_bytes = sizeof state,
                       .inputs = inputs,
                       .classes = CLASSES,
                       .layer_count = 3,
                       .replay_capacity = 100};
    scl_learner learner = {.model = &model, .state = &state};
    scl_session_io io = {.write = send,
                         .instructions = count,
                         .stack_used = stack_used,
                         .board = "test board",
                         .window = (uint8_t)atoi(argv[2])};
    if (argc == 4) {
        speed = (uint32_t)atoi(argv[3]);
        io.can_run_at = can_run_at;
        io.run_at = run_at;
    }
    /* On the heap and no byte too long, so that the sanitizer sees any write past it. */
    size_t frame_bytes = SCL_FRAME_BYTES(inputs, CLASSES);
    uint8_t *frame = malloc(frame_bytes);
    if (frame == NULL)
        return 1;
    scl_session session;
    scl_session_init(&session, &learner, NULL, &io, frame, frame_bytes);
    uint8_t bytes[4096];
    ssize_t n;
    while ((n = read(STDIN_FILENO, bytes, sizeof bytes)) > 0)
        scl_session_receive(&session, bytes, (size_t)n);
    free(frame);
    return 0;
}
