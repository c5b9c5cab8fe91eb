#include "mask.h"

#include <string.h>

#include "sparcl/numerics.h"

uint32_t scl_code(uint32_t t)
{
    if (t < 8) {
        return t;
    }
    const uint32_t e = (uint32_t)scl_blen(t) - 4;
    return 8 + 8 * e + ((t >> e) & 7);
}

uint32_t scl_decode(uint32_t c)
{
    return c < 8 ? c : (8 + ((c - 8) & 7)) << ((c - 8) >> 3);
}

/* Items whose code is at most `code`. */
static uint32_t count(scl_code_of *code_of, const void *of, uint32_t total, uint32_t code)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < total; i++) {
        n += code_of(of, i) <= code;
    }
    return n;
}

scl_cut scl_cut_find(scl_code_of *code_of, const void *of, uint32_t total, uint32_t n,
                     uint32_t hash)
{
    uint32_t low = 0;
    uint32_t high = SCL_NO_KEY - 1;
    uint32_t below = 0; /* items under low */
    uint32_t up_to = 0; /* items up to high, once it has come down */
    while (low < high) {
        const uint32_t middle = (low + high) / 2;
        const uint32_t found = count(code_of, of, total, middle);
        if (found >= n) {
            high = middle;
            up_to = found;
        } else {
            low = middle + 1;
            below = found;
        }
    }
    if (high == SCL_NO_KEY - 1) {
        up_to = count(code_of, of, total, high);
    }
    const uint32_t ties = up_to - below;
    const uint32_t taken = n - below < ties ? n - below : ties;
    return (scl_cut){.code = low, .ties = ties, .first = scl_pick(hash, ties), .taken = taken};
}

bool scl_cut_takes(scl_cut *cut, uint32_t code)
{
    if (code != cut->code) {
        return code < cut->code;
    }
    const uint32_t number = cut->number++;
    const uint32_t turn = number >= cut->first ? 0 : cut->ties;
    return number + turn - cut->first < cut->taken;
}

static uint32_t column_of(const scl_mask *mask, uint32_t b)
{
    return mask->index_bytes == 1 ? ((const uint8_t *)mask->index)[b]
                                  : ((const uint16_t *)mask->index)[b];
}

static void set_column(const scl_mask *mask, uint32_t b, uint32_t column)
{
    if (mask->index_bytes == 1) {
        ((uint8_t *)mask->index)[b] = (uint8_t)column;
    } else {
        ((uint16_t *)mask->index)[b] = (uint16_t)column;
    }
}

/* One of the arrays that have a value of 16 bits for each weight; NULL: the network has none. */
static void move_weights(const scl_mask *mask, void *of_weights, uint32_t to, uint32_t from)
{
    int16_t *values = of_weights;
    if (values != NULL) {
        memcpy(values + to * mask->block, values + from * mask->block,
               mask->block * sizeof *values);
    }
}

static void fill_weights(const scl_mask *mask, void *of_weights, uint32_t b, int16_t value)
{
    int16_t *values = of_weights;
    for (uint32_t i = 0; values != NULL && i < mask->block; i++) {
        values[b * mask->block + i] = value;
    }
}

static void move_block(const scl_mask *mask, uint32_t to, uint32_t from)
{
    if (to == from) {
        return;
    }
    move_weights(mask, mask->master, to, from);
    move_weights(mask, mask->anchor, to, from);
    move_weights(mask, mask->held, to, from);
    move_weights(mask, mask->fresh, to, from);
    set_column(mask, to, column_of(mask, from));
    if (mask->terms != NULL) {
        mask->terms[to] = mask->terms[from];
    }
    if (mask->selected != NULL) {
        scl_bit_set(mask->selected, to, scl_bit(mask->selected, from));
    }
}

static void new_block(const scl_mask *mask, uint32_t b, uint32_t column)
{
    fill_weights(mask, mask->master, b, 128); /* M = 0 */
    fill_weights(mask, mask->anchor, b, 128);
    fill_weights(mask, mask->held, b, 0);
    fill_weights(mask, mask->fresh, b, 0);
    set_column(mask, b, column);
    if (mask->terms != NULL) {
        mask->terms[b] = SCL_TERM_GROWN;
    }
    if (mask->selected != NULL) {
        scl_bit_set(mask->selected, b, true);
    }
}

void scl_mask_shrink(scl_mask *mask, scl_code_of *code_of, const void *of, uint32_t n,
                     uint32_t hash)
{
    scl_cut cut = scl_cut_find(code_of, of, mask->start[mask->groups], n, hash);
    uint32_t from = 0;
    uint32_t to = 0; /* never overtakes `from`: a block is looked at before it is overwritten */
    for (uint32_t group = 0; group < mask->groups; group++) {
        for (const uint32_t end = mask->start[group + 1]; from < end; from++) {
            if (!scl_cut_takes(&cut, code_of(of, from))) {
                move_block(mask, to++, from);
            }
        }
        mask->start[group + 1] = (uint16_t)to;
    }
}

void scl_mask_grow(scl_mask *mask, uint32_t n, uint32_t seed, uint32_t step, uint32_t layer)
{
    const uint32_t stored = mask->start[mask->groups];
    const uint32_t whole = (uint32_t)mask->groups * mask->columns;
    const uint32_t room = mask->capacity - stored;
    uint32_t missing = whole - stored;
    uint32_t wanted = n < room ? n : room;
    if (wanted > missing) {
        wanted = missing;
    }
    /* Out of the way, to the end; then they are merged forward with the new ones, of which there
     * are at most `room`, so that `to` never overtakes `from`. */
    for (uint32_t b = stored; b-- > 0;) {
        move_block(mask, b + room, b);
    }
    uint32_t from = room;
    uint32_t to = 0;
    uint32_t number = 0; /* in the dense layer */
    const uint32_t hash =
        scl_hash_with(scl_hash_with(scl_hash_with(seed, SCL_STREAM_GROWTH), step), layer);
    for (uint32_t group = 0; group < mask->groups; group++) {
        const uint32_t end = room + mask->start[group + 1];
        for (uint32_t column = 0; column < mask->columns; column++, number++) {
            if (from < end && column_of(mask, from) == column) {
                move_block(mask, to++, from++);
                continue;
            }
            if (scl_pick(scl_hash_with(hash, number), missing--) < wanted) {
                new_block(mask, to++, column);
                wanted--;
            }
        }
        mask->start[group + 1] = (uint16_t)to;
    }
}

void scl_mask_select(scl_mask *mask, scl_code_of *code_of, const void *of, uint32_t stored,
                     uint32_t n, uint32_t hash)
{
    scl_cut cut = scl_cut_find(code_of, of, stored, n, hash);
    for (uint32_t b = 0; b < stored; b++) {
        scl_bit_set(mask->selected, b, !scl_cut_takes(&cut, code_of(of, b)));
    }
}
