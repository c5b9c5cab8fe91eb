/* sparcl.h - a network that keeps learning on the device, in integers.
 *
 * This is the one header an application needs. A network is generated as C
 * (model.h, model.c) by the host tools; it offers one constant `scl_model`.
 * The application owns all memory: one *state* block (everything that is
 * learnt) and one *arena* (scratch, dead between calls). Nothing here
 * allocates, prints, uses floating point or keeps a global.
 *
 *     static scl_model_state state;              // from model.h
 *     static scl_model_arena arena;
 *     scl_learner learner;
 *     scl_init(&learner, &scl_model_generated, &state, &arena);
 *     scl_begin_task(&learner);
 *     scl_observe(&learner, x, label, NULL);     // learn one sample
 *     scl_predict(&learner, x, &label);          // classify one sample
 *
 * The arithmetic is the contract of docs/numerics.md; the same calls with the
 * same samples give the same state, bit for bit, on every core.
 */
#ifndef SPARCL_SPARCL_H
#define SPARCL_SPARCL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "sparcl/error.h"

/* Raised whenever generated code and runtime must be rebuilt together. */
#define SCL_RUNTIME_VERSION 2
/* Raised whenever the meaning of the state block changes. */
#define SCL_STATE_VERSION 2

/* What the second training pass of a step does (docs/numerics.md, "One step"). */
typedef enum scl_second_pass {
    SCL_SECOND_REPLAY = 0, /* a sample drawn from the replay buffer, from the second task on */
    SCL_SECOND_REPEAT = 1, /* the new sample again, from the second task on: the control
                            * without replay, with as many updates a step */
} scl_second_pass;

/* How to learn. Constant between two resets. */
typedef struct scl_config {
    uint32_t seed;       /* drives replay insertion and draws, nothing else */
    uint8_t lr_mantissa; /* 1 or 3; learning rate = lr_mantissa * 2^lr_exponent a sample */
    int8_t lr_exponent;  /* -15 .. 0 */
    uint8_t second_pass; /* a scl_second_pass */
} scl_config;

/* Work done since the last reset. Not part of the learnt state. Counts stored
 * weights: a masked weight costs nothing and is not counted. */
typedef struct scl_counters {
    uint32_t steps;            /* samples observed */
    uint32_t predictions;      /* samples classified by scl_predict */
    uint32_t training_passes;  /* forward passes that train, new and replayed samples */
    uint32_t backward_passes;  /* of those, passes whose loss gradient was not all zero */
    uint64_t macs_forward;     /* multiply-accumulates, training forwards */
    uint64_t macs_input_grad;  /* multiply-accumulates, errors of layer inputs */
    uint64_t macs_weight_grad; /* multiply-accumulates, weight gradients */
} scl_counters;

/* Head of every state block; the generated block begins with it. Little-endian
 * on every core this runtime supports. */
typedef struct scl_state {
    uint32_t magic;       /* SCL_STATE_MAGIC */
    uint32_t version;     /* SCL_STATE_VERSION */
    uint32_t model_hash;  /* scl_model.hash of the network that learnt it */
    uint32_t step;        /* samples observed since reset */
    uint32_t seen;        /* samples offered to the replay buffer since reset */
    uint16_t tasks_begun; /* 0 before the first scl_begin_task */
    uint8_t task_open;    /* 1 between begin and end of a task, else 0 */
    uint8_t gathered;     /* steps of the open mini-batch, below scl_model.batch */
    scl_config config;
} scl_state;

#define SCL_STATE_MAGIC 0x534c4353u /* "SCLS" */

/* One generated network. Constant; lives in flash. */
typedef struct scl_model {
    uint32_t hash;            /* identifies network, replay capacity and mini-batch */
    uint32_t state_bytes;     /* size of the state block, scl_state included */
    uint32_t arena_bytes;     /* size of the scratch arena */
    uint16_t inputs;          /* int8 values a sample */
    uint16_t classes;         /* labels are 0 .. classes - 1 */
    int8_t input_exponent;    /* real value of an input = mantissa * 2^input_exponent */
    uint16_t replay_capacity; /* B, samples the replay buffer holds; 0: none */
    uint32_t replay_x_offset; /* bytes into the state: int8 (B, inputs) */
    uint32_t replay_y_offset; /* bytes into the state: uint8 (B) */
    uint8_t batch;            /* steps a mini-batch gathers before it is applied; 1: at once */
    uint32_t macs_forward;    /* a pass, over stored weights */
    uint32_t macs_input_grad;
    uint32_t macs_weight_grad;
    scl_config defaults; /* used by scl_init */

    /* Load initial weights, biases and exponents behind the scl_state head. */
    void (*load)(void *state);
    /* Logits of one sample, int16 (classes), unit 1/32, in the arena. `train`
     * keeps what backward needs and counts saturated outputs. */
    const int16_t *(*forward)(void *state, void *arena, const int8_t *x, bool train);
    /* Loss, errors and updates for the sample last forwarded with train = true.
     * Returns false when the loss gradient was all zero. */
    bool (*backward)(void *state, void *arena, const int8_t *x, uint8_t label);
    /* Learn what a mini-batch gathered; NULL when batch is 1. */
    void (*apply)(void *state);
    /* CRC-32 of the layers in canonical order (docs/numerics.md, "State hash"). */
    uint32_t (*hash_layers)(const void *state, uint32_t crc);
} scl_model;

/* A network bound to its memory. */
typedef struct scl_learner {
    const scl_model *model;
    scl_state *state;
    void *arena;
    scl_counters counters;
} scl_learner;

/* Bind a model to its memory and load its initial state with its default
 * configuration. `state` and `arena` hold model->state_bytes and
 * model->arena_bytes bytes, aligned to 4, and outlive the learner. */
scl_err scl_init(scl_learner *learner, const scl_model *model, void *state, void *arena);

/* Forget everything learnt: load the initial state again, with `config`.
 * SCL_ERR_CONFIG for a setting out of its range; the state is then untouched. */
scl_err scl_reset(scl_learner *learner, const scl_config *config);

/* A task is a run of samples between begin and end. Replay starts with the
 * second task. SCL_ERR_TASK when a task is open already (begin) or none (end). */
scl_err scl_begin_task(scl_learner *learner);
scl_err scl_end_task(scl_learner *learner);

/* Learn one sample: x int8 (inputs), label 0 .. classes - 1. `predicted`, if
 * not NULL, receives the class the network gave *before* learning.
 * SCL_ERR_TASK outside a task, SCL_ERR_LABEL for a label out of range; the
 * state is untouched by a refused call. */
scl_err scl_observe(scl_learner *learner, const int8_t *x, uint8_t label, uint8_t *predicted);

/* Classify one sample among all classes. Ties go to the lowest class. Changes
 * no learning state. `logits`, if not NULL, receives a pointer to int16
 * (classes), unit 1/32, in the arena, valid until the next call. */
scl_err scl_predict(scl_learner *learner, const int8_t *x, uint8_t *predicted,
                    const int16_t **logits);

/* CRC-32 over all learnt state in canonical order, independent of layout. */
uint32_t scl_state_hash(const scl_learner *learner);

#endif
