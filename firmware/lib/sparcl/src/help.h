/* help.h - an answer for a person who types at the port. */
#ifndef SPARCL_SRC_HELP_H
#define SPARCL_SRC_HELP_H

#include "sparcl/session.h"

/* Take the next byte of the line. True when it ends a line `help` before which, since the last
 * 0x00, only text has come: no frame looks like that, its kind is no text. */
bool scl_help_wanted(scl_session *session, uint8_t byte);

/* Say what this is and how to talk to it, in plain text; a 0x00 behind it ends it for a host. */
void scl_help_answer(const scl_session *session);

#endif
