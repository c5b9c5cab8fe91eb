/* board.h - the board that the fuzzers drive: a learner and its store on flash that may fail. Every
 * input begins with a board that was taught in one of a few ways, so that short inputs get far.
 */
#ifndef FUZZ_BOARD_H
#define FUZZ_BOARD_H

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "model.h"
#include "sparcl/sparcl.h"
#include "sparcl/store.h"

#define SECTOR_BYTES 1024u
#define FLASH_BYTES  (8u * SECTOR_BYTES)

static scl_model_state state;
static scl_model_arena arena;
static scl_learner learner;
static scl_store store;
static uint8_t flash_memory[FLASH_BYTES];
static uint32_t flash_works_for; /* operations until one fails, as all after it do; 0: none does */

/* What is left of the input. Behind its end it is all zeros. */
typedef struct input {
    const uint8_t *bytes;
    size_t left;
} input;

static inline uint8_t take(input *in)
{
    if (in->left == 0) {
        return 0;
    }
    in->left--;
    return *in->bytes++;
}

static inline uint32_t take_u16(input *in)
{
    const uint32_t low = take(in);
    return low | (uint32_t)take(in) << 8;
}

static inline bool flash_fails(void)
{
    return flash_works_for > 0 && (flash_works_for == 1 || --flash_works_for == 0);
}

static inline bool erase(uint32_t offset)
{
    if (flash_fails()) {
        return false;
    }
    memset(flash_memory + offset, 0xff, SECTOR_BYTES);
    return true;
}

static inline bool program(uint32_t offset, const uint8_t *data, uint32_t n)
{
    if (flash_fails()) {
        return false;
    }
    memcpy(flash_memory + offset, data, n);
    return true;
}

static inline void read_flash(uint32_t offset, uint8_t *data, uint32_t n)
{
    memcpy(data, flash_memory + offset, n);
}

static const scl_flash flash = {FLASH_BYTES, SECTOR_BYTES, 8, erase, program, read_flash};

/* A core is switched on: its learner, and the store if the flash holds two states. */
static inline void switch_on(void)
{
    flash_works_for = 0;
    if (scl_init(&learner, &scl_model_generated, &state, &arena) != SCL_OK ||
        scl_store_open(&store, &learner, &flash) != SCL_OK) {
        abort();
    }
}

/* What a board was taught before the input begins: by which settings, and how far. */
typedef struct lessons {
    scl_config config;
    uint16_t samples; /* of two tasks of TASK_EPOCHS epochs of TASK_SAMPLES */
} lessons;

enum { TASK_SAMPLES = 32, TASK_EPOCHS = 10, WHOLE_TASK = TASK_SAMPLES * TASK_EPOCHS };

static const lessons taught[] = {
    {{7, 1, -6, SCL_REPLAY_ER, 0, 1, 0, SCL_IMPORTANCE_OFF, 0, 0, 0, 0, 0, 0, 0}, 0},
    {{7, 1, -6, SCL_REPLAY_DERPP, 1, 1, 1, SCL_IMPORTANCE_OFF, 0, 3, 0, 0, 0, 0, 9},
     WHOLE_TASK + 9},
    {{7, 3, -6, SCL_REPLAY_ER, 0, 0, 0, SCL_IMPORTANCE_PAPER, 0, 0, 3000, 5000, 0, 0, 0}, 31},
    {{7, 1, -6, SCL_REPLAY_DER, 0, 0, 0, SCL_IMPORTANCE_RELEASED, 0, 0, 3000, 5000, 30000, 0, 0},
     100},
    {{7, 1, -6, SCL_REPLAY_ER, 0, 0, 0, SCL_IMPORTANCE_MAGNITUDE, 1, 0, 9000, 0, 0, 20000, 0},
     WHOLE_TASK + 31},
    {{7, 1, -6, SCL_REPLAY_REPEAT, 0, 0, 0, SCL_IMPORTANCE_PAPER, 1, 0, 3000, 5000, 30000, 20000,
      3},
     WHOLE_TASK + 223},
};

#define BOARDS (sizeof taught / sizeof taught[0])

static struct {
    scl_model_state state;
    scl_learner learner;
    scl_store store;
    uint8_t flash[FLASH_BYTES];
} boards[BOARDS];

static inline void sample(uint32_t number, int8_t *x)
{
    uint32_t noise = number * 2654435761u;
    for (uint32_t i = 0; i < SCL_MODEL_INPUTS; i++, noise = noise * 1664525u + 1013904223u) {
        x[i] = (int8_t)(noise >> 24);
    }
}

static inline void teach(const lessons *how)
{
    int8_t x[SCL_MODEL_INPUTS];
    (void)scl_reset(&learner, &how->config);
    for (uint32_t i = 0; i < how->samples; i++) {
        const uint32_t number = i % TASK_SAMPLES;
        if (i % WHOLE_TASK == 0) {
            (void)scl_begin_task(&learner, &(scl_task){NULL, TASK_SAMPLES, TASK_EPOCHS});
        }
        sample(number, x); /* what DDR has removed is refused */
        (void)scl_observe(&learner, x, (uint8_t)(number % SCL_MODEL_CLASSES), number, NULL);
        if (i % TASK_SAMPLES == TASK_SAMPLES - 1) {
            (void)scl_end_epoch(&learner);
        }
        if (i % WHOLE_TASK == WHOLE_TASK - 1) {
            (void)scl_end_task(&learner);
            (void)scl_store_commit(&store);
        }
    }
    (void)scl_store_commit(&store);
}

/* Called once. */
static inline void make_boards(void)
{
    for (uint32_t i = 0; i < BOARDS; i++) {
        memset(flash_memory, 0xff, sizeof flash_memory);
        switch_on();
        teach(&taught[i]);
        boards[i].state = state;
        boards[i].learner = learner;
        boards[i].store = store;
        memcpy(boards[i].flash, flash_memory, sizeof flash_memory);
    }
}

/* The board as it was taught; returns its number. */
static inline uint32_t take_board(input *in)
{
    const uint32_t i = take(in) % BOARDS;
    flash_works_for = 0;
    state = boards[i].state;
    learner = boards[i].learner;
    store = boards[i].store;
    memcpy(flash_memory, boards[i].flash, sizeof flash_memory);
    return i;
}

/* A finding beside the sanitizers': libFuzzer keeps the input. */
static inline void finding(const char *what)
{
    fprintf(stderr, "finding: %s\n", what);
    abort();
}

#endif
