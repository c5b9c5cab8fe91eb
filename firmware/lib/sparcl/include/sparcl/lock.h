/* lock.h - who may change what a board has learnt, or read it back.
 *
 *     static const scl_lock lock = {scl_lock_admits, {0x00, 0x01, ..}};   // 16 secret bytes
 *     session.lock = &lock;                       // after scl_session_init, with a store
 *
 * A locked session acts on messages that change or tell the state only with a message
 * authentication code behind their payload (docs/protocol.md, "The lock"). It needs a store:
 * the number of its last commit makes every conversation another one, also over a reset.
 */
#ifndef SPARCL_LOCK_H
#define SPARCL_LOCK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SCL_KEY_BYTES 16u
#define SCL_MAC_BYTES 8u

struct scl_session;

typedef struct scl_lock {
    /* scl_lock_admits: a session without a lock does not link it. */
    bool (*admits)(const struct scl_session *session, uint8_t kind, uint32_t number,
                   size_t *payload_bytes);
    uint8_t key[SCL_KEY_BYTES];
} scl_lock;

/* May the frame just received, of this kind and with this number in the conversation, be acted on?
 * If it carries a code, *payload_bytes becomes what is left without it. */
bool scl_lock_admits(const struct scl_session *session, uint8_t kind, uint32_t number,
                     size_t *payload_bytes);

/* SipHash-2-4 (Aumasson and Bernstein 2012) of `head` and then `data` under `key`, (SCL_KEY_BYTES);
 * head_bytes is a multiple of 8. */
uint64_t scl_siphash(const uint8_t *key, const uint8_t *head, size_t head_bytes,
                     const uint8_t *data, size_t n);

#endif
