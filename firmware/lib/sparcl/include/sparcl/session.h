/* session.h - a learner served over a serial line (docs/protocol.md).
 *
 * One application of sparcl.h: bytes go in, calls are made, replies go out.
 *
 *     static uint8_t frame[SCL_FRAME_BYTES(SCL_MODEL_INPUTS, SCL_MODEL_CLASSES)];
 *     static scl_session session;
 *     static const scl_session_io io = {uart_write, instructions, stack_used, "my board", 8};
 *     scl_session_init(&session, &learner, NULL, &io, frame, sizeof frame);
 *     for (;;)
 *         scl_session_receive(&session, bytes, uart_read(bytes, sizeof bytes));
 *
 * Memory is the caller's, and bounded: this block and one frame.
 */
#ifndef SPARCL_SESSION_H
#define SPARCL_SESSION_H

#include <stddef.h>
#include <stdint.h>

#include "sparcl/frame.h"
#include "sparcl/lock.h"
#include "sparcl/messages.h"
#include "sparcl/sparcl.h"
#include "sparcl/store.h"

/* Replies kept so that a repeated frame is answered without acting: the largest
 * window a board can offer. 4 bytes each. */
#define SCL_WINDOW_MAX 32u

/* Told in HELLO, so that a host can say which build it talks to. */
#ifndef SCL_BUILD_ID
#define SCL_BUILD_ID 0u
#endif

/* What a port provides. Constant; outlives the session. */
typedef struct scl_session_io {
    /* Send all n bytes (at most SCL_REPLY_BYTES). Called once a frame received, and
     * for lines of text to a person, from within scl_session_receive. May block until
     * there is room. */
    void (*write)(const uint8_t *data, size_t n);
    /* Instructions executed so far, modulo 2^32; called just before and after
     * each sample is learnt. Always 0 where they cannot be counted. */
    uint32_t (*instructions)(void);
    /* Most bytes of stack in use at any one time since power-on; called for a
     * STATS reply. 0 where it is not known. */
    uint32_t (*stack_used)(void);
    const char *board; /* name, UTF-8; only SCL_BOARD_NAME_MAX bytes are told */
    /* Frames that may be on their way at once, 1 .. SCL_WINDOW_MAX: as many
     * SCL_WIRE_BYTES as the port can hold while a sample is learnt. */
    uint8_t window;
} scl_session_io;

#define SCL_BOARD_NAME_MAX 32u
/* The longest replies: STATS (status, eight u32, eight u64, the link counters), and WANTED and
 * BUFFER (status, 128 bytes), as long by chance. */
#define SCL_REPLY_BYTES SCL_SEAL_BYTES(1u + 8u * 4u + 8u * 8u + sizeof(scl_link_counters))

/* A reply that can be given again. */
typedef struct scl_session_reply {
    uint8_t kind; /* of the request */
    int8_t status;
    uint16_t value; /* the class predicted; of what is told in pieces: which was asked for */
} scl_session_reply;

/* The state of the conversation. Its fields are the session's own. */
typedef struct scl_session {
    scl_learner *learner;
    const scl_session_io *io;
    scl_store *store;      /* NULL: none */
    const scl_lock *lock;  /* NULL: none, as scl_session_init leaves it */
    uint32_t boot;         /* locked: number of the commit made before the first HELLO */
    uint32_t hellos;       /* since power-on: conversations */
    uint32_t token;        /* of the last HELLO */
    uint32_t numbered;     /* frames since the last HELLO that used a sequence number up */
    uint64_t instructions; /* spent learning since reset or power-on */
    uint32_t uncommitted;  /* samples observed since the last commit, reset or power-on */
    scl_frame_decoder decoder;
    scl_link_counters link;
    scl_session_reply replies[SCL_WINDOW_MAX]; /* by seq modulo SCL_WINDOW_MAX */
    uint8_t expected;                          /* next sequence number */
    uint32_t written;                          /* bytes of a state being written, 0: none */
    uint8_t kept;                              /* replies kept, up to expected - 1 */
    uint8_t typed;                             /* of the word `help`, see src/help.c */
    bool open;                                 /* a HELLO came since power-on */
} scl_session;

/* Serve `learner`, which scl_init has bound to its memory. `store` is its store, open, or NULL.
 * `frame` has frame_bytes >= SCL_FRAME_BYTES(inputs, classes) bytes, and SCL_MAC_BYTES more for a
 * session that will be locked; all outlive the session. */
void scl_session_init(scl_session *session, scl_learner *learner, scl_store *store,
                      const scl_session_io *io, uint8_t *frame, size_t frame_bytes);

/* Take the next n bytes that arrived, however they were cut. Returns when every
 * frame they complete has been acted on and answered. */
void scl_session_receive(scl_session *session, const uint8_t *bytes, size_t n);

#endif
