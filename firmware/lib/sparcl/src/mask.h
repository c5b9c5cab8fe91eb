/* mask.h - the stored blocks of one sparse layer: which are the lowest, removing and adding blocks
 * in place (docs/numerics.md, "Masks that learn"). Runs at events only, so block shape and index
 * width are looked up, not compiled in. */
#ifndef SPARCL_SRC_MASK_H
#define SPARCL_SRC_MASK_H

#include <stdbool.h>
#include <stdint.h>

/* The memory of a sparse layer's blocks, in storage order, which is the canonical order: by group
 * of rows, then by block column. */
typedef struct scl_mask {
    int16_t *master;   /* (capacity * block) M' */
    int16_t *anchor;   /* (capacity * block) EWC's A', as are the next two: NULL without it */
    uint16_t *held;    /* F */
    uint16_t *fresh;   /* H */
    uint16_t *start;   /* (groups + 1) first block of each group; NULL where masks stay */
    void *index;       /* (capacity) block column, uint8_t or uint16_t; NULL where masks stay */
    uint8_t *terms;    /* (capacity) codes of measured importance; NULL: none are measured */
    uint8_t *selected; /* (capacity) bits; NULL: every block learns */
    uint16_t groups;
    uint16_t columns; /* block columns, 1 .. 65535 */
    uint16_t capacity;
    uint8_t block; /* weights a block */
    uint8_t index_bytes;
} scl_mask;

#define SCL_TERM_GROWN 255u /* the term of a block never measured yet */

/* An 8-bit float with 3 bits behind the leading one: monotonous, 0 .. 239. */
uint32_t scl_code(uint32_t t);
/* The smallest number of that code; c at most 239. */
uint32_t scl_decode(uint32_t c);

/* The code of item i's key; SCL_NO_KEY: not a candidate. */
typedef uint32_t scl_code_of(const void *of, uint32_t i);
#define SCL_NO_KEY 256u

/* Which items of a walk from 0 upwards are among the n lowest. */
typedef struct scl_cut {
    uint32_t code;   /* lower codes are taken, higher ones are not */
    uint32_t ties;   /* candidates with just this code */
    uint32_t first;  /* of those, `taken` are taken from this one on, modulo ties */
    uint32_t taken;  /* 0 .. ties */
    uint32_t number; /* ties met so far */
} scl_cut;

/* The cut below which the n lowest of `total` items lie; all candidates if they are fewer. Calls
 * code_of 8 times an item instead of counting in a table of 256. hash: chooses among ties. */
scl_cut scl_cut_find(scl_code_of *code_of, const void *of, uint32_t total, uint32_t n,
                     uint32_t hash);
/* Is the next item, whose key has this code, taken? */
bool scl_cut_takes(scl_cut *cut, uint32_t code);

/* Remove the n lowest blocks, n below the blocks stored. */
void scl_mask_shrink(scl_mask *mask, scl_code_of *code_of, const void *of, uint32_t n,
                     uint32_t hash);
/* Add n blocks of weight 0, which nothing holds, at most as many as there is room for, chosen by
 * counter-based random numbers of (seed, step, layer). They learn until the next selection. */
void scl_mask_grow(scl_mask *mask, uint32_t n, uint32_t seed, uint32_t step, uint32_t layer);
/* Let all but the n lowest of `stored` blocks learn. */
void scl_mask_select(scl_mask *mask, scl_code_of *code_of, const void *of, uint32_t stored,
                     uint32_t n, uint32_t hash);

#endif
