/* The losses; the NumPy twin is host/sparcl_mcu/ops/softmax_ce.py. */
#include "sparcl/ops.h"

#include <string.h>

/* floor(32768 * exp(-k / 32) + 0.5), with 0 at 255; tests compare it with numerics.EXP_TABLE */
static const uint16_t exp_table[256] = {
    32768, 31760, 30783, 29836, 28918, 28028, 27166, 26330, 25520, 24735, 23974, 23236, 22521,
    21828, 21157, 20506, 19875, 19263, 18671, 18096, 17539, 17000, 16477, 15970, 15479, 15002,
    14541, 14093, 13660, 13239, 12832, 12437, 12055, 11684, 11324, 10976, 10638, 10311, 9994,
    9686,  9388,  9099,  8819,  8548,  8285,  8030,  7783,  7544,  7312,  7087,  6869,  6657,
    6452,  6254,  6061,  5875,  5694,  5519,  5349,  5185,  5025,  4871,  4721,  4575,  4435,
    4298,  4166,  4038,  3914,  3793,  3676,  3563,  3454,  3347,  3244,  3145,  3048,  2954,
    2863,  2775,  2690,  2607,  2527,  2449,  2374,  2301,  2230,  2161,  2095,  2030,  1968,
    1907,  1849,  1792,  1737,  1683,  1631,  1581,  1533,  1485,  1440,  1395,  1352,  1311,
    1271,  1231,  1194,  1157,  1121,  1087,  1053,  1021,  990,   959,   930,   901,   873,
    846,   820,   795,   771,   747,   724,   702,   680,   659,   639,   619,   600,   582,
    564,   546,   530,   513,   498,   482,   467,   453,   439,   426,   412,   400,   387,
    376,   364,   353,   342,   331,   321,   311,   302,   292,   283,   275,   266,   258,
    250,   242,   235,   228,   221,   214,   207,   201,   195,   189,   183,   177,   172,
    167,   162,   157,   152,   147,   143,   138,   134,   130,   126,   122,   118,   115,
    111,   108,   104,   101,   98,    95,    92,    89,    86,    84,    81,    79,    76,
    74,    72,    69,    67,    65,    63,    61,    59,    58,    56,    54,    52,    51,
    49,    48,    46,    45,    43,    42,    41,    40,    38,    37,    36,    35,    34,
    33,    32,    31,    30,    29,    28,    27,    26,    26,    25,    24,    23,    23,
    22,    21,    21,    20,    19,    19,    18,    18,    17,    17,    16,    16,    15,
    15,    14,    14,    13,    13,    12,    12,    12,    0,
};

static bool takes_part(const uint8_t *classes, uint32_t j)
{
    return classes == NULL || scl_bit(classes, j);
}

static uint32_t unnormalised(int32_t largest, int32_t z)
{
    const int32_t k = largest - z;
    return exp_table[k < 255 ? k : 255];
}

void scl_softmax_ce_grad(const int16_t *z, uint32_t n, uint8_t label, const uint8_t *classes,
                         int32_t *g)
{
    int32_t largest = z[label];
    for (uint32_t j = 0; j < n; j++) {
        if (takes_part(classes, j) && z[j] > largest) {
            largest = z[j];
        }
    }
    uint32_t sum = 0;
    for (uint32_t j = 0; j < n; j++) {
        sum += takes_part(classes, j) ? unnormalised(largest, z[j]) : 0u;
    }
    for (uint32_t j = 0; j < n; j++) {
        const uint32_t e = takes_part(classes, j) ? unnormalised(largest, z[j]) : 0u;
        g[j] = (int32_t)((e << 15) / sum);
    }
    g[label] -= 1 << 15;
}

void scl_logit_grad_add(const int16_t *z, const int16_t *target, uint32_t n, int shift, int32_t *g)
{
    for (uint32_t j = 0; j < n; j++) {
        g[j] += (z[j] - target[j]) * 1024 >> shift;
    }
}

void scl_loss_grad(const int16_t *z, uint32_t n, const scl_lesson *lesson, int32_t *g)
{
    if (!lesson->nothing && lesson->logits == NULL) {
        scl_softmax_ce_grad(z, n, lesson->label, lesson->classes, g);
        return;
    }
    memset(g, 0, n * sizeof *g);
    if (!lesson->nothing) {
        scl_logit_grad_add(z, lesson->logits, n, lesson->alpha_shift, g);
    }
}
