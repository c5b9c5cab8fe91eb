/* reply.h - what a session answers. Reads it and the learner, never changes them. */
#ifndef SPARCL_SRC_REPLY_H
#define SPARCL_SRC_REPLY_H

#include "sparcl/session.h"

/* Send the kept reply to frame `seq`; that it changes nothing makes a repeated frame harmless. */
void scl_reply_send(const scl_session *session, uint8_t seq);

/* Say why a frame was not taken, and which is expected. */
void scl_reply_nak(const scl_session *session, scl_nak reason);

/* Does a message of this kind work with a state, which must then be there whole? */
bool scl_needs_state(uint8_t kind);

/* Bytes of the piece of the state that begins at `offset`: SCL_STATE_PIECE, or what is left. */
uint32_t scl_state_piece_bytes(const scl_session *session, uint32_t offset);

#endif
