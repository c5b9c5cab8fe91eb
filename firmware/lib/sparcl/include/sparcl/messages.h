/* messages.h - what host and board say to each other (docs/protocol.md).
 *
 * These lists are the only place: enum, length check, counters and replies are
 * made from them, and tests/test_facts.py holds docs/protocol.md and
 * host/sparcl_mcu/link/messages.py equal to them.
 */
#ifndef SPARCL_MESSAGES_H
#define SPARCL_MESSAGES_H

#include <stdint.h>

/* Raised whenever an old host and a new board could misunderstand each other. */
#define SCL_PROTOCOL_VERSION 6

/* A reply has its request's kind and this bit. */
#define SCL_REPLY 0x80u

/* Name, kind (below 0x7F), request payload: fixed bytes, then sets of classes (a bit each), then
 * samples of int8[inputs]. */
#define SCL_MESSAGE_LIST(X)                                                                        \
    X(HELLO, 0x01, 4, 0, 0)                                                                        \
    X(RESET, 0x02, 23, 0, 0)                                                                       \
    X(BEGIN_TASK, 0x03, 6, 1, 0)                                                                   \
    X(OBSERVE, 0x04, 3, 0, 1)                                                                      \
    X(END_TASK, 0x05, 0, 0, 0)                                                                     \
    X(PREDICT, 0x06, 0, 0, 1)                                                                      \
    X(STATE_HASH, 0x07, 0, 0, 0)                                                                   \
    X(STATS, 0x08, 0, 0, 0)                                                                        \
    X(REMEMBER, 0x09, 1, 0, 1)                                                                     \
    X(END_EPOCH, 0x0A, 0, 0, 0)                                                                    \
    X(WANTED, 0x0B, 2, 0, 0)                                                                       \
    X(PREDICT_AMONG, 0x0C, 0, 1, 1)                                                                \
    X(LAYER, 0x0D, 1, 0, 0)                                                                        \
    X(BUFFER, 0x0E, 1, 0, 0)                                                                       \
    X(COMMIT, 0x0F, 4, 0, 0)                                                                       \
    X(STORE, 0x10, 0, 0, 0)                                                                        \
    X(READ_STATE, 0x11, 2, 0, 0)                                                                   \
    X(WRITE_STATE, 0x12, 66, 0, 0)                                                                 \
    X(SPEED, 0x13, 4, 0, 0)

/* The most samples one WANTED reply tells about, and classes one BUFFER reply: 128 bytes each. */
#define SCL_WANTED_SAMPLES 1024u
#define SCL_BUFFER_CLASSES 64u

/* Bytes within which a new speed must bring a whole frame: two HELLOs, and some. */
#define SCL_SPEED_TRIAL 32u

#define SCL_MESSAGE_ENUM(name, kind, ...) SCL_MSG_##name = (kind),
typedef enum scl_message {
    SCL_MSG_NAK = 0xFF, /* board to host only: reason u8, expected seq u8 */
    SCL_MESSAGE_LIST(SCL_MESSAGE_ENUM)
} scl_message;
#undef SCL_MESSAGE_ENUM

/* Why a frame was not accepted. */
#define SCL_NAK_LIST(X)                                                                            \
    X(DAMAGED, 1) /* the CRC differs or the stuffing is broken */                                  \
    X(SHORT, 2)   /* too short to be a frame */                                                    \
    X(LONG, 3)    /* longer than the frame buffer */                                               \
    X(ORDER, 4)   /* whole, but a frame before it is missing */                                    \
    X(CLOSED, 5)  /* whole, but no HELLO came since power-on */

#define SCL_NAK_ENUM(name, value) SCL_NAK_##name = (value),
typedef enum scl_nak { SCL_NAK_LIST(SCL_NAK_ENUM) } scl_nak;
#undef SCL_NAK_ENUM

/* Frames received since power-on, each counted in exactly one; in the order of the STATS reply. */
#define SCL_LINK_COUNTER_LIST(X)                                                                   \
    X(frames_ok)    /* acted on */                                                                 \
    X(bad_crc)      /* NAK DAMAGED */                                                              \
    X(too_long)     /* NAK LONG */                                                                 \
    X(too_short)    /* NAK SHORT */                                                                \
    X(repeated)     /* answered again without acting */                                            \
    X(out_of_order) /* NAK ORDER */                                                                \
    X(unknown_kind) /* refused with SCL_ERR_KIND */                                                \
    X(refused)      /* refused with any other error */

#define SCL_LINK_COUNTER_FIELD(name) uint32_t name;
typedef struct scl_link_counters {
    SCL_LINK_COUNTER_LIST(SCL_LINK_COUNTER_FIELD)
} scl_link_counters;
#undef SCL_LINK_COUNTER_FIELD

#endif
