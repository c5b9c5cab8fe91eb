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
 *     scl_begin_task(&learner, &(scl_task){0});    // any class, any length
 *     scl_observe(&learner, x, label, 0, NULL);    // learn one sample
 *     scl_predict(&learner, x, NULL, &label, NULL); // classify one sample
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
#define SCL_RUNTIME_VERSION 5
/* Raised whenever the meaning of the state block changes. */
#define SCL_STATE_VERSION 3

/* What a step learns beside its new sample, once there is something to replay
 * (docs/numerics.md, "One step"). */
typedef enum scl_replay_kind {
    SCL_REPLAY_ER = 0,      /* a drawn sample, by cross entropy */
    SCL_REPLAY_REPEAT = 1,  /* the new sample again: the control without replay */
    SCL_REPLAY_DER = 2,     /* a drawn sample, towards the logits it was stored with */
    SCL_REPLAY_DERPP = 3,   /* one draw as DER, another as ER */
    SCL_REPLAY_EWC = 4,     /* nothing; weights that earlier tasks need are held (ewc.h) */
    SCL_REPLAY_LIGHTCL = 5, /* one of the task's first samples, towards its maps and logits before
                             * the task (lightcl.h) */
} scl_replay_kind;

/* How TDM ranks blocks (docs/numerics.md, "Masks that learn"). */
typedef enum scl_importance {
    SCL_IMPORTANCE_OFF = 0, /* the mask is static */
    SCL_IMPORTANCE_PAPER = 1,
    SCL_IMPORTANCE_RELEASED = 2,
    SCL_IMPORTANCE_MAGNITUDE = 3, /* |w| alone: the control */
} scl_importance;

/* How to learn. Constant between two resets. Fractions are in units of 2^-16. */
typedef struct scl_config {
    uint32_t seed;            /* drives replay insertion and draws, growth and ties */
    uint8_t lr_mantissa;      /* 1 or 3; learning rate = lr_mantissa * 2^lr_exponent a sample */
    int8_t lr_exponent;       /* -15 .. 0 */
    uint8_t replay;           /* a scl_replay_kind; DER, DER++: the model needs room for logits */
    uint8_t alpha_shift;      /* 0 .. 15: DER's logit term, and LightCL's distance, weigh
                               * 2^-alpha_shift; EWC's penalty the learning rate times
                               * 2^(10 - alpha_shift) */
    uint8_t beta_shift;       /* 0 .. 7: a drawn sample's cross entropy weighs 2^-beta_shift */
    uint8_t single_head_loss; /* 1: a new sample's cross entropy is over its task's classes */
    uint8_t importance;       /* a scl_importance; not OFF: TDM, the model needs room for it */
    uint8_t ddr_within_task;  /* 1: DDR takes the arg-max over the task's classes */
    uint16_t margin;          /* > 0: a sample right by so many 1/32 in its logits is not learnt */
    uint16_t tdm_intra;       /* share of a layer's blocks that an event moves */
    uint16_t tdm_inter;       /* share of a layer's blocks a new task gets on trial */
    uint16_t dgm_share;       /* share of the stored blocks that learn; 0: all, DGM is off */
    uint16_t ddr_fraction;    /* share of a task's samples that are removed; 0: DDR is off */
    uint8_t anneal;           /* 0 .. lr_exponent + 15: in each of a task's last `anneal` epochs the
                               * learning rate is halved once more; 0 with EWC */
} scl_config;

/* What a task announces when it opens. All zero: any class, any length. */
typedef struct scl_task {
    const uint8_t *classes; /* (classes) bits, lowest first: the labels that will come; NULL: all */
    uint32_t samples;       /* different samples it has; 0: not known, then nothing is scheduled */
    uint16_t epochs;        /* times each will be offered; 0: not known */
} scl_task;

/* Work done since the last reset. Not part of the learnt state. Counts stored
 * weights: a masked weight costs nothing and is not counted. */
typedef struct scl_counters {
    uint32_t steps;            /* samples observed */
    uint32_t predictions;      /* samples classified by scl_predict */
    uint32_t training_passes;  /* forward passes that train, new and replayed samples */
    uint32_t backward_passes;  /* of those, passes whose loss gradient was not all zero */
    uint32_t skipped;          /* new samples not learnt: right by the margin, anchors, or left out
                                * by IDS */
    uint32_t removed;          /* samples that DDR removed from their task */
    uint32_t events;           /* points of the schedule at which masks were looked at */
    uint64_t macs_forward;     /* multiply-accumulates, training forwards */
    uint64_t macs_input_grad;  /* multiply-accumulates, errors of layer inputs */
    uint64_t macs_weight_grad; /* multiply-accumulates, weight gradients of blocks that learn */
    uint64_t macs_importance;  /* multiply-accumulates, passes of importance and refresh */
    uint64_t updates_watched;  /* weight gradients looked at that were not zero (every 64th step) */
    uint64_t updates_dead;     /* of those, too small to move their master */
    uint64_t updates_saturated; /* of those, cut off at the end of their master's range */
} scl_counters;

/* Head of every state block; the generated block begins with it. Little-endian
 * on every core this runtime supports. */
typedef struct scl_state {
    uint32_t magic;       /* SCL_STATE_MAGIC */
    uint32_t version;     /* SCL_STATE_VERSION */
    uint32_t model_hash;  /* scl_model.hash of the network that learnt it */
    uint32_t step;        /* samples observed since reset */
    uint32_t seen;        /* samples offered to the replay buffer since reset */
    uint32_t position;    /* of the open (or last) task: samples of its epochs gone by */
    uint32_t samples;     /* what the open (or last) task announced */
    uint32_t slices;      /* W: windows of an importance sweep; 0: nothing is measured */
    uint32_t swept;       /* steps of the open sweep that are over, 0 .. slices << window_shift */
    uint16_t epochs;      /* what the open (or last) task announced */
    uint16_t epochs_done; /* calls of scl_end_epoch in it */
    uint16_t removed;     /* samples DDR has removed from it */
    uint16_t tasks_begun; /* 0 before the first scl_begin_task */
    uint8_t task_open;    /* 1 between begin and end of a task, else 0 */
    uint8_t gathered;     /* steps of the open mini-batch, below scl_model.batch */
    uint8_t remembered;   /* 1: samples were remembered before the first task */
    uint8_t event;        /* next event of the task, 0 .. SCL_EVENTS: all have been */
    uint8_t window_shift; /* k: a slice is measured for 2^k steps */
    uint8_t anchored;     /* LightCL: anchors of the open task, 0 .. scl_model.replay_capacity */
    uint8_t reserved[2];
    scl_config config;
} scl_state;

#define SCL_STATE_MAGIC 0x534c4353u /* "SCLS" */
#define SCL_EVENTS      10u

/* The rate of one pass: mantissa * 2^exponent. */
typedef struct scl_rate {
    uint8_t mantissa; /* 1 or 3 */
    int8_t exponent;  /* -22 .. 0 */
} scl_rate;

/* What to measure in an importance pass: sums[0 ..] += the gradients of `count` blocks. */
typedef struct scl_measure {
    uint32_t layer; /* index into scl_model.layers; errors are computed down to it */
    uint32_t first; /* block, in storage order */
    uint32_t count;
    int16_t *sums; /* (count * weights a block), exponent e_w - 4, saturated to +-32767 */
} scl_measure;

/* What became of the updates of one pass. */
typedef struct scl_watch {
    uint32_t watched, dead, saturated; /* as in scl_counters */
} scl_watch;

/* What one pass learns from the sample last forwarded. */
typedef struct scl_lesson {
    uint8_t label;
    uint8_t alpha_shift;        /* of the logit term */
    bool nothing;               /* the loss gradient counts as all zero */
    scl_rate rate;              /* of this pass */
    bool ascends;               /* sharpness: weights in use climb, nothing learns */
    uint16_t slot;              /* LightCL: the anchor that `logits` are from */
    const uint8_t *classes;     /* (classes) bits: those in the cross entropy; NULL: all */
    const int16_t *logits;      /* (classes) DER's logit term towards these; NULL: cross entropy */
    const scl_measure *measure; /* measure instead of learning; NULL: learn */
    scl_watch *watch;           /* count what the updates do; NULL: do not look */
} scl_lesson;

/* A weighted layer, in the order of the network. Offsets are bytes into the state block, 0
 * where there is no such thing. A sparse layer is one that is trainable and had masked
 * weights when the network was made; only it has anything but a size. */
typedef struct scl_layer {
    uint32_t weights;   /* rows * fan_in: stored weights if none were masked */
    uint32_t stored;    /* weights stored in the network as made */
    uint32_t positions; /* times a forward pass uses each weight; 0 below where passes start */
    uint32_t master;    /* int16 (capacity * block) masters */
    uint32_t start;     /* uint16 (groups + 1) where masks move, else in flash */
    uint32_t index;     /* uint8 or uint16 (capacity), likewise */
    uint32_t terms;     /* uint8 (capacity) importance terms */
    uint32_t selected;  /* (capacity) bits: blocks that learn */
    uint16_t made;      /* K: blocks stored in the network as made; sparse layers */
    uint16_t capacity;  /* blocks there is room for; sparse layers */
    uint16_t groups;    /* rows of blocks */
    uint16_t columns;   /* blocks in such a row when dense */
    uint8_t block;      /* weights a block, 1 or 4; 0: not a sparse layer */
    uint8_t index_bytes;
    uint16_t number;   /* among the trainable layers; SCL_FROZEN */
    bool passes_error; /* the error of its input is computed */
} scl_layer;

#define SCL_FROZEN 0xffffu

/* What EWC keeps of a layer whose mask moves; offsets likewise, (capacity * block) each. */
typedef struct scl_holds {
    uint32_t anchor; /* int16 */
    uint32_t held;   /* uint16 */
    uint32_t fresh;  /* uint16 */
} scl_holds;

struct scl_learner;

/* One generated network. Constant; lives in flash. */
typedef struct scl_model {
    uint32_t hash;            /* identifies the network and the memory it was generated with */
    uint32_t state_bytes;     /* size of the state block, scl_state included */
    uint32_t arena_bytes;     /* size of the scratch arena */
    uint16_t inputs;          /* int8 values a sample */
    uint16_t classes;         /* labels are 0 .. classes - 1 */
    int8_t input_exponent;    /* real value of an input = mantissa * 2^input_exponent */
    uint8_t batch;            /* steps a mini-batch gathers before it is applied; 1: at once */
    uint16_t replay_capacity; /* B, samples the replay buffer holds; 0: none */
    uint16_t replay_values;   /* int8 values of a sample in it: inputs, or those of a latent */
    uint16_t layer_count;     /* weighted layers */

    /* Room: memory that settings need. Offsets are bytes into the state block, 0: none. */
    bool tdm;                      /* masks can move */
    uint16_t inter;                /* the largest tdm_inter */
    uint16_t slice;                /* A, stored weights measured at a time; 0: nothing can be */
    uint16_t ddr;                  /* S, samples of a task that DDR can follow; 0: none */
    uint32_t classes_offset;       /* the open task's classes, (classes) bits */
    uint32_t replay_x_offset;      /* int8 (B, replay_values) */
    uint32_t replay_y_offset;      /* uint8 (B) */
    uint32_t replay_logits_offset; /* int16 (B + 1, classes); the last row: of the new sample */
    uint32_t sums_offset;          /* int16 (2, A) gathered in an importance window */
    uint32_t learning_offset;      /* uint16 (layer_count) selected blocks; DGM */
    uint32_t alive_offset;         /* (S) bits: DDR has not removed the sample */
    uint32_t wrong_offset;         /* (S) nibbles: DDR's counts */

    const scl_layer *layers;
    const scl_holds *holds; /* (layer_count) with room for EWC and masks that move; else NULL */
    scl_config defaults;    /* used by scl_init */

    /* Load initial weights, biases, masks and exponents behind the scl_state head. */
    void (*load)(void *state);
    /* With latent replay: values of a sample, int8 (inputs), at the border of the frozen layers,
     * int8 (replay_values), in the arena until the next sample. Then the replay buffer holds such
     * latents, and forward and backward take them. NULL: they take the sample itself. */
    const int8_t *(*latent)(void *arena, const int8_t *x);
    uint32_t latent_macs; /* multiply-accumulates of that */
    /* Logits of one sample or latent x, int16 (classes), unit 1/32, in the arena; keeps what
     * backward needs. `train` counts saturated outputs. */
    const int16_t *(*forward)(void *state, void *arena, const int8_t *x, bool train);
    /* Loss, errors and updates (or measuring) for the sample last forwarded; closes the
     * windows of the exponents when it learns. False when the loss gradient was all zero. */
    bool (*backward)(void *state, void *arena, const int8_t *x, const scl_lesson *lesson);
    /* Learn what a mini-batch gathered; NULL when batch is 1. */
    void (*apply)(void *state);
    /* With room for EWC: hold what the task that ends needs. NULL without. */
    void (*end_task)(void *state);
    /* CRC-32 of the layers in canonical order (docs/numerics.md, "State hash"). */
    uint32_t (*hash_layers)(const void *state, uint32_t crc);
    /* Are the layers and exponents in their ranges (scl_admit)? */
    bool (*fits)(const void *state);
    /* Parts of the runtime that only some networks have room for: NULL, and not linked, in
     * the others. */
    void (*measure)(struct scl_learner *learner, const int8_t *x, uint8_t label);
    void (*event)(struct scl_learner *learner);
    void (*remove)(struct scl_learner *learner);
    const struct scl_lightcl *lightcl;
    /* x, as the replay buffer keeps it, was forwarded and its logits were kept (replay.h). lesson:
     * what it would teach; NULL: it is only remembered. True: it is not learnt. LightCL, IDS. */
    bool (*see)(struct scl_learner *learner, const int8_t *x, const scl_lesson *lesson);
    /* Sharpness: a pass that learns was made twice (grda.h); count it once more. */
    void (*twice)(struct scl_learner *learner);
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
 * SCL_ERR_CONFIG for a setting out of its range, SCL_ERR_ROOM for one that needs
 * memory the model was generated without; the state is then untouched. */
scl_err scl_reset(scl_learner *learner, const scl_config *config);

/* May a state block that came from elsewhere, already in learner's memory, be learnt with? Finds
 * what would make a later call touch memory it must not, overflow, or never return; what the
 * state knows is not judged. SCL_ERR_STATE otherwise: then only scl_reset may be called. */
scl_err scl_admit(const scl_learner *learner);

/* A task is a run of samples between begin and end. Replay starts with the second
 * task, or with the first if samples were remembered before it.
 * begin: SCL_ERR_TASK when a task is open already, SCL_ERR_LABEL when it announces no
 * class or one the network lacks, SCL_ERR_SCHEDULE when the settings have a schedule and the
 * task is too short for it, has too few epochs, or does not say, SCL_ERR_ROOM when it
 * has more samples than DDR can follow, SCL_ERR_ARG when samples * epochs >= 2^32.
 * end: SCL_ERR_TASK when no task is open. */
scl_err scl_begin_task(scl_learner *learner, const scl_task *task);
scl_err scl_end_task(scl_learner *learner);

/* All samples of the open task were offered once more; DDR may remove some of them.
 * SCL_ERR_TASK when no task is open, SCL_ERR_SCHEDULE when no more epochs can be
 * counted (2^16 epochs, 2^32 samples). */
scl_err scl_end_epoch(scl_learner *learner);

/* Learn one sample: x int8 (inputs), label one of the task's classes. `number` is which
 * of the task's samples it is, 0 .. samples - 1; only DDR reads it. `predicted`, if not
 * NULL, receives the class the network gave *before* learning.
 * SCL_ERR_TASK outside a task, SCL_ERR_LABEL for a label the task did not announce,
 * SCL_ERR_SAMPLE for a number out of range or of a removed sample; the state is
 * untouched by a refused call. */
scl_err scl_observe(scl_learner *learner, const int8_t *x, uint8_t label, uint32_t number,
                    uint8_t *predicted);

/* Offer one sample to the replay buffer without learning it, between tasks; or, with EWC and
 * LightCL, for what it shows that is to be held.
 * SCL_ERR_TASK inside one, SCL_ERR_LABEL for a label the network lacks. */
scl_err scl_remember(scl_learner *learner, const int8_t *x, uint8_t label);

/* Is sample `number` of the open (or last) task still to be offered? False when DDR
 * removed it or the task has no such sample. */
bool scl_wanted(const scl_learner *learner, uint32_t number);

/* Classify one sample among the classes whose bits are set in `among`, (classes) bits,
 * lowest first; NULL: all. Ties go to the lowest class. Changes no learning state.
 * `logits`, if not NULL, receives a pointer to int16 (classes), unit 1/32, in the arena,
 * valid until the next call. SCL_ERR_LABEL when `among` is empty or has a class the
 * network lacks. */
scl_err scl_predict(scl_learner *learner, const int8_t *x, const uint8_t *among, uint8_t *predicted,
                    const int16_t **logits);

/* How a weighted layer stands. */
typedef struct scl_layer_info {
    uint32_t live;    /* stored weights */
    uint32_t learn;   /* of those, weights that learn now; 0 in a frozen layer */
    uint32_t terms;   /* blocks whose measured importance is not 0 */
    uint32_t weights; /* weights if none were masked */
} scl_layer_info;

/* Layer `index`, 0 .. model->layer_count - 1, in the order of the network; else SCL_ERR_ARG. */
scl_err scl_layer_query(const scl_learner *learner, uint32_t index, scl_layer_info *info);

/* Samples of class `label` that the replay buffer holds. */
uint32_t scl_buffer_count(const scl_learner *learner, uint8_t label);

/* CRC-32 over all learnt state in canonical order, independent of layout. */
uint32_t scl_state_hash(const scl_learner *learner);

#endif
