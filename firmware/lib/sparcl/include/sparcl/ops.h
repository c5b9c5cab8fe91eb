/* ops.h - the kernels that generated code calls. Applications need sparcl.h only.
 *
 * Kernels are named scl_<op>_<forward|input_grad|weight_update>. Maps are
 * (height, width, channels), channels innermost; a vector is a map of one
 * position. Mantissas of activations and errors are int8 in [-127, 127].
 * Nothing here checks its arguments: the generator has, with static assertions.
 */
#ifndef SPARCL_OPS_H
#define SPARCL_OPS_H

#include <stdbool.h>
#include <stdint.h>

#include "sparcl/numerics.h"
#include "sparcl/sparcl.h"

/* Parts of the runtime that a generated model names only if it has room for them, so that the
 * linker leaves them out of the others (scl_model.measure, .event, .remove, .twice). */

/* One step of an importance window: the new sample's pass and a drawn one's. */
void scl_measure_step(scl_learner *learner, const int8_t *x, uint8_t label);
/* What the event state->event does to masks and selections. */
void scl_event(scl_learner *learner);
/* End of epoch state->epochs_done: DDR removes the samples that were wrong least. */
void scl_remove_easiest(scl_learner *learner);
/* The work of a pass that learns, once more. */
void scl_pass_twice(scl_learner *learner);

/* int8 mantissas with their shared exponent: value = q[i] * 2^e. */
typedef struct scl_vec {
    const int8_t *q;
    int e;
} scl_vec;

/* The sticky exponent of one or more layers' outputs; part of the learnt state. */
typedef struct scl_scale {
    int32_t exponent;
    uint32_t saturated; /* outputs beyond +-127 in this window, training forwards only */
    uint32_t window;    /* training forwards in this window, 0 .. SCL_WINDOW - 1 */
} scl_scale;

/* Close a training pass that wrote `outputs` values with this exponent: after
 * SCL_WINDOW of them, raise it if more than 1 in 2^SCL_RARE_BITS saturated. Once a pass, after
 * backward. */
void scl_scale_close(scl_scale *scale, uint32_t outputs);

/* CRC-32 over exponent and counters. */
uint32_t scl_scale_hash(const scl_scale *scale, uint32_t crc);

/* ---- is a state that came from elsewhere within bounds? (scl_admit) ------ */

bool scl_biases_fit(const int32_t *bias, uint32_t n);
bool scl_masters_fit(const int16_t *master, uint32_t n);
/* made: the exponent that the network was made with. One below it was never learnt, since exponents
 * only grow, and a bias could overflow its output. */
bool scl_scale_fits(const scl_scale *scale, int32_t made);

/* ---- where a layer's accumulators go ------------------------------------ */

/* Bytes of the ReLU mask of n outputs. */
static inline uint32_t scl_relu_mask_bytes(uint32_t n)
{
    return (n + 7u) / 8u;
}

typedef struct scl_output {
    int exponent;       /* of the outputs: scl_scale.exponent, or SCL_LOGIT_EXPONENT */
    bool relu;          /* negative accumulators become 0 */
    int8_t *q;          /* (n) outputs; NULL in the last layer */
    uint8_t *positive;  /* (n) bits, accumulator > 0: the ReLU mask; NULL if not needed */
    int16_t *logits;    /* (n) the last layer's outputs, else NULL */
    uint32_t saturated; /* outputs that did not fit int8, counted up */
} scl_output;

/* ---- weights --------------------------------------------------------------
 * A matrix of `rows` outputs x `fan_in` inputs in blocks of R x C. The blocks of
 * one group of R rows lie together, by ascending input; within a block by row. A
 * dense matrix stores every block and no index. Trainable weights are masters,
 * frozen ones their rounded high bytes.
 *
 * A matrix in pairs is dense and frozen. It is int16_t (groups of 4 rows, groups of 4 inputs,
 * 2, 4), aligned to 4, zeros where there is no row or input: values 256 * hi of an odd row + hi of
 * the even one before it, rows (0, 1) and (2, 3) of a group, each at its inputs 0, 2, 1, 3. */

typedef struct scl_matrix {
    uint16_t rows;
    uint16_t fan_in;
    int8_t e_w;            /* weight = hi * 2^e_w */
    const void *weights;   /* trainable: int16_t masters M'; frozen: int8_t hi, or int16_t pairs */
    const uint16_t *start; /* (rows / R + 1) first block of each group; NULL: dense */
    const void *index;     /* (blocks) block column, uint8_t or uint16_t; NULL: dense */
    const int32_t *bias;   /* (rows) exponent -20 */
} scl_matrix;

/* What learning writes: the memory behind a trainable layer's `weights` and `bias`, or,
 * where a batch gathers before it is applied, sums in the same layout. */
typedef struct scl_masters {
    int16_t *master;
    int32_t *bias;
    const uint8_t *selected; /* (blocks) bits: only these blocks learn; NULL: all. Heeded by
                              * weight_update_selected and weight_watch */
} scl_masters;

typedef struct scl_gathered {
    int32_t *weight;         /* rsr(gradient, shift - 8) summed: exponent e_w - 16 */
    int32_t *bias;           /* rsr(gradient, shift - 8) summed: exponent -28 */
    const uint8_t *selected; /* (blocks) bits: only these blocks' gradients; NULL: all */
} scl_gathered;

/* End of a batch: n masters (or biases) learn what was gathered, rsr(sum, 8), and the
 * sums start again at 0. */
void scl_apply_masters(int16_t *master, int32_t *gathered, uint32_t n);
void scl_apply_biases(int32_t *bias, int32_t *gathered, uint32_t n);

/* Every variant of the bodies in src/ops/matrix.h: name, R, C, bytes of an index entry, frozen. */
#define SCL_SPARSE_LIST(X)                                                                         \
    X(1x1_i8, 1, 1, 1, false)                                                                      \
    X(1x1_i16, 1, 1, 2, false)                                                                     \
    X(1x4_i8, 1, 4, 1, false)                                                                      \
    X(1x4_i16, 1, 4, 2, false)                                                                     \
    X(4x1_i8, 4, 1, 1, false)                                                                      \
    X(4x1_i16, 4, 1, 2, false)
#define SCL_TRAINABLE_LIST(X)                                                                      \
    X(full, 1, 1, 0, false)                                                                        \
    SCL_SPARSE_LIST(X)
#define SCL_FROZEN_LIST(X)                                                                         \
    X(full_frozen, 1, 1, 0, true)                                                                  \
    X(1x1_i8_frozen, 1, 1, 1, true)                                                                \
    X(1x1_i16_frozen, 1, 1, 2, true)                                                               \
    X(1x4_i8_frozen, 1, 4, 1, true)                                                                \
    X(1x4_i16_frozen, 1, 4, 2, true)                                                               \
    X(4x1_i8_frozen, 4, 1, 1, true)                                                                \
    X(4x1_i16_frozen, 4, 1, 2, true)

/* hash: CRC-32 over masters (and, if sparse, mask bits; and `selected`, bits of blocks as
 * stored, if not NULL, as bits of weights) in canonical dense order. */
#define SCL_MATRIX_DECLARE(name, ...)                                                              \
    uint32_t scl_matrix_hash_##name(const scl_matrix *m, const uint8_t *selected, uint32_t crc);
SCL_TRAINABLE_LIST(SCL_MATRIX_DECLARE)
#undef SCL_MATRIX_DECLARE

/* ---- dense ----------------------------------------------------------------
 * forward: x (fan_in) -> out (rows). forward_paired: of a matrix in pairs.
 * input_grad: d (rows) -> v int32 (fan_in), exponent e_w + d.e, with the weights as
 *     they are: call it before weight_update. Rows without error are skipped.
 * weight_update: masters and biases learn from error d (rows) and input x (fan_in).
 * weight_update_selected: likewise, but only the blocks of to->selected.
 * weight_gather: the same gradients are added up instead, for a batch or EWC; of the blocks of
 *     to->selected.
 * weight_watch: what weight_update would do to the masters is counted, and not done.
 * weight_measure: gradients of a range of blocks are added to its sums; see scl_measure.
 * None needs scratch. */
#define SCL_DENSE_DECLARE(name, ...)                                                               \
    void scl_dense_forward_##name(const scl_matrix *m, scl_vec x, scl_output *out);                \
    void scl_dense_input_grad_##name(const scl_matrix *m, scl_vec d, int32_t *v);
SCL_TRAINABLE_LIST(SCL_DENSE_DECLARE)
SCL_FROZEN_LIST(SCL_DENSE_DECLARE)
#undef SCL_DENSE_DECLARE
void scl_dense_forward_paired(const scl_matrix *m, scl_vec x, scl_output *out);
#define SCL_DENSE_DECLARE(name, ...)                                                               \
    void scl_dense_weight_update_##name(const scl_matrix *m, const scl_masters *to, scl_vec d,     \
                                        scl_vec x, scl_rate rate);                                 \
    void scl_dense_weight_gather_##name(const scl_matrix *m, const scl_gathered *to, scl_vec d,    \
                                        scl_vec x, scl_rate rate);                                 \
    void scl_dense_weight_watch_##name(const scl_matrix *m, const scl_masters *of,                 \
                                       scl_watch *watch, scl_vec d, scl_vec x, scl_rate rate);
SCL_TRAINABLE_LIST(SCL_DENSE_DECLARE)
#undef SCL_DENSE_DECLARE
#define SCL_DENSE_DECLARE(name, ...)                                                               \
    void scl_dense_weight_update_selected_##name(const scl_matrix *m, const scl_masters *to,       \
                                                 scl_vec d, scl_vec x, scl_rate rate);             \
    void scl_dense_weight_measure_##name(const scl_matrix *m, const scl_measure *to, scl_vec d,    \
                                         scl_vec x);
SCL_SPARSE_LIST(SCL_DENSE_DECLARE)
#undef SCL_DENSE_DECLARE

/* ---- convolution ----------------------------------------------------------
 * A kernel moved over a map with zeros around it. The matrix has a row an output
 * channel and fan_in = kernel_h * kernel_w * channels. */

typedef struct scl_window {
    uint16_t in_h, in_w, channels;
    uint16_t out_h, out_w;
    uint8_t kernel_h, kernel_w;
    uint8_t stride_h, stride_w;
    uint8_t pad_top, pad_left;
} scl_window;

/* Bytes of scratch: forward int16 (4, fan_in), the patches of four positions, aligned to 4;
 * with MVE bytes, in its first half. */
static inline uint32_t scl_conv2d_forward_scratch(const scl_window *w)
{
    return 8u * w->kernel_h * w->kernel_w * w->channels;
}

/* forward: x (in map) -> out (out_h, out_w, rows); tile: scratch.
 * input_grad: d (out map) -> v int32 (in map), exponent e_w + d.e.
 * weight_*: for each weight the sum over positions, then as for a dense layer. */
#define SCL_CONV2D_DECLARE(name, ...)                                                              \
    void scl_conv2d_forward_##name(const scl_matrix *m, const scl_window *w, scl_vec x,            \
                                   int16_t *tile, scl_output *out);                                \
    void scl_conv2d_input_grad_##name(const scl_matrix *m, const scl_window *w, scl_vec d,         \
                                      int32_t *v);
SCL_TRAINABLE_LIST(SCL_CONV2D_DECLARE)
SCL_FROZEN_LIST(SCL_CONV2D_DECLARE)
#undef SCL_CONV2D_DECLARE
#define SCL_CONV2D_DECLARE(name, ...)                                                              \
    void scl_conv2d_weight_update_##name(const scl_matrix *m, const scl_window *w,                 \
                                         const scl_masters *to, scl_vec d, scl_vec x,              \
                                         scl_rate rate);                                           \
    void scl_conv2d_weight_gather_##name(const scl_matrix *m, const scl_window *w,                 \
                                         const scl_gathered *to, scl_vec d, scl_vec x,             \
                                         scl_rate rate);                                           \
    void scl_conv2d_weight_watch_##name(const scl_matrix *m, const scl_window *w,                  \
                                        const scl_masters *of, scl_watch *watch, scl_vec d,        \
                                        scl_vec x, scl_rate rate);
SCL_TRAINABLE_LIST(SCL_CONV2D_DECLARE)
#undef SCL_CONV2D_DECLARE
#define SCL_CONV2D_DECLARE(name, ...)                                                              \
    void scl_conv2d_weight_update_selected_##name(const scl_matrix *m, const scl_window *w,        \
                                                  const scl_masters *to, scl_vec d, scl_vec x,     \
                                                  scl_rate rate);                                  \
    void scl_conv2d_weight_measure_##name(const scl_matrix *m, const scl_window *w,                \
                                          const scl_measure *to, scl_vec d, scl_vec x);
SCL_SPARSE_LIST(SCL_CONV2D_DECLARE)
#undef SCL_CONV2D_DECLARE

/* ---- depthwise convolution --------------------------------------------------
 * One kernel a channel, never pruned, an exponent a channel. No scratch. */

typedef struct scl_depthwise {
    const void *weights; /* (channels, kernel_h * kernel_w) masters or hi */
    const int32_t *bias; /* (channels) */
    const int8_t *e_w;   /* (channels) */
    int8_t e_w_max;      /* their largest: input_grad gives v the exponent e_w_max + d.e */
} scl_depthwise;

void scl_depthwise_forward(const scl_depthwise *m, const scl_window *w, scl_vec x, scl_output *out);
void scl_depthwise_forward_frozen(const scl_depthwise *m, const scl_window *w, scl_vec x,
                                  scl_output *out);
void scl_depthwise_input_grad(const scl_depthwise *m, const scl_window *w, scl_vec d, int32_t *v);
void scl_depthwise_input_grad_frozen(const scl_depthwise *m, const scl_window *w, scl_vec d,
                                     int32_t *v);
void scl_depthwise_weight_update(const scl_depthwise *m, const scl_window *w, const scl_masters *to,
                                 scl_vec d, scl_vec x, scl_rate rate);
void scl_depthwise_weight_gather(const scl_depthwise *m, const scl_window *w,
                                 const scl_gathered *to, scl_vec d, scl_vec x, scl_rate rate);
void scl_depthwise_weight_watch(const scl_depthwise *m, const scl_window *w, const scl_masters *of,
                                scl_watch *watch, scl_vec d, scl_vec x, scl_rate rate);
uint32_t scl_depthwise_hash(const scl_depthwise *m, const scl_window *w, uint32_t crc);

/* ---- pools ------------------------------------------------------------------- */

/* Bits of a max pool's index entry: which position of the window won. */
static inline uint32_t scl_pool_index_bits(const scl_window *w)
{
    return w->kernel_h * w->kernel_w <= 4 ? 2u : 4u;
}

/* Bytes of a max pool's index; average pools and additions keep nothing. */
static inline uint32_t scl_max_pool_index_bytes(const scl_window *w)
{
    return ((uint32_t)w->out_h * w->out_w * w->channels * scl_pool_index_bits(w) + 7u) / 8u;
}

/* index: (out values) entries of scl_pool_index_bits, packed, lowest bits first; NULL
 * if not needed. Ties go to the first position; padding never wins. q has x's exponent. */
void scl_max_pool_forward(const scl_window *w, const int8_t *x, int8_t *q, uint8_t *index);
void scl_max_pool_input_grad(const scl_window *w, const int8_t *d, const uint8_t *index,
                             int32_t *v);
/* reciprocal = floor((32768 + P / 2) / P), P positions a window. Means have an exponent of
 * their own; the gradient's is d.e - 15. */
void scl_avg_pool_forward(const scl_window *w, int32_t reciprocal, scl_vec x, scl_output *out);
void scl_avg_pool_input_grad(const scl_window *w, int32_t reciprocal, const int8_t *d, int32_t *v);

/* ---- residual -------------------------------------------------------------- */

/* a (n) + b (n) -> out; all three share one exponent. Its gradient is the error itself. */
void scl_add_forward(const int8_t *a, const int8_t *b, uint32_t n, scl_output *out);

/* ---- loss and errors ----------------------------------------------------- */

/* The loss gradient a lesson asks for: logits z int16 (n), unit 1/32 -> g int32 (n),
 * exponent SCL_LOSS_EXPONENT. */
void scl_loss_grad(const int16_t *z, uint32_t n, const scl_lesson *lesson, int32_t *g);

/* Softmax cross entropy: logits z int16 (n), unit 1/32 -> g int32 (n), exponent
 * SCL_LOSS_EXPONENT: softmax(z) - onehot(label). `classes`, if not NULL, (n) bits, says
 * which classes take part (label among them); the others get 0. */
void scl_softmax_ce_grad(const int16_t *z, uint32_t n, uint8_t label, const uint8_t *classes,
                         int32_t *g);

/* DER's logit term: g (n) += floor((z - target) * 1024 / 2^shift), both unit 1/32. */
void scl_logit_grad_add(const int16_t *z, const int16_t *target, uint32_t n, int shift, int32_t *g);

/* The error of one tensor. `any` is false when there is none: whatever would follow is skipped. */
typedef struct scl_error {
    int8_t *q;
    int e;
    bool any;
} scl_error;

/* Errors that gather in one tensor before they are normalised. */
typedef struct scl_sum {
    int32_t *v; /* (n) */
    uint32_t n;
    int e;
    bool any; /* v and e are set */
} scl_sum;

/* Where two branches meet: align both to the larger exponent and add. Nothing if the
 * branch has no error. */
void scl_sum_join(scl_sum *sum, const scl_sum *branch);
void scl_sum_join_error(scl_sum *sum, const scl_error *branch);

/* Apply the ReLU mask (n bits, or NULL), then normalise to int8 mantissas in q (n). q may
 * lie at or before the memory of sum->v. */
scl_error scl_sum_close(const scl_sum *sum, const uint8_t *positive, int8_t *q);

#endif
