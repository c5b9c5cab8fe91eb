/* store.h - what was learnt, kept in flash over any power cut.
 *
 *     static scl_store store;
 *     scl_init(&learner, &scl_model_generated, &state, &arena);
 *     scl_store_open(&store, &learner, &flash);  // back to the last commit, if there is one
 *     ...
 *     scl_store_commit(&store);                  // now and then, between two calls of sparcl.h
 *
 * The flash is cut into slots, each large enough for a whole state block. A commit erases the
 * slot that was written longest ago, writes the state there, and writes a tail with a
 * sequence number and a CRC last. So whenever the power fails, the newest slot that is
 * whole is the last commit, and it has not been touched. Slots wear evenly: with n of them
 * a sector is erased in every n-th commit.
 */
#ifndef SPARCL_STORE_H
#define SPARCL_STORE_H

#include <stdbool.h>
#include <stdint.h>

#include "sparcl/sparcl.h"

/* NOR flash as a port gives it. Constant; outlives the store. Offsets are bytes from the
 * start of what the store may use, all of it. */
typedef struct scl_flash {
    uint32_t bytes;        /* a multiple of sector_bytes */
    uint32_t sector_bytes; /* erased at once; a multiple of SCL_FLASH_UNIT_MAX */
    uint32_t unit_bytes;   /* programmed at once: 1, 2, 4 .. SCL_FLASH_UNIT_MAX */
    /* Set the sector at `offset` to 0xFF. False when the flash failed. */
    bool (*erase)(uint32_t offset);
    /* Write n bytes, at most SCL_FLASH_PIECE, to erased flash; offset and n are multiples of
     * unit_bytes, and no unit is programmed twice between two erasures. False when the flash
     * failed. */
    bool (*program)(uint32_t offset, const uint8_t *data, uint32_t n);
    void (*read)(uint32_t offset, uint8_t *data, uint32_t n);
} scl_flash;

#define SCL_FLASH_UNIT_MAX 32u
#define SCL_FLASH_PIECE    64u

/* A learner's store. Read its fields, do not write them; `every` is the caller's. */
typedef struct scl_store {
    /* scl_store_commit: who has no store, like a session without one, does not link it. */
    scl_err (*commit)(struct scl_store *store);
    scl_learner *learner;
    const scl_flash *flash;
    uint32_t slots;
    uint32_t slot_bytes; /* whole sectors */
    uint32_t newest;     /* slot of the last commit */
    uint32_t tried;      /* slot of the last attempt to commit */
    uint32_t commits;    /* of this network to this flash; 0: there is none to come back to */
    uint32_t every;      /* samples between two commits the session makes itself; 0: none */
    uint32_t failed;     /* commits the flash refused, since power-on */
    uint32_t erased;     /* sectors, since power-on */
    uint32_t programmed; /* bytes, since power-on */
} scl_store;

/* Bind `learner`, which scl_init has bound to its memory, to flash. If a commit of this
 * network is there, learner's state, counters and `every` are those of the newest one
 * (store->commits > 0). SCL_ERR_STORE when the flash does not hold two states; the store
 * is then not to be used. */
scl_err scl_store_open(scl_store *store, scl_learner *learner, const scl_flash *flash);

/* Keep what is learnt now. SCL_ERR_FLASH when the flash failed or did not keep what was
 * written; the last commit is then still there, and the next attempt takes another slot if
 * there are more than two. Takes the time the flash needs for the sectors of a slot. */
scl_err scl_store_commit(scl_store *store);

#endif
