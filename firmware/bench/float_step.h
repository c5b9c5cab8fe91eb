/* float_step.h - the control of the bench: a training step of the MLP 784-128-10 in plain float32
 * C, as one writes it without this runtime. */
#ifndef SPARCL_BENCH_FLOAT_STEP_H
#define SPARCL_BENCH_FLOAT_STEP_H

#include <stdint.h>

#define FLOAT_INPUTS  784
#define FLOAT_HIDDEN  128
#define FLOAT_CLASSES 10

typedef struct float_mlp {
    float w1[FLOAT_HIDDEN][FLOAT_INPUTS];
    float b1[FLOAT_HIDDEN];
    float w2[FLOAT_CLASSES][FLOAT_HIDDEN];
    float b2[FLOAT_CLASSES];
    float hidden[FLOAT_HIDDEN];
    float error[FLOAT_HIDDEN];
    float p[FLOAT_CLASSES]; /* probabilities before the step, then errors of the logits */
} float_mlp;

/* Forward, softmax cross entropy, backward and update (fused with the weight gradient) of one
 * sample, batch 1: x (FLOAT_INPUTS), label below FLOAT_CLASSES. */
void float_step(float_mlp *net, const float *x, uint32_t label, float rate);

#endif
