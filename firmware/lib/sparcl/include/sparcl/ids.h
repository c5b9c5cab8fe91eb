/* ids.h - IDS, instance selection in one pass: a share of the new samples is learnt, those with the
 * largest gradient of the last layer (docs/numerics.md, "IDS"). Called by generated code that has
 * room for it; experiment files ask for it with [ids] share.
 */
#ifndef SPARCL_IDS_H
#define SPARCL_IDS_H

#include <stdbool.h>
#include <stdint.h>

#define SCL_IDS_FRESH INT32_MIN /* a threshold before the first sample */

/* What decides on a sample that was forwarded and is not learnt yet. */
typedef struct scl_ids {
    const int32_t *g; /* (classes) loss gradient, exponent SCL_LOSS_EXPONENT */
    const int8_t *h;  /* (inputs) what the last layer reads */
    int exponent;     /* of h */
    uint32_t classes; /* 1 .. 256 */
    uint32_t inputs;  /* 1 .. 65535 */
    uint16_t share;   /* of the samples that are learnt, in 2^-16; above 0 */
} scl_ids;

/* Is the sample learnt? Moves the threshold. */
bool scl_ids_takes(const scl_ids *sample, int32_t *threshold);

/* May this threshold be in a state that came from elsewhere (scl_admit)? */
bool scl_ids_fits(int32_t threshold);

#endif
