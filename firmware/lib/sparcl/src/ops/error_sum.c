/* Errors in block floating point; the NumPy twins are numerics.to_block_float and simulated._join.
 */
#include "sparcl/ops.h"

#include <string.h>

void scl_sum_join(scl_sum *sum, const scl_sum *branch)
{
    if (!branch->any) {
        return;
    }
    if (!sum->any) {
        memcpy(sum->v, branch->v, sum->n * sizeof *sum->v);
        sum->e = branch->e;
        sum->any = true;
        return;
    }
    const int e = branch->e > sum->e ? branch->e : sum->e;
    for (uint32_t i = 0; i < sum->n; i++) {
        sum->v[i] = scl_rsr(sum->v[i], e - sum->e) + scl_rsr(branch->v[i], e - branch->e);
    }
    sum->e = e;
}

void scl_sum_join_error(scl_sum *sum, const scl_error *branch)
{
    if (!branch->any) {
        return;
    }
    const int e = sum->any && sum->e > branch->e ? sum->e : branch->e;
    for (uint32_t i = 0; i < sum->n; i++) {
        const int32_t before = sum->any ? scl_rsr(sum->v[i], e - sum->e) : 0;
        sum->v[i] = before + scl_rsr(branch->q[i], e - branch->e);
    }
    sum->e = e;
    sum->any = true;
}

scl_error scl_sum_close(const scl_sum *sum, const uint8_t *positive, int8_t *q)
{
    uint32_t all = 0; /* the or of all magnitudes has the bit length of the largest */
    if (!sum->any) {
        return (scl_error){q, 0, false};
    }
    for (uint32_t i = 0; i < sum->n; i++) {
        const int32_t v = sum->v[i];
        if (positive == NULL || (positive[i >> 3] & 1u << (i & 7u)) != 0) {
            all |= v < 0 ? 0u - (uint32_t)v : (uint32_t)v;
        } else {
            sum->v[i] = 0;
        }
    }
    const int bits = scl_blen(all);
    const int shift = bits > 7 ? bits - 7 : 0;
    for (uint32_t i = 0; i < sum->n; i++) {
        q[i] = (int8_t)scl_sat(scl_rsr(sum->v[i], shift), 127);
    }
    return (scl_error){q, sum->e + shift, all != 0};
}
