/* Hostile bytes against the C session before the real learner and its store, for libFuzzer.
 *
 * An input is what happens to a board that was taught something: frames of any kind, length, place
 * and payload, whole or damaged, bytes that are no frames, a power cut, flash that fails. Codes and
 * lengths are made here, since no mutation would hit a CRC. Findings, beside those of the
 * sanitizers: the learner's state changes though no frame was acted on, a counter that does not add
 * up, a HELLO that is not answered.
 */
#include "board.h"

#include "sparcl/session.h"

#define MOST    24u /* things that happen in one input, so that none takes long */
#define LONGEST (SCL_MAX_PAYLOAD(SCL_MODEL_INPUTS, SCL_MODEL_CLASSES) + 40u)

_Static_assert(LONGEST <= SCL_SEAL_MAX_PAYLOAD, "scl_frame_seal makes every frame");

static scl_session session;
static uint8_t last_kind;        /* of the board's last answer */
static unsigned long long acted; /* frames, in all inputs */
static unsigned long long refused;

static void take_answer(const uint8_t *data, size_t n)
{
    last_kind = n > 2 && data[0] > 1 ? data[1] : 0;
}

static uint32_t none(void)
{
    return 0;
}

static bool even_speed(uint32_t baud)
{
    return baud % 2 == 0;
}

static void take_speed(uint32_t baud)
{
    (void)baud;
}

static void open_session(void)
{
    static uint8_t frame[SCL_FRAME_BYTES(SCL_MODEL_INPUTS, SCL_MODEL_CLASSES)];
    static const scl_session_io io = {take_answer, none, none, "fuzz", 8, even_speed, take_speed};
    scl_session_init(&session, &learner, &store, &io, frame, sizeof frame);
}

static uint32_t received(void)
{
    uint32_t sum = 0;
#define ADD(name) sum += session.link.name;
    SCL_LINK_COUNTER_LIST(ADD)
#undef ADD
    return sum;
}

/* Bytes from the host. */
static void give(const uint8_t *wire, size_t n)
{
    static scl_model_state before;
    const scl_link_counters link = session.link;
    const uint32_t sum = received(), written = session.written, every = store.every;
    uint32_t most = 0; /* frames that may have ended */
    for (size_t i = 0; i < n; i++) {
        most += wire[i] == 0;
    }
    before = state;
    scl_session_receive(&session, wire, n);
    if (received() - sum > most) {
        finding("more frames are counted than came");
    }
    /* The last piece of a state that is refused starts the board anew. */
    if (session.link.frames_ok == link.frames_ok &&
        ((written == 0 && memcmp(&before, &state, sizeof state) != 0) || store.every != every)) {
        finding("the state changed, though nothing was acted on");
    }
    acted += session.link.frames_ok - link.frames_ok;
    refused += session.link.refused - link.refused;
}

static uint32_t payload_of(uint8_t kind)
{
    switch (kind) {
#define LENGTH(name, value, fixed, sets, samples)                                                  \
    case value:                                                                                    \
        return (fixed) + (sets)*SCL_CLASS_BYTES(SCL_MODEL_CLASSES) + (samples)*SCL_MODEL_INPUTS;
        SCL_MESSAGE_LIST(LENGTH)
#undef LENGTH
    default:
        return kind % LONGEST;
    }
}

static void send(uint8_t kind, uint8_t seq, const uint8_t *payload, size_t n)
{
    uint8_t wire[SCL_SEAL_BYTES(LONGEST)];
    wire[1] = kind;
    wire[2] = seq;
    memcpy(wire + 1 + SCL_FRAME_HEAD, payload, n);
    give(wire, scl_frame_seal(wire, n));
}

static void hello(void)
{
    const uint32_t other = ~session.token; /* a conversation of its own */
    const uint8_t *token = (const uint8_t *)&other, end = 0;
    last_kind = 0;
    give(&end, 1); /* ends whatever came before */
    send(SCL_MSG_HELLO, 9, token, sizeof other);
    if (last_kind != (SCL_MSG_HELLO | SCL_REPLY)) {
        finding("HELLO is not answered");
    }
}

static void any_frame(input *in, uint8_t kind)
{
    uint8_t payload[LONGEST];
    const uint32_t n = payload_of(kind);
    for (uint32_t i = 0; i < n; i++) {
        payload[i] = take(in);
    }
    send(kind, session.expected, payload, n);
}

/* A frame of which one thing is wrong, or nothing. */
static void odd_frame(input *in)
{
    uint8_t payload[LONGEST] = {0}, wire[SCL_SEAL_BYTES(LONGEST)];
    const uint8_t oddity = take(in), by = take(in), kind = take(in);
    uint32_t n = oddity % 4 == 0 ? by % LONGEST : payload_of(kind);
    for (uint32_t i = 0; i < n; i++) {
        payload[i] = take(in);
    }
    wire[1] = kind;
    wire[2] = (uint8_t)(session.expected + (oddity % 4 == 1 ? by : 0));
    memcpy(wire + 1 + SCL_FRAME_HEAD, payload, n);
    size_t bytes = scl_frame_seal(wire, n);
    if (oddity % 4 == 2) {
        wire[by % bytes] ^= (uint8_t)(1u << (oddity / 4 % 8));
    } else if (oddity % 4 == 3) {
        bytes = by % bytes;
    }
    give(wire, bytes);
}

/* A few samples one after the other: learnt, remembered or asked for. */
static void samples(input *in)
{
    static const uint8_t kinds[] = {SCL_MSG_OBSERVE, SCL_MSG_REMEMBER, SCL_MSG_PREDICT};
    static const uint8_t heads[] = {3, 1, 0}; /* bytes before the sample */
    const uint32_t which = take(in) % 3, count = 1u + take(in) % 8, first = take(in);
    for (uint32_t number = first; number < first + count; number++) {
        uint8_t payload[3u + SCL_MODEL_INPUTS] = {(uint8_t)(number % SCL_MODEL_CLASSES),
                                                  (uint8_t)number};
        sample(number, (int8_t *)payload + heads[which]);
        send(kinds[which], session.expected, payload, payload_of(kinds[which]));
    }
}

/* The learner's own state written back in order, piece by piece, changed in up to 8 bytes. */
static void state_from_elsewhere(input *in)
{
    static uint8_t changed[sizeof state + SCL_STATE_PIECE];
    const uint32_t pieces = take(in), changes = take(in) % 9;
    memset(changed, 0, sizeof changed);
    memcpy(changed, &state, sizeof state);
    for (uint32_t i = 0; i < changes; i++) {
        const uint32_t at = take_u16(in) % sizeof state;
        changed[at] = take(in);
    }
    for (uint32_t piece = 0; piece < pieces && piece * SCL_STATE_PIECE < sizeof state; piece++) {
        uint8_t payload[2u + SCL_STATE_PIECE] = {(uint8_t)piece, (uint8_t)(piece >> 8)};
        memcpy(payload + 2, changed + piece * SCL_STATE_PIECE, SCL_STATE_PIECE);
        send(SCL_MSG_WRITE_STATE, session.expected, payload, sizeof payload);
    }
}

static void raw_bytes(input *in)
{
    uint8_t wire[256];
    const uint32_t n = take(in);
    for (uint32_t i = 0; i < n; i++) {
        wire[i] = take(in);
    }
    give(wire, n);
}

static void count(void)
{
    printf("acted_on %llu, refused %llu\n", acted, refused);
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    (void)argc;
    (void)argv;
    make_boards();
    return atexit(count);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    enum { ODD = 0xf9, SAMPLES, STATE, RAW, POWER, FLASH, HELLO }; /* below: a kind */
    input in = {data, n};
    (void)take_board(&in);
    open_session();
    if (take(&in) % 8 != 7) {
        hello();
    }
    for (uint32_t things = 0; things < MOST && in.left > 0; things++) {
        const uint8_t what = take(&in);
        switch (what) {
        case ODD:
            odd_frame(&in);
            break;
        case SAMPLES:
            samples(&in);
            break;
        case STATE:
            state_from_elsewhere(&in);
            break;
        case RAW:
            raw_bytes(&in);
            break;
        case POWER:
            switch_on();
            open_session();
            break;
        case FLASH:
            flash_works_for = 1u + take(&in);
            break;
        case HELLO:
            hello();
            break;
        default:
            any_frame(&in, what);
            break;
        }
    }
    hello();
    return 0;
}
