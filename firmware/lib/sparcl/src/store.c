#include "sparcl/store.h"

#include <stddef.h>
#include <string.h>

#include "sparcl/crc32.h"
#include "state.h"

/* Written behind the state, last. */
typedef struct tail {
    scl_counters counters;
    uint32_t commits; /* 1, 2, .. : the highest is the newest */
    uint32_t every;
    uint32_t erased[7]; /* 0xFF..: to a whole number of the largest units */
    uint32_t crc;       /* of the state and of everything before this */
} tail;

_Static_assert(sizeof(tail) % SCL_FLASH_UNIT_MAX == 0, "a tail is whole units");
_Static_assert(SCL_FLASH_PIECE % SCL_FLASH_UNIT_MAX == 0, "a piece is whole units");

static uint32_t round_up(uint32_t n, uint32_t to)
{
    return (n + to - 1u) / to * to;
}

static uint32_t tail_offset(const scl_store *store)
{
    return round_up(store->learner->model->state_bytes, SCL_FLASH_UNIT_MAX);
}

static uint32_t least(uint32_t a, uint32_t b)
{
    return a < b ? a : b;
}

/* Is a whole commit of this network in the slot? */
static bool read_tail(const scl_store *store, uint32_t slot, tail *found)
{
    const scl_model *model = store->learner->model;
    const scl_flash *flash = store->flash;
    const uint32_t start = slot * store->slot_bytes;
    union {
        uint8_t bytes[SCL_FLASH_PIECE];
        uint32_t head[3];
    } piece;
    uint32_t crc = 0;
    for (uint32_t at = 0; at < model->state_bytes; at += SCL_FLASH_PIECE) {
        const uint32_t n = least(SCL_FLASH_PIECE, model->state_bytes - at);
        flash->read(start + at, piece.bytes, n);
        if (at == 0 && !scl_is_state_of(model, piece.head)) {
            return false;
        }
        crc = scl_crc32(crc, piece.bytes, n);
    }
    flash->read(start + tail_offset(store), (uint8_t *)found, sizeof *found);
    return scl_crc32(crc, found, offsetof(tail, crc)) == found->crc;
}

scl_err scl_store_open(scl_store *store, scl_learner *learner, const scl_flash *flash)
{
    *store = (scl_store){.commit = scl_store_commit, .learner = learner, .flash = flash};
    const uint32_t needed = tail_offset(store) + (uint32_t)sizeof(tail);
    if (flash->bytes < 2u * needed) {
        return SCL_ERR_STORE;
    }
    store->slot_bytes = round_up(needed, flash->sector_bytes);
    store->slots = flash->bytes / store->slot_bytes;
    if (store->slots < 2) {
        return SCL_ERR_STORE;
    }
    store->newest = store->tried = store->slots - 1;
    for (uint32_t slot = 0; slot < store->slots; slot++) {
        tail found;
        if (read_tail(store, slot, &found) && found.commits > store->commits) {
            store->newest = store->tried = slot;
            store->commits = found.commits;
            store->every = found.every;
            learner->counters = found.counters;
        }
    }
    if (store->commits > 0) {
        flash->read(store->newest * store->slot_bytes, (uint8_t *)learner->state,
                    learner->model->state_bytes);
    }
    return SCL_OK;
}

static bool write(scl_store *store, uint32_t offset, const void *data, uint32_t n)
{
    const uint8_t *bytes = data;
    for (uint32_t at = 0; at < n; at += SCL_FLASH_PIECE) {
        uint8_t piece[SCL_FLASH_PIECE];
        const uint32_t left = least(SCL_FLASH_PIECE, n - at);
        const uint32_t units = round_up(left, store->flash->unit_bytes);
        memset(piece, 0xff, sizeof piece);
        memcpy(piece, bytes + at, left);
        if (!store->flash->program(offset + at, piece, units)) {
            return false;
        }
        store->programmed += units;
    }
    return true;
}

static bool fill(scl_store *store, uint32_t slot, const tail *end)
{
    const scl_learner *learner = store->learner;
    const uint32_t start = slot * store->slot_bytes;
    for (uint32_t at = 0; at < store->slot_bytes; at += store->flash->sector_bytes) {
        if (!store->flash->erase(start + at)) {
            return false;
        }
        store->erased++;
    }
    return write(store, start, learner->state, learner->model->state_bytes) &&
           write(store, start + tail_offset(store), end, sizeof *end);
}

/* The slot after the last attempt's, but never that of the last commit. */
static uint32_t next_slot(const scl_store *store)
{
    uint32_t slot = (store->tried + 1u) % store->slots;
    if (slot == store->newest && store->commits > 0) {
        slot = (slot + 1u) % store->slots;
    }
    return slot;
}

scl_err scl_store_commit(scl_store *store)
{
    const scl_learner *learner = store->learner;
    tail end;
    memset(&end, 0xff, sizeof end);
    end.counters = learner->counters;
    end.commits = store->commits + 1u;
    end.every = store->every;
    end.crc = scl_crc32(0, learner->state, learner->model->state_bytes);
    end.crc = scl_crc32(end.crc, &end, offsetof(tail, crc));
    store->tried = next_slot(store);
    tail kept;
    if (!fill(store, store->tried, &end) || !read_tail(store, store->tried, &kept) ||
        kept.crc != end.crc) {
        store->failed++;
        return SCL_ERR_FLASH;
    }
    store->newest = store->tried;
    store->commits = end.commits;
    return SCL_OK;
}
