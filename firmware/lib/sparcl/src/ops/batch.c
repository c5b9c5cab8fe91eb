/* The end of a mini-batch (docs/numerics.md, "Mini-batches"). */
#include "output.h"

void scl_apply_masters(int16_t *master, int32_t *gathered, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++) {
        scl_master_step(&master[i], gathered[i], 8);
        gathered[i] = 0;
    }
}

void scl_apply_biases(int32_t *bias, int32_t *gathered, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++) {
        scl_bias_step(&bias[i], gathered[i], 8);
        gathered[i] = 0;
    }
}
