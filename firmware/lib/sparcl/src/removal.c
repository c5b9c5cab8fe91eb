#include "removal.h"

#include <string.h>

#include "mask.h"
#include "sparcl/ops.h"
#include "state.h"

enum { PURPOSE_DDR = 2 };

#define MOST_WRONG 15u /* a count: 0 not seen, else 1 + times wrong */

static uint32_t count_of(const uint8_t *counts, uint32_t number)
{
    return (uint32_t)counts[number >> 1] >> (4 * (number & 1)) & 15u;
}

void scl_removal_begin(scl_learner *learner)
{
    uint8_t *alive = scl_member(learner, learner->model->alive_offset);
    learner->state->removed = 0;
    memset(alive, 0, (learner->model->ddr + 7u) / 8u);
    for (uint32_t i = 0; i < learner->state->samples; i++) {
        scl_bit_set(alive, i, true);
    }
    scl_removal_forget(learner);
}

void scl_removal_note(scl_learner *learner, uint32_t number, bool wrong)
{
    uint8_t *counts = scl_member(learner, learner->model->wrong_offset);
    uint8_t *byte = &counts[number >> 1];
    const uint32_t shift = 4 * (number & 1);
    uint32_t count = count_of(counts, number);
    count = count == 0 ? 1 : count;
    count += wrong && count < MOST_WRONG;
    *byte = (uint8_t)((*byte & ~(15u << shift)) | count << shift);
}

void scl_removal_forget(scl_learner *learner)
{
    memset(scl_member(learner, learner->model->wrong_offset), 0, (learner->model->ddr + 1u) / 2u);
}

bool scl_wanted(const scl_learner *learner, uint32_t number)
{
    const scl_state *state = learner->state;
    if (number >= state->samples) {
        return false;
    }
    return state->config.ddr_fraction == 0 ||
           scl_bit(scl_member(learner, learner->model->alive_offset), number);
}

/* scl_code_of of a sample: alive and seen since the counts were cleared, or no candidate. */
static uint32_t times_wrong(const void *of, uint32_t number)
{
    const scl_learner *learner = of;
    const uint32_t count = count_of(scl_member(learner, learner->model->wrong_offset), number);
    return count > 0 && scl_wanted(learner, number) ? scl_code(count) : SCL_NO_KEY;
}

void scl_remove_easiest(scl_learner *learner)
{
    scl_state *state = learner->state;
    const uint32_t epoch = state->epochs_done;
    const uint32_t last = 2u * state->epochs / 5u; /* at least 1: scl_schedule_check asked for 3 */
    if (epoch > last) {
        return;
    }
    /* as many that floor(n rho epoch / (65536 last)) are removed by now; nothing is divided */
    const uint64_t share = (uint64_t)state->samples * state->config.ddr_fraction * epoch;
    uint32_t more = 0;
    while ((state->removed + more + 1ull) * 65536 * last <= share) {
        more++;
    }
    const uint32_t hash =
        scl_hash32(state->config.seed, SCL_STREAM_TIES, state->step, 0, PURPOSE_DDR);
    scl_cut cut = scl_cut_find(times_wrong, learner, state->samples, more, hash);
    uint8_t *alive = scl_member(learner, learner->model->alive_offset);
    for (uint32_t i = 0; i < state->samples; i++) {
        if (scl_cut_takes(&cut, times_wrong(learner, i))) {
            scl_bit_set(alive, i, false);
            state->removed++;
            learner->counters.removed++;
        }
    }
}
