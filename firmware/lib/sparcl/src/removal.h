/* removal.h - DDR: which samples of a task are offered again (docs/numerics.md, "DDR"). */
#ifndef SPARCL_SRC_REMOVAL_H
#define SPARCL_SRC_REMOVAL_H

#include "sparcl/sparcl.h"

/* A task opens: all of its samples are alive and none was seen. */
void scl_removal_begin(scl_learner *learner);

/* A sample was seen, and taken for the wrong class or not. */
void scl_removal_note(scl_learner *learner, uint32_t number, bool wrong);

/* Nothing was seen since now. */
void scl_removal_forget(scl_learner *learner);

#endif
