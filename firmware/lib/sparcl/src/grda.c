#include "sparcl/grda.h"

#include "sparcl/numerics.h"

int32_t scl_grda_threshold(const int32_t powers[SCL_GRDA_POWERS], uint32_t step)
{
    const uint32_t n = step > 0 ? step : 1;
    const int k = scl_blen(n) - 1;
    const uint64_t rise = (uint64_t)(powers[k + 1] - powers[k]) * (n - (UINT32_C(1) << k));
    return powers[k] + (int32_t)(rise >> k);
}

/* A master M', as M towards 0. */
static int32_t drawn(int16_t master, int32_t tau)
{
    const int32_t m = master - 128;
    return m > tau ? m - tau : m < -tau ? m + tau : 0;
}

void scl_grda_weights(int8_t *weight, const int16_t *master, uint32_t n, int e_w, int32_t threshold)
{
    const int32_t tau = scl_rsr(threshold, e_w - 8 - SCL_GRDA_EXPONENT);
    for (uint32_t i = 0; i < n; i++) {
        weight[i] = (int8_t)((drawn(master[i], tau) + 128) >> 8);
    }
}

void scl_grda_ascend(int8_t *weight, const int16_t *master, const int32_t *gradient, uint32_t n,
                     int e_w, int32_t threshold, int rho)
{
    const int32_t tau = scl_rsr(threshold, e_w - 8 - SCL_GRDA_EXPONENT);
    int32_t largest = 0;
    for (uint32_t i = 0; i < n; i++) {
        const int32_t size = gradient[i] < 0 ? -gradient[i] : gradient[i];
        largest = size > largest ? size : largest;
    }
    const int shift = scl_blen((uint32_t)largest) - rho;
    for (uint32_t i = 0; i < n; i++) {
        const int32_t m = drawn(master[i], tau) + scl_rsr(gradient[i], shift);
        weight[i] = (int8_t)scl_sat((m + 128) >> 8, 127);
    }
}

bool scl_grda_fits(const int8_t *weight, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++) {
        if (weight[i] < -127) {
            return false;
        }
    }
    return true;
}
