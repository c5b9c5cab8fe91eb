#include "float_step.h"

/* An FPU may then multiply and add in one instruction; ISO C alone forbids it. */
#pragma GCC optimize("fp-contract=fast")

static float dot(const float *w, const float *x, uint32_t n, float bias)
{
    float sum = bias;
    for (uint32_t i = 0; i < n; i++) {
        sum += w[i] * x[i];
    }
    return sum;
}

/* w (n) -= step * x. */
static void learn(float *w, const float *x, uint32_t n, float step)
{
    for (uint32_t i = 0; i < n; i++) {
        w[i] -= step * x[i];
    }
}

/* e^v for v <= 0 to three digits: (1 + v / 1024)^1024, without a library. */
static float exponential(float v)
{
    float e = v < -1000.0f ? 0.0f : 1.0f + v / 1024.0f;
    for (uint32_t i = 0; i < 10; i++) {
        e *= e;
    }
    return e;
}

static void softmax(float *z)
{
    float largest = z[0];
    float sum = 0.0f;
    for (uint32_t j = 1; j < FLOAT_CLASSES; j++) {
        largest = z[j] > largest ? z[j] : largest;
    }
    for (uint32_t j = 0; j < FLOAT_CLASSES; j++) {
        z[j] = exponential(z[j] - largest);
        sum += z[j];
    }
    for (uint32_t j = 0; j < FLOAT_CLASSES; j++) {
        z[j] /= sum;
    }
}

void float_step(float_mlp *net, const float *x, uint32_t label, float rate)
{
    for (uint32_t o = 0; o < FLOAT_HIDDEN; o++) {
        const float sum = dot(net->w1[o], x, FLOAT_INPUTS, net->b1[o]);
        net->hidden[o] = sum > 0.0f ? sum : 0.0f;
        net->error[o] = 0.0f;
    }
    for (uint32_t j = 0; j < FLOAT_CLASSES; j++) {
        net->p[j] = dot(net->w2[j], net->hidden, FLOAT_HIDDEN, net->b2[j]);
    }
    softmax(net->p);
    net->p[label] -= 1.0f;
    for (uint32_t j = 0; j < FLOAT_CLASSES; j++) {
        learn(net->error, net->w2[j], FLOAT_HIDDEN, -net->p[j]);
        learn(net->w2[j], net->hidden, FLOAT_HIDDEN, rate * net->p[j]);
        net->b2[j] -= rate * net->p[j];
    }
    for (uint32_t o = 0; o < FLOAT_HIDDEN; o++) {
        const float error = net->hidden[o] > 0.0f ? net->error[o] : 0.0f;
        learn(net->w1[o], x, FLOAT_INPUTS, rate * error);
        net->b1[o] -= rate * error;
    }
}
