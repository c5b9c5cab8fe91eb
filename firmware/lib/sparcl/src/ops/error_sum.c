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

/* Values that the ReLU (NULL: none) did not let pass become 0. Returns the or of all magnitudes,
 * which has the bit length of the largest. */
static uint32_t rectify(int32_t *v, uint32_t n, const uint8_t *positive)
{
    uint32_t all = 0;
    for (uint32_t i = 0, end; i < n; i = end) {
        uint32_t bits = positive == NULL ? 0xffu : positive[i >> 3];
        end = n - i < 8 ? n : i + 8;
        for (uint32_t at = i; at < end; at++, bits >>= 1) {
            if ((bits & 1u) != 0) {
                all |= v[at] < 0 ? 0u - (uint32_t)v[at] : (uint32_t)v[at];
            } else {
                v[at] = 0;
            }
        }
    }
    return all;
}

scl_error scl_sum_close(const scl_sum *sum, const uint8_t *positive, int8_t *q)
{
    int32_t *v = sum->v; /* q may lie over it */
    const uint32_t n = sum->n;
    if (!sum->any) {
        return (scl_error){q, 0, false};
    }
    const uint32_t all = rectify(v, n, positive);
    const int bits = scl_blen(all);
    const int shift = bits > 7 ? bits - 7 : 0;
    for (uint32_t i = 0; i < n && shift == 0; i++) {
        q[i] = (int8_t)v[i];
    }
    for (uint32_t i = 0; i < n && shift > 0; i++) { /* rsr, which has room for the 1 here */
        q[i] = (int8_t)scl_sat(((v[i] >> (shift - 1)) + 1) >> 1, 127);
    }
    return (scl_error){q, sum->e + shift, all != 0};
}
