#include "reply.h"

#include <string.h>

#include "sparcl/crc32.h"
#include "state.h"

#define RESET_BYTES 23u /* the settings, as RESET sends them and as scl_config lies in memory */

_Static_assert(offsetof(scl_config, anneal) + 1u == RESET_BYTES, "scl_config has no gaps");
_Static_assert(1u + SCL_WANTED_SAMPLES / 8u <= SCL_REPLY_BYTES - SCL_SEAL_BYTES(0u) &&
                   1u + 2u * SCL_BUFFER_CLASSES <= SCL_REPLY_BYTES - SCL_SEAL_BYTES(0u),
               "WANTED and BUFFER are no longer than a reply may be");
_Static_assert(SCL_REPLY_BYTES <= SCL_SEAL_BYTES(SCL_SEAL_MAX_PAYLOAD), "a reply is one COBS run");

/* Called from fifty places: flash is scarcer than the time of a reply. */
static __attribute__((noinline)) void put(uint8_t **at, uint64_t value, size_t bytes)
{
    for (; bytes > 0; bytes--, value >>= 8)
        *(*at)++ = (uint8_t)value;
}

static uint8_t window(const scl_session *s)
{
    if (s->io->window < 1)
        return 1;
    return s->io->window < SCL_WINDOW_MAX ? s->io->window : (uint8_t)SCL_WINDOW_MAX;
}

static void put_hello(const scl_session *s, uint8_t **at)
{
    const scl_model *model = s->learner->model;
    const scl_state *state = s->learner->state;
    put(at, s->token, 4);
    put(at, SCL_PROTOCOL_VERSION, 2);
    put(at, s->expected, 1);
    put(at, SCL_RUNTIME_VERSION, 2);
    put(at, SCL_BUILD_ID, 4);
    put(at, model->hash, 4);
    put(at, model->inputs, 2);
    put(at, model->classes, 2);
    put(at, model->replay_capacity, 2);
    put(at, window(s), 1);
    put(at, s->decoder.capacity - SCL_FRAME_OVERHEAD, 2);
    put(at, scl_crc32(0, &state->config, RESET_BYTES), 4);
    put(at, state->step, 4);
    put(at, state->seen, 4);
    put(at, state->position, 4);
    put(at, state->epochs_done, 2);
    put(at, state->tasks_begun, 2);
    put(at, state->task_open, 1);
    put(at, s->store == NULL ? 0 : s->store->commits, 4);
    put(at, s->uncommitted, 4);
    put(at, s->lock != NULL, 1);
    put(at, s->boot, 4);
    put(at, s->hellos, 4);
    for (size_t i = 0; i < SCL_BOARD_NAME_MAX && s->io->board[i] != '\0'; i++)
        put(at, (uint8_t)s->io->board[i], 1);
}

static void put_stats(const scl_session *s, uint8_t **at)
{
    const scl_counters *work = &s->learner->counters;
    put(at, work->steps, 4);
    put(at, work->predictions, 4);
    put(at, work->training_passes, 4);
    put(at, work->backward_passes, 4);
    put(at, work->skipped, 4);
    put(at, work->removed, 4);
    put(at, work->events, 4);
    put(at, work->macs_forward, 8);
    put(at, work->macs_input_grad, 8);
    put(at, work->macs_weight_grad, 8);
    put(at, work->macs_importance, 8);
    put(at, work->updates_watched, 8);
    put(at, work->updates_dead, 8);
    put(at, work->updates_saturated, 8);
    put(at, s->instructions, 8);
    put(at, s->io->stack_used(), 4);
#define PUT_COUNTER(name) put(at, s->link.name, 4);
    SCL_LINK_COUNTER_LIST(PUT_COUNTER)
#undef PUT_COUNTER
}

static void put_wanted(const scl_session *s, uint32_t first, uint8_t **at)
{
    const uint32_t samples = s->learner->state->samples;
    const uint32_t left = first < samples ? samples - first : 0;
    const uint32_t n = left < SCL_WANTED_SAMPLES ? left : SCL_WANTED_SAMPLES;
    for (uint32_t i = 0; i < n; i += 8) {
        uint32_t byte = 0;
        for (uint32_t bit = 0; bit < 8; bit++) /* samples the task does not have are not wanted */
            byte |= (uint32_t)scl_wanted(s->learner, first + i + bit) << bit;
        put(at, byte, 1);
    }
}

static void put_layer(const scl_session *s, uint32_t index, uint8_t **at)
{
    scl_layer_info info = {0};
    (void)scl_layer_query(s->learner, index, &info);
    put(at, info.live, 4);
    put(at, info.learn, 4);
    put(at, info.terms, 4);
    put(at, info.weights, 4);
}

static void put_buffer(const scl_session *s, uint32_t first, uint8_t **at)
{
    const uint32_t end = first + SCL_BUFFER_CLASSES;
    for (uint32_t label = first; label < s->learner->model->classes && label < end; label++)
        put(at, scl_buffer_count(s->learner, (uint8_t)label), 2);
}

uint32_t scl_state_piece_bytes(const scl_session *s, uint32_t offset)
{
    const uint32_t left = s->learner->model->state_bytes - offset;
    return left < SCL_STATE_PIECE ? left : SCL_STATE_PIECE;
}

static void put_state(const scl_session *s, uint32_t piece, uint8_t **at)
{
    const uint32_t offset = piece * SCL_STATE_PIECE;
    memcpy(*at, (const uint8_t *)s->learner->state + offset, scl_state_piece_bytes(s, offset));
    *at += scl_state_piece_bytes(s, offset);
}

static void put_store(const scl_session *s, uint8_t **at)
{
    const scl_store *store = s->store;
    put(at, store->commits, 4);
    put(at, store->every, 4);
    put(at, s->uncommitted, 4);
    put(at, store->failed, 4);
    put(at, store->slots, 4);
    put(at, store->slot_bytes, 4);
    put(at, store->flash->sector_bytes, 4);
    put(at, store->erased, 4);
    put(at, store->programmed, 4);
}

static void send(const scl_session *s, uint8_t *wire, const uint8_t *end)
{
    s->io->write(wire, scl_frame_seal(wire, (size_t)(end - wire) - 1 - SCL_FRAME_HEAD));
}

void scl_reply_nak(const scl_session *s, scl_nak reason)
{
    uint8_t wire[SCL_SEAL_BYTES(2u)];
    uint8_t *at = wire + 1;
    put(&at, SCL_MSG_NAK, 1);
    put(&at, s->expected, 1);
    put(&at, reason, 1);
    put(&at, s->expected, 1);
    send(s, wire, at);
}

bool scl_needs_state(uint8_t kind)
{
    return kind != SCL_MSG_HELLO && kind != SCL_MSG_STATS && kind != SCL_MSG_RESET &&
           kind != SCL_MSG_WRITE_STATE && kind != SCL_MSG_STORE && kind != SCL_MSG_SPEED;
}

/* What is read may be half a state by now, for which the kept status does not speak. */
void scl_reply_send(const scl_session *s, uint8_t seq)
{
    scl_session_reply now = s->replies[seq % SCL_WINDOW_MAX];
    const scl_session_reply *reply = &now;
    if (s->written > 0 && scl_needs_state(now.kind))
        now.status = SCL_ERR_STATE;
    uint8_t wire[SCL_REPLY_BYTES];
    uint8_t *at = wire + 1;
    put(&at, reply->kind | SCL_REPLY, 1);
    put(&at, seq, 1);
    put(&at, (uint8_t)reply->status, 1);
    if (reply->status == SCL_OK) {
        switch (reply->kind) {
        case SCL_MSG_HELLO:
            put_hello(s, &at);
            break;
        case SCL_MSG_OBSERVE:
        case SCL_MSG_PREDICT:
        case SCL_MSG_PREDICT_AMONG:
            put(&at, reply->value, 1);
            break;
        case SCL_MSG_WANTED:
            put_wanted(s, reply->value, &at);
            break;
        case SCL_MSG_LAYER:
            put_layer(s, reply->value, &at);
            break;
        case SCL_MSG_BUFFER:
            put_buffer(s, reply->value, &at);
            break;
        case SCL_MSG_READ_STATE:
            put_state(s, reply->value, &at);
            break;
        case SCL_MSG_STORE:
            put_store(s, &at);
            break;
        case SCL_MSG_STATE_HASH:
            put(&at, scl_state_hash(s->learner), 4);
            break;
        case SCL_MSG_STATS:
            put_stats(s, &at);
            break;
        default:
            break;
        }
    }
    send(s, wire, at);
}
