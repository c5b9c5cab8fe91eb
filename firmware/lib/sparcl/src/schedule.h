/* schedule.h - the course of a task: its position, its events, and the sweeps that measure for them
 * (docs/numerics.md, "Masks that learn"). */
#ifndef SPARCL_SRC_SCHEDULE_H
#define SPARCL_SRC_SCHEDULE_H

#include "sparcl/sparcl.h"

/* Slices of a layer in a sweep: of the most blocks it may have, however many are stored. */
uint32_t scl_layer_slices(const scl_learner *learner, const scl_layer *layer);

/* Can the open settings follow their schedule in such a task? If so, begin it: event 0. */
scl_err scl_schedule_check(const scl_learner *learner, const scl_task *task);
void scl_schedule_begin(scl_learner *learner, const scl_task *task);

/* Of the passes that train: lower in the last epochs of a task, as the settings' `anneal` says. */
scl_rate scl_schedule_rate(const scl_state *state);

/* Is this step part of an importance window? */
bool scl_schedule_measures(const scl_learner *learner);

/* A step is over: the event that is due, if any, and not before its sweep is over. */
void scl_schedule_event(scl_learner *learner);

/* An epoch is over, and the position moved past samples that were removed: every event that
 * is due. */
void scl_schedule_catch_up(scl_learner *learner);

#endif
