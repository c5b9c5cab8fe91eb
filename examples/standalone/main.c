/* main.c - learning on a device without any host: a sensor, a button, two calls.
 *
 * The device always says which gesture it sees. Whoever holds it may press the
 * button of the right answer; then it learns from what it sees just now. The
 * network is the one of examples/digits: it knows zeros and ones, and is taught
 * two gestures it has never seen.
 *
 *     PLATFORMIO_SRC_DIR=examples/standalone pio run -e native -t exec
 *     PLATFORMIO_SRC_DIR=examples/standalone pio run -e nucleo_f446re -t upload
 *
 * sensor_read and button_pressed stand for your hardware: replace them.
 */
#include <string.h>

#include "model.h"
#include "port.h"
#include "sparcl/sparcl.h"

#define NO_BUTTON 0xffu
#define GESTURES  2u /* classes 2 and 3 of the network */
#define LESSONS   60u
#define EXAMS     40u

static scl_model_state state;
static scl_model_arena arena;
static scl_learner learner;

static uint32_t now;      /* readings since power-on */
static uint32_t right[2]; /* right answers in the exam before and the one after the lessons */

static uint8_t gesture(void)
{
    return (uint8_t)(2u + now % GESTURES);
}

/* One reading of the sensor, int8 (SCL_MODEL_INPUTS): a shaken or a swung device, and some noise.
 */
static void sensor_read(int8_t *x)
{
    const uint32_t period = gesture() == 2u ? 4u : 16u;
    uint32_t noise = now * 2654435761u;
    for (uint32_t i = 0; i < SCL_MODEL_INPUTS; i++) {
        noise = noise * 1664525u + 1013904223u;
        const int32_t wave = (i + now / GESTURES) % period < period / 2u ? 60 : -60;
        x[i] = (int8_t)(wave + (int32_t)(noise >> 27) - 16);
    }
}

/* The class of the button pressed now: during the lessons somebody answers. */
static uint8_t button_pressed(void)
{
    return now >= EXAMS && now < EXAMS + LESSONS ? gesture() : NO_BUTTON;
}

static void say(const char *text)
{
    port_write((const uint8_t *)text, strlen(text));
}

static void say_number(uint32_t value)
{
    if (value >= 10u) {
        say_number(value / 10u);
    }
    port_write((const uint8_t[]){(uint8_t)('0' + value % 10u)}, 1);
}

void app_start(void)
{
    if (scl_init(&learner, &scl_model_generated, &state, &arena) != SCL_OK ||
        scl_begin_task(&learner, &(scl_task){0}) != SCL_OK) {
        port_exit(1);
    }
}

void app_step(void)
{
    int8_t x[SCL_MODEL_INPUTS];
    uint8_t seen = 0;
    sensor_read(x);
    const uint8_t answer = button_pressed();
    const scl_err err = answer == NO_BUTTON ? scl_predict(&learner, x, NULL, &seen, NULL)
                                            : scl_observe(&learner, x, answer, 0, NULL);
    if (err != SCL_OK) {
        say(scl_err_text(err));
        port_exit(1);
    }
    if (answer == NO_BUTTON && seen == gesture()) {
        right[now < EXAMS ? 0 : 1]++;
    }
    now++;
    if (now == 2u * EXAMS + LESSONS) {
        say("gestures recognised of ");
        say_number(EXAMS);
        say(": before the lessons ");
        say_number(right[0]);
        say(", after ");
        say_number(right[1]);
        say("\n");
        port_exit(0);
    }
}
