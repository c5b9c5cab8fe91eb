/* ewc.h - online EWC (Schwarz et al. 2018): weights that earlier tasks need are held near where
 * those left them (docs/numerics.md, "EWC"). Called by generated code that has room for it;
 * applications choose SCL_REPLAY_EWC.
 */
#ifndef SPARCL_EWC_H
#define SPARCL_EWC_H

#include "sparcl/sparcl.h"

/* A layer's stored weights, in storage order. */
typedef struct scl_ewc {
    int16_t *master;
    int16_t *anchor;         /* (n) masters at the end of the last task */
    uint16_t *held;          /* (n) how much earlier tasks need a weight, 0 .. SCL_EWC_MOST */
    uint16_t *fresh;         /* (n) how much the open task does, likewise */
    const int8_t *e_w;       /* (n / per) exponents of the weights */
    const uint8_t *selected; /* (n / block) bits: blocks that learn; NULL: all */
    uint32_t block;          /* weights a block; where `selected` is not NULL */
    uint32_t n;
    uint32_t per;    /* weights that share an exponent */
    uint32_t number; /* among the trainable layers */
} scl_ewc;

#define SCL_EWC_BITS 15u
#define SCL_EWC_MOST 32767u

/* Masters learn what one sample gathered (n, exponents e_w - 16; 0 in blocks that are not
 * selected), and go the held part of the way back to their anchors. In the last epoch of a task it
 * is noted how much that sample needs. What is not selected stays as it is. Outside of a task the
 * sample is remembered: it is held at once what it needs, and masters stay. */
void scl_ewc_learn(const scl_ewc *layer, const int32_t *gathered, const scl_state *state);

/* The task is over: what it needs is held, too, where it is now. */
void scl_ewc_end_task(const scl_ewc *layer);

/* CRC-32 of anchors, held and fresh, in this order. */
uint32_t scl_ewc_hash(const scl_ewc *layer, uint32_t crc);

/* May these be in a state that came from elsewhere (scl_admit)? */
bool scl_ewc_fits(const uint16_t *holds, uint32_t n);

#endif
