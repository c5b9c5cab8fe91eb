#include "sparcl/ewc.h"

#include "ops/output.h"
#include "sparcl/crc32.h"

#define SQUARES 7 /* a square of 2^(SQUARES - 2 e_w + alpha_shift) is one unit of a hold */

/* The lowest `shift` bits of a number drawn from 2^32, as if it had as many; shift <= 62. */
static uint64_t spread(uint32_t draw, uint32_t shift)
{
    return shift <= 32 ? (uint64_t)draw >> (32 - shift) : (uint64_t)draw << (shift - 32);
}

/* Of earlier tasks: what is taken from a master, rounded down or up at random. */
static int32_t pull(const scl_ewc *layer, uint32_t i, int32_t dither)
{
    const int32_t way = layer->master[i] - layer->anchor[i];
    return (layer->held[i] * way + dither) >> SCL_EWC_BITS;
}

/* The steps of `count` weights. */
static void step(const scl_ewc *layer, const int32_t *gathered, uint32_t first, uint32_t count,
                 int32_t dither)
{
    for (uint32_t i = first; i < first + count; i++) {
        const int32_t change = scl_rsr(gathered[i], 8) + pull(layer, i, dither);
        layer->master[i] = scl_master_clamp(layer->master[i] - scl_sat(change, 32767));
    }
}

/* Squares of steps, rounded likewise, of `per` weights that share an exponent. */
static void note(uint16_t *hold, const int32_t *gathered, uint32_t per, int shift, uint32_t draw)
{
    if (shift > 62) {
        return;
    }
    const uint32_t by = shift > 0 ? (uint32_t)shift : 0;
    const uint64_t dither = spread(draw, by);
    for (uint32_t i = 0; i < per; i++) {
        const uint64_t square = (uint64_t)((int64_t)gathered[i] * gathered[i]);
        const uint64_t total = hold[i] + ((square + dither) >> by);
        hold[i] = (uint16_t)(total < SCL_EWC_MOST ? total : SCL_EWC_MOST);
    }
}

static void note_all(const scl_ewc *layer, uint16_t *hold, const int32_t *gathered, int alpha_shift,
                     uint32_t draw)
{
    for (uint32_t i = 0; i < layer->n; i += layer->per) {
        const int shift = SQUARES - 2 * layer->e_w[i / layer->per] + alpha_shift;
        note(hold + i, gathered + i, layer->per, shift, draw);
    }
}

void scl_ewc_learn(const scl_ewc *layer, const int32_t *gathered, const scl_state *state)
{
    const scl_config *config = &state->config;
    if (!state->task_open) {
        const uint32_t draw =
            scl_hash32(config->seed, SCL_STREAM_ROUNDING, state->seen, layer->number, 1);
        note_all(layer, layer->held, gathered, config->alpha_shift, draw);
        return;
    }
    const uint32_t draw =
        scl_hash32(config->seed, SCL_STREAM_ROUNDING, state->step, layer->number, 0);
    const int32_t dither = (int32_t)spread(draw, SCL_EWC_BITS);
    if (layer->selected == NULL) {
        step(layer, gathered, 0, layer->n, dither);
    } else {
        for (uint32_t b = 0; b * layer->block < layer->n; b++) {
            if (scl_bit(layer->selected, b)) {
                step(layer, gathered, b * layer->block, layer->block, dither);
            }
        }
    }
    if (config->replay == SCL_REPLAY_EWC && state->epochs_done + 1 >= state->epochs) {
        note_all(layer, layer->fresh, gathered, config->alpha_shift, draw);
    }
}

void scl_ewc_end_task(const scl_ewc *layer)
{
    for (uint32_t i = 0; i < layer->n; i++) {
        const uint32_t total = (uint32_t)layer->held[i] + layer->fresh[i];
        layer->held[i] = (uint16_t)(total < SCL_EWC_MOST ? total : SCL_EWC_MOST);
        layer->fresh[i] = 0;
        layer->anchor[i] = layer->master[i];
    }
}

uint32_t scl_ewc_hash(const scl_ewc *layer, uint32_t crc)
{
    crc = scl_crc32(crc, layer->anchor, layer->n * sizeof *layer->anchor);
    crc = scl_crc32(crc, layer->held, layer->n * sizeof *layer->held);
    return scl_crc32(crc, layer->fresh, layer->n * sizeof *layer->fresh);
}

bool scl_ewc_fits(const uint16_t *holds, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++) {
        if (holds[i] > SCL_EWC_MOST) {
            return false;
        }
    }
    return true;
}
