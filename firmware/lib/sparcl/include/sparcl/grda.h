/* grda.h - directional pruning by gRDA (Chao et al. 2020): weights in use are masters drawn towards
 * 0 by a threshold that grows (docs/numerics.md, "gRDA"). Called by generated code that has room
 * for it; experiment files ask for it with [grda] c.
 */
#ifndef SPARCL_GRDA_H
#define SPARCL_GRDA_H

#include <stdbool.h>
#include <stdint.h>

#define SCL_GRDA_EXPONENT (-24) /* of thresholds */
#define SCL_GRDA_POWERS   33    /* thresholds of steps 1, 2, 4, .. 2^32; below 2^31, not falling */

/* The threshold of a step, linear between two powers of two. */
int32_t scl_grda_threshold(const int32_t powers[SCL_GRDA_POWERS], uint32_t step);

/* weight (n) = the high bytes of master (n), exponent e_w - 8, drawn towards 0 by `threshold`,
 * which is not negative. */
void scl_grda_weights(int8_t *weight, const int16_t *master, uint32_t n, int e_w,
                      int32_t threshold);

/* Sharpness: weight (n) = the same a step further up the gradient (n), whose largest component is
 * 2^(rho - 1) .. 2^rho units of a master; 1 <= rho <= 14. */
void scl_grda_ascend(int8_t *weight, const int16_t *master, const int32_t *gradient, uint32_t n,
                     int e_w, int32_t threshold, int rho);

/* May these be in a state that came from elsewhere (scl_admit)? */
bool scl_grda_fits(const int8_t *weight, uint32_t n);

#endif
