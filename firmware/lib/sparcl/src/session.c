#include "sparcl/session.h"

#include <string.h>

#include "help.h"
#include "sparcl/crc32.h"
#include "state.h"

#define RESET_BYTES 22u /* the settings, as RESET sends them and as scl_config lies in memory */

_Static_assert(offsetof(scl_config, ddr_fraction) + 2u == RESET_BYTES, "scl_config has no gaps");
_Static_assert(1u + SCL_WANTED_SAMPLES / 8u <= SCL_REPLY_BYTES - SCL_SEAL_BYTES(0u) &&
                   1u + 2u * SCL_BUFFER_CLASSES <= SCL_REPLY_BYTES - SCL_SEAL_BYTES(0u),
               "WANTED and BUFFER are no longer than a reply may be");
_Static_assert(SCL_REPLY_BYTES <= SCL_SEAL_BYTES(SCL_SEAL_MAX_PAYLOAD), "a reply is one COBS run");

static void put(uint8_t **at, uint64_t value, size_t bytes)
{
    for (; bytes > 0; bytes--, value >>= 8)
        *(*at)++ = (uint8_t)value;
}

static uint16_t get_u16(const uint8_t *at)
{
    return (uint16_t)(at[0] | at[1] << 8);
}

static uint32_t get_u32(const uint8_t *at)
{
    return at[0] | (uint32_t)at[1] << 8 | (uint32_t)at[2] << 16 | (uint32_t)at[3] << 24;
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

static uint32_t piece_bytes(const scl_session *s, uint32_t offset)
{
    const uint32_t left = s->learner->model->state_bytes - offset;
    return left < SCL_STATE_PIECE ? left : SCL_STATE_PIECE;
}

static void put_state(const scl_session *s, uint32_t piece, uint8_t **at)
{
    const uint32_t offset = piece * SCL_STATE_PIECE;
    memcpy(*at, (const uint8_t *)s->learner->state + offset, piece_bytes(s, offset));
    *at += piece_bytes(s, offset);
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

static void send_nak(const scl_session *s, scl_nak reason)
{
    uint8_t wire[SCL_SEAL_BYTES(2u)];
    uint8_t *at = wire + 1;
    put(&at, SCL_MSG_NAK, 1);
    put(&at, s->expected, 1);
    put(&at, reason, 1);
    put(&at, s->expected, 1);
    send(s, wire, at);
}

/* While only a part of a state is there, nothing may work with it. */
static bool needs_state(uint8_t kind)
{
    return kind != SCL_MSG_HELLO && kind != SCL_MSG_STATS && kind != SCL_MSG_RESET &&
           kind != SCL_MSG_WRITE_STATE && kind != SCL_MSG_STORE && kind != SCL_MSG_SPEED;
}

/* Reads the learner, never changes it: this is what makes a repeated frame harmless. What is read
 * may be half a state by now, for which the kept status does not speak. */
static void send_reply(const scl_session *s, uint8_t seq)
{
    scl_session_reply now = s->replies[seq % SCL_WINDOW_MAX];
    const scl_session_reply *reply = &now;
    if (s->written > 0 && needs_state(now.kind))
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

/* With a learner whose past is not this board's. */
static void start_over(scl_session *s)
{
    s->written = 0;
    s->instructions = 0;
    s->uncommitted = 0;
    s->learner->counters = (scl_counters){0};
}

/* The learner as it was made: what is left of a state that did not come whole. */
static void forget(scl_session *s)
{
    start_over(s);
    (void)scl_reset(s->learner, &s->learner->model->defaults);
}

/* A locked board commits before its first HELLO, so that no other power-on has the number. */
static void hello(scl_session *s, uint8_t seq)
{
    const uint32_t token = get_u32(s->decoder.bytes + SCL_FRAME_HEAD);
    const bool again = s->hellos > 0 && token == s->token;
    if (again && s->numbered > 1)
        return; /* a late copy: the conversation is under way */
    if (!again && s->written > 0)
        forget(s); /* whoever wrote it is gone */
    s->expected = seq;
    s->kept = 0;
    s->numbered = 0;
    s->token = token;
    s->hellos += !again; /* the same one sent again opens no other conversation */
    if (!s->open && s->lock != NULL && s->store != NULL && s->store->commit(s->store) == SCL_OK)
        s->boot = s->store->commits;
    s->open = true;
}

static scl_err check(const scl_session *s, uint8_t kind, size_t payload_bytes)
{
    const size_t inputs = s->learner->model->inputs;
    const size_t set = SCL_CLASS_BYTES(s->learner->model->classes);
    switch (kind) {
#define CHECK_LENGTH(name, value, fixed, sets, samples)                                            \
    case value:                                                                                    \
        return payload_bytes == (fixed) + (sets)*set + (samples)*inputs ? SCL_OK : SCL_ERR_LENGTH;
        SCL_MESSAGE_LIST(CHECK_LENGTH)
#undef CHECK_LENGTH
    default:
        return SCL_ERR_KIND;
    }
}

static scl_err reset(scl_session *s, const uint8_t *payload)
{
    scl_config config = {
        .seed = get_u32(payload),
        .lr_mantissa = payload[4],
        .lr_exponent = (int8_t)payload[5],
        .replay = payload[6],
        .alpha_shift = payload[7],
        .beta_shift = payload[8],
        .single_head_loss = payload[9],
        .importance = payload[10],
        .ddr_within_task = payload[11],
        .margin = get_u16(payload + 12),
        .tdm_intra = get_u16(payload + 14),
        .tdm_inter = get_u16(payload + 16),
        .dgm_share = get_u16(payload + 18),
        .ddr_fraction = get_u16(payload + 20),
    };
    scl_err err = scl_reset(s->learner, &config);
    if (err == SCL_OK)
        start_over(s);
    return err;
}

/* Pieces come in order. The first names the network; before it is right nothing is touched. */
static scl_err write_state(scl_session *s, const uint8_t *payload)
{
    scl_learner *learner = s->learner;
    const uint32_t offset = get_u16(payload) * SCL_STATE_PIECE;
    const uint32_t head[3] = {get_u32(payload + 2), get_u32(payload + 6), get_u32(payload + 10)};
    if (offset == 0 ? !scl_is_state_of(learner->model, head) : offset != s->written)
        return SCL_ERR_STATE;
    memcpy((uint8_t *)learner->state + offset, payload + 2, piece_bytes(s, offset));
    s->written = offset + piece_bytes(s, offset);
    if (s->written < learner->model->state_bytes)
        return SCL_OK;
    if (scl_admit(learner) != SCL_OK) {
        forget(s);
        return SCL_ERR_STATE;
    }
    start_over(s);
    return SCL_OK;
}

static scl_err begin_task(scl_session *s, const uint8_t *payload)
{
    const scl_task task = {
        .classes = payload + 6, .samples = get_u32(payload), .epochs = get_u16(payload + 4)};
    return scl_begin_task(s->learner, &task);
}

/* The calls that learn, whose instructions are counted; the link's and the store's are not. */
static scl_err learn(scl_session *s, uint8_t kind, const uint8_t *payload, uint8_t *predicted)
{
    const uint32_t before = s->io->instructions();
    scl_err err;
    switch (kind) {
    case SCL_MSG_BEGIN_TASK:
        err = begin_task(s, payload);
        break;
    case SCL_MSG_OBSERVE:
        err = scl_observe(s->learner, (const int8_t *)(payload + 3), payload[0],
                          get_u16(payload + 1), predicted);
        break;
    case SCL_MSG_END_EPOCH:
        err = scl_end_epoch(s->learner);
        break;
    default:
        err = scl_end_task(s->learner);
        break;
    }
    s->instructions += s->io->instructions() - before;
    return err;
}

static scl_err wanted(const scl_session *s, uint16_t first)
{
    if (!s->learner->state->task_open)
        return SCL_ERR_TASK;
    return first < s->learner->state->samples ? SCL_OK : SCL_ERR_SAMPLE;
}

/* `every` is part of what is committed; a commit that fails leaves it as it was. */
static scl_err commit(scl_session *s, uint32_t every)
{
    const uint32_t before = s->store->every;
    s->store->every = every;
    const scl_err err = s->store->commit(s->store);
    if (err == SCL_OK)
        s->uncommitted = 0;
    else
        s->store->every = before;
    return err;
}

/* Commit by itself, as COMMIT has told it. The learning is done and stays so: a failure shows in
 * the STORE reply, and the next try comes as many samples later. */
static void commit_if_due(scl_session *s, bool now)
{
    const uint32_t every = s->store == NULL ? 0 : s->store->every;
    if (every > 0 && (now || s->uncommitted % every == 0))
        (void)commit(s, every);
}

/* value: what the reply is made of. */
static scl_err act(scl_session *s, uint8_t kind, const uint8_t *payload, uint16_t *value)
{
    const scl_model *model = s->learner->model;
    uint8_t predicted = 0;
    scl_err err = SCL_OK;
    if (s->written > 0 && needs_state(kind))
        return SCL_ERR_STATE;
    switch (kind) {
    case SCL_MSG_RESET:
        return reset(s, payload);
    case SCL_MSG_BEGIN_TASK:
    case SCL_MSG_END_EPOCH:
        return learn(s, kind, payload, &predicted);
    case SCL_MSG_OBSERVE:
        err = learn(s, kind, payload, &predicted);
        *value = predicted;
        if (err == SCL_OK) {
            s->uncommitted++;
            commit_if_due(s, false);
        }
        return err;
    case SCL_MSG_REMEMBER:
        return scl_remember(s->learner, (const int8_t *)(payload + 1), payload[0]);
    case SCL_MSG_END_TASK:
        err = learn(s, kind, payload, &predicted);
        if (err == SCL_OK)
            commit_if_due(s, true);
        return err;
    case SCL_MSG_PREDICT:
        err = scl_predict(s->learner, (const int8_t *)payload, NULL, &predicted, NULL);
        *value = predicted;
        return err;
    case SCL_MSG_PREDICT_AMONG:
        err = scl_predict(s->learner, (const int8_t *)(payload + SCL_CLASS_BYTES(model->classes)),
                          payload, &predicted, NULL);
        *value = predicted;
        return err;
    case SCL_MSG_WANTED:
        *value = get_u16(payload);
        return wanted(s, *value);
    case SCL_MSG_LAYER:
        *value = payload[0];
        return *value < model->layer_count ? SCL_OK : SCL_ERR_ARG;
    case SCL_MSG_BUFFER:
        *value = payload[0];
        return *value < model->classes ? SCL_OK : SCL_ERR_LABEL;
    case SCL_MSG_COMMIT:
        return s->store == NULL ? SCL_ERR_STORE : commit(s, get_u32(payload));
    case SCL_MSG_READ_STATE:
        *value = get_u16(payload);
        return *value * SCL_STATE_PIECE <= model->state_bytes ? SCL_OK : SCL_ERR_ARG;
    case SCL_MSG_WRITE_STATE:
        return write_state(s, payload);
    case SCL_MSG_STORE:
        return s->store == NULL ? SCL_ERR_STORE : SCL_OK;
    case SCL_MSG_SPEED: /* accept() does it, after the reply */
        return s->io->can_run_at != NULL && s->io->can_run_at(get_u32(payload)) ? SCL_OK
                                                                                : SCL_ERR_ARG;
    default: /* the others only read, which send_reply does */
        return SCL_OK;
    }
}

static void accept(scl_session *s, uint8_t seq, uint8_t kind, size_t payload_bytes)
{
    scl_session_reply reply = {.kind = kind};
    const bool admitted = s->lock == NULL || s->lock->admits(s, kind, s->numbered, &payload_bytes);
    scl_err err = admitted ? check(s, kind, payload_bytes) : SCL_ERR_LOCKED;
    s->numbered++;
    if (err == SCL_OK)
        err = act(s, kind, s->decoder.bytes + SCL_FRAME_HEAD, &reply.value);
    reply.status = (int8_t)err;
    s->replies[seq % SCL_WINDOW_MAX] = reply;
    s->expected++;
    if (s->kept < SCL_WINDOW_MAX)
        s->kept++;
    send_reply(s, seq);
    if (err == SCL_OK && kind == SCL_MSG_SPEED) {
        s->io->run_at(get_u32(s->decoder.bytes + SCL_FRAME_HEAD));
        s->trial = SCL_SPEED_TRIAL;
    }
    if (err == SCL_OK)
        s->link.frames_ok++;
    else if (err == SCL_ERR_KIND)
        s->link.unknown_kind++;
    else
        s->link.refused++;
}

/* May the sender of a frame `behind` the expected one hear the kept reply once more? On a locked
 * board what the key was needed for is told again to who has the key. */
static bool hears_again(const scl_session *s, uint8_t seq, uint8_t behind, size_t payload_bytes)
{
    const scl_session_reply *reply = &s->replies[seq % SCL_WINDOW_MAX];
    return s->lock == NULL || reply->status != SCL_OK ||
           s->lock->admits(s, reply->kind, s->numbered - behind, &payload_bytes);
}

/* One byte more came at a new speed, and no whole frame yet. A host whose line cannot do the speed
 * goes back to the one that the board began with: so does the board. */
static void doubt_speed(scl_session *s)
{
    if (s->trial > 0 && --s->trial == 0)
        s->io->run_at(0);
}

static void take(scl_session *s, size_t payload_bytes)
{
    s->trial = 0;
    uint8_t kind = s->decoder.bytes[0];
    uint8_t seq = s->decoder.bytes[1];
    if (kind == SCL_MSG_HELLO && check(s, kind, payload_bytes) == SCL_OK)
        hello(s, seq);
    if (!s->open) {
        /* What was sent to this board before its power failed is not for the state it has now. */
        s->link.out_of_order++;
        send_nak(s, SCL_NAK_CLOSED);
        return;
    }
    uint8_t behind = (uint8_t)(s->expected - seq);
    if (behind == 0) {
        accept(s, seq, kind, payload_bytes);
    } else if (behind <= s->kept && hears_again(s, seq, behind, payload_bytes)) {
        s->link.repeated++;
        send_reply(s, seq);
    } else {
        s->link.out_of_order++;
        send_nak(s, SCL_NAK_ORDER);
    }
}

void scl_session_init(scl_session *s, scl_learner *learner, scl_store *store,
                      const scl_session_io *io, uint8_t *frame, size_t frame_bytes)
{
    *s = (scl_session){.learner = learner, .store = store, .io = io};
    scl_frame_init(&s->decoder, frame, frame_bytes);
}

void scl_session_receive(scl_session *s, const uint8_t *bytes, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        size_t payload_bytes = 0;
        doubt_speed(s);
        if (scl_help_wanted(s, bytes[i])) {
            scl_help_answer(s);
            scl_frame_init(&s->decoder, s->decoder.bytes, s->decoder.capacity);
            continue;
        }
        switch (scl_frame_push(&s->decoder, bytes[i], &payload_bytes)) {
        case SCL_FRAME_NONE:
            break;
        case SCL_FRAME_WHOLE:
            take(s, payload_bytes);
            break;
        case SCL_FRAME_DAMAGED:
            s->link.bad_crc++;
            send_nak(s, SCL_NAK_DAMAGED);
            break;
        case SCL_FRAME_SHORT:
            s->link.too_short++;
            send_nak(s, SCL_NAK_SHORT);
            break;
        case SCL_FRAME_LONG:
            s->link.too_long++;
            send_nak(s, SCL_NAK_LONG);
            break;
        }
    }
}
