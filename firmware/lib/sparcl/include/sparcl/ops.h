/* ops.h - the kernels that generated code calls. Applications need sparcl.h only.
 *
 * Kernels are named scl_<op>_<forward|input_grad|weight_update>. Mantissas of
 * activations and errors are int8 in [-127, 127]; a vector carries its exponent.
 * Nothing here checks its arguments: the generator has, with static assertions.
 */
#ifndef SPARCL_OPS_H
#define SPARCL_OPS_H

#include <stdbool.h>
#include <stdint.h>

#include "sparcl/numerics.h"
#include "sparcl/sparcl.h"

/* int8 mantissas with their shared exponent: value = q[i] * 2^e. */
typedef struct scl_vec {
    const int8_t *q;
    int e;
} scl_vec;

/* The sticky output exponent of a hidden layer; part of the learnt state. */
typedef struct scl_scale {
    int32_t exponent;
    uint32_t saturated; /* outputs above 127 in this window, training forwards only */
    uint32_t window;    /* training forwards in this window, 0 .. SCL_WINDOW - 1 */
} scl_scale;

/* Close a training pass: after SCL_WINDOW of them, raise the exponent if more
 * than 1/256 of the outputs saturated. Called once a pass, after backward. */
void scl_scale_close(scl_scale *scale, uint32_t outputs);

/* ---- where a layer's accumulators go ------------------------------------ */

typedef struct scl_output {
    int exponent;       /* of the outputs: scl_scale.exponent, or SCL_LOGIT_EXPONENT */
    int8_t *q;          /* hidden: (n) outputs after ReLU */
    uint8_t *positive;  /* hidden: (n) bits, accumulator > 0: the ReLU mask */
    int16_t *logits;    /* last layer: (n); q and positive are then NULL */
    uint32_t saturated; /* hidden: outputs that did not fit, counted up */
} scl_output;

/* ---- dense --------------------------------------------------------------
 * Weights are blocks of rows x cols of the (outputs, inputs) matrix. The blocks
 * of one group of `rows` outputs lie together, by ascending input; within a block
 * by row. A dense layer stores every block and no index. */

typedef struct scl_dense {
    uint16_t inputs;
    uint16_t outputs;
    int8_t e_w;            /* weight = (master >> 8) * 2^e_w */
    int16_t *master;       /* (blocks * rows * cols) M' */
    const uint16_t *start; /* (outputs / rows + 1) first block of each group; NULL: dense */
    const void *index;     /* (blocks) block column, uint8_t or uint16_t; NULL: dense */
    int32_t *bias;         /* (outputs) exponent -20 */
} scl_dense;

/* Every variant of the one body in ops/dense.c: name, rows, cols, bytes of an index entry. */
#define SCL_DENSE_LIST(X)                                                                          \
    X(full, 1, 1, 0)                                                                               \
    X(1x1_i8, 1, 1, 1)                                                                             \
    X(1x1_i16, 1, 1, 2)                                                                            \
    X(1x4_i8, 1, 4, 1)                                                                             \
    X(1x4_i16, 1, 4, 2)                                                                            \
    X(4x1_i8, 4, 1, 1)                                                                             \
    X(4x1_i16, 4, 1, 2)

/* forward: x (inputs) -> out (outputs).
 * input_grad: d (outputs) -> v int32 (inputs), exponent e_w + d.e, with the weights
 *     as they are: call it before weight_update. Outputs without error are skipped.
 * weight_update: masters and biases learn from error d (outputs) and input x (inputs).
 * hash: CRC-32 over masters (and, if sparse, mask bits) in canonical dense order. */
#define SCL_DENSE_DECLARE(name, rows, cols, index_bytes)                                           \
    void scl_dense_forward_##name(const scl_dense *l, scl_vec x, scl_output *out);                 \
    void scl_dense_input_grad_##name(const scl_dense *l, scl_vec d, int32_t *v);                   \
    void scl_dense_weight_update_##name(const scl_dense *l, scl_vec d, scl_vec x,                  \
                                        const scl_config *config);                                 \
    uint32_t scl_dense_hash_##name(const scl_dense *l, uint32_t crc);
SCL_DENSE_LIST(SCL_DENSE_DECLARE)
#undef SCL_DENSE_DECLARE

/* CRC-32 over what every layer adds to the state hash after its weights: biases
 * (n), weight exponent, and the scale (NULL for the last layer). */
uint32_t scl_layer_hash(const int32_t *bias, uint32_t n, int e_w, const scl_scale *scale,
                        uint32_t crc);

/* ---- loss and errors ----------------------------------------------------- */

/* Softmax cross entropy: logits z int16 (n), unit 1/32 -> g int32 (n), exponent
 * SCL_LOSS_EXPONENT: softmax(z) - onehot(label). */
void scl_softmax_ce_grad(const int16_t *z, uint32_t n, uint8_t label, int32_t *g);

/* Normalise int32 errors v (n) of exponent *e to int8 mantissas q (n) and raise *e
 * accordingly. `positive`, if not NULL, is the ReLU mask (n bits), applied first.
 * Returns false, and leaves q and *e alone, when every error is 0. */
bool scl_to_block_float(int32_t *v, const uint8_t *positive, uint32_t n, int8_t *q, int *e);

#endif
