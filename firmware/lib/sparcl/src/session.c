#include "sparcl/session.h"

#include <string.h>

#include "help.h"
#include "reply.h"
#include "state.h"

static uint16_t get_u16(const uint8_t *at)
{
    return (uint16_t)(at[0] | at[1] << 8);
}

static uint32_t get_u32(const uint8_t *at)
{
    return at[0] | (uint32_t)at[1] << 8 | (uint32_t)at[2] << 16 | (uint32_t)at[3] << 24;
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

/* Called from two places: flash is scarcer than the time of a frame. */
static __attribute__((noinline)) scl_err check(const scl_session *s, uint8_t kind,
                                               size_t payload_bytes)
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
        .anneal = payload[22],
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
    memcpy((uint8_t *)learner->state + offset, payload + 2, scl_state_piece_bytes(s, offset));
    s->written = offset + scl_state_piece_bytes(s, offset);
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
    if (s->written > 0 && scl_needs_state(kind))
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
    default: /* the others only read, which scl_reply_send does */
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
    scl_reply_send(s, seq);
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
        scl_reply_nak(s, SCL_NAK_CLOSED);
        return;
    }
    uint8_t behind = (uint8_t)(s->expected - seq);
    if (behind == 0) {
        accept(s, seq, kind, payload_bytes);
    } else if (behind <= s->kept && hears_again(s, seq, behind, payload_bytes)) {
        s->link.repeated++;
        scl_reply_send(s, seq);
    } else {
        s->link.out_of_order++;
        scl_reply_nak(s, SCL_NAK_ORDER);
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
            scl_reply_nak(s, SCL_NAK_DAMAGED);
            break;
        case SCL_FRAME_SHORT:
            s->link.too_short++;
            scl_reply_nak(s, SCL_NAK_SHORT);
            break;
        case SCL_FRAME_LONG:
            s->link.too_long++;
            scl_reply_nak(s, SCL_NAK_LONG);
            break;
        }
    }
}
