#include "sparcl/lock.h"

#include "sparcl/session.h"

/* Does a message change what is learnt or kept or how the board is reached, or tell all of it? */
static bool needs_key(uint8_t kind)
{
    switch (kind) {
    case SCL_MSG_RESET:
    case SCL_MSG_BEGIN_TASK:
    case SCL_MSG_OBSERVE:
    case SCL_MSG_END_TASK:
    case SCL_MSG_REMEMBER:
    case SCL_MSG_END_EPOCH:
    case SCL_MSG_COMMIT:
    case SCL_MSG_READ_STATE:
    case SCL_MSG_WRITE_STATE:
    case SCL_MSG_SPEED: /* or anybody could leave the board where no host looks for it */
        return true;
    default:
        return false;
    }
}

static void put_u32(uint8_t *at, uint32_t value)
{
    for (int i = 0; i < 4; i++) {
        at[i] = (uint8_t)(value >> (8 * i));
    }
}

bool scl_lock_admits(const scl_session *s, uint8_t kind, uint32_t number, size_t *payload_bytes)
{
    if (!needs_key(kind)) {
        return true;
    }
    if (s->boot == 0 || *payload_bytes < SCL_MAC_BYTES) {
        return false; /* without a commit no conversation is a new one */
    }
    *payload_bytes -= SCL_MAC_BYTES;
    const uint8_t *payload = s->decoder.bytes + SCL_FRAME_HEAD;
    uint8_t place[24] = {kind};
    put_u32(place + 4, number);
    put_u32(place + 8, s->boot);
    put_u32(place + 12, s->hellos);
    put_u32(place + 16, s->learner->model->hash);
    const uint64_t code = scl_siphash(s->lock->key, place, sizeof place, payload, *payload_bytes);
    uint8_t differs = 0; /* all of it is compared, so that the time says nothing */
    for (size_t i = 0; i < SCL_MAC_BYTES; i++) {
        differs |= (uint8_t)(payload[*payload_bytes + i] ^ (uint8_t)(code >> (8 * i)));
    }
    return differs == 0;
}
