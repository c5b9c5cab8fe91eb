/* Hostile bytes against the C session before the real learner, under the sanitizers.
 *
 * usage: session_fuzz INPUTS SEED
 *
 * An input is a burst of frames, sound ones and ones that are damaged, cut, repeated, out of order,
 * of any kind with any payload, or no frames at all. Ends with status 1 and the input's number
 * when bytes changed the learner's state though no frame was acted on, or when the
 * session does not answer HELLO afterwards; the sanitizers end it for anything else. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "model.h"
#include "sparcl/crc32.h"
#include "sparcl/session.h"

#define FLASH_BYTES  (64u * 1024u)
#define SECTOR_BYTES 1024u
#define LONGEST      (SCL_FRAME_BYTES(SCL_MODEL_INPUTS, SCL_MODEL_CLASSES) + 40u)

static scl_model_state state, before;
static scl_model_arena arena;
static uint8_t flash_memory[FLASH_BYTES];
static scl_learner learner;
static scl_store store;
static scl_session session;
static uint64_t random_state;
static uint32_t answers; /* frames the session has sent */
static uint8_t last_kind;

static uint32_t draw(uint32_t below)
{
    random_state = random_state * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)((random_state >> 33) % below);
}

static bool erase(uint32_t offset)
{
    memset(flash_memory + offset, 0xff, SECTOR_BYTES);
    return draw(50) != 0;
}

static bool program(uint32_t offset, const uint8_t *data, uint32_t n)
{
    memcpy(flash_memory + offset, data, n);
    return draw(500) != 0;
}

static void read_flash(uint32_t offset, uint8_t *data, uint32_t n)
{
    memcpy(data, flash_memory + offset, n);
}

static void take_answer(const uint8_t *data, size_t n)
{
    answers++;
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

/* COBS, any length; returns the bytes written. */
static size_t stuff(const uint8_t *raw, size_t n, uint8_t *wire)
{
    size_t out = 1, code = 0;
    for (size_t i = 0; i < n; i++) {
        if (raw[i] != 0) {
            wire[out++] = raw[i];
        }
        if (raw[i] == 0 || out - code == 255) {
            wire[code] = (uint8_t)(out - code);
            code = out++;
        }
    }
    wire[code] = (uint8_t)(out - code);
    wire[out++] = 0;
    return out;
}

static size_t payload_of(uint8_t kind)
{
    switch (kind) {
#define LENGTH(name, value, fixed, sets, samples)                                                  \
    case value:                                                                                    \
        return (fixed) + (sets)*SCL_CLASS_BYTES(SCL_MODEL_CLASSES) + (samples)*SCL_MODEL_INPUTS;
        SCL_MESSAGE_LIST(LENGTH)
#undef LENGTH
    default:
        return draw(LONGEST - SCL_FRAME_OVERHEAD);
    }
}

/* What a message of this kind might well say. */
static void sensible(uint8_t kind, uint8_t *payload)
{
    static const uint8_t reset[SCL_MAX_PAYLOAD(0, 0)] = {7, 0, 0, 0, 1, (uint8_t)-6, 0, 5, 0, 0, 0};
    switch (kind) {
    case SCL_MSG_RESET:
        memcpy(payload, reset, payload_of(kind));
        payload[6] = (uint8_t)draw(5);
        payload[10] = (uint8_t)draw(5);
        memset(payload + 14, 0, 8);
        payload[15] = payload[17] = (uint8_t)draw(16);
        payload[19] = (uint8_t)draw(200);
        payload[21] = (uint8_t)draw(100);
        break;
    case SCL_MSG_BEGIN_TASK:
        memset(payload, 0, 6);
        payload[0] = (uint8_t)draw(80);
        payload[4] = (uint8_t)draw(20);
        memset(payload + 6, 0xff, SCL_CLASS_BYTES(SCL_MODEL_CLASSES));
        payload[5 + SCL_CLASS_BYTES(SCL_MODEL_CLASSES)] =
            (uint8_t)(0xffu >> (8u * SCL_CLASS_BYTES(SCL_MODEL_CLASSES) - SCL_MODEL_CLASSES));
        break;
    case SCL_MSG_OBSERVE:
        payload[0] = (uint8_t)draw(SCL_MODEL_CLASSES);
        payload[1] = (uint8_t)draw(80);
        payload[2] = 0;
        break;
    case SCL_MSG_WRITE_STATE: { /* often the next piece, often of what is there, a little changed */
        const uint32_t at = draw(4) == 0 ? 0 : session.written;
        payload[0] = (uint8_t)(at / SCL_STATE_PIECE);
        payload[1] = (uint8_t)(at / SCL_STATE_PIECE >> 8);
        const uint32_t left = (uint32_t)sizeof before - at;
        const uint32_t n = left < SCL_STATE_PIECE ? left : SCL_STATE_PIECE;
        memcpy(payload + 2, (const uint8_t *)&before + at, n);
        if (draw(8) == 0) {
            payload[2 + draw(SCL_STATE_PIECE)] = (uint8_t)draw(256);
        }
        break;
    }
    default:
        break;
    }
}

/* One frame, or what is none, behind `wire`; returns its bytes. */
static size_t piece(uint8_t *wire, uint32_t *seq)
{
    static uint8_t raw[LONGEST];
    const uint8_t kind = (uint8_t)(draw(12) == 0 ? draw(256) : 1 + draw(SCL_MSG_SPEED));
    size_t n = SCL_FRAME_HEAD + payload_of(kind);
    for (size_t i = SCL_FRAME_HEAD; i < n; i++) {
        raw[i] = (uint8_t)(draw(3) == 0 ? 0 : draw(256));
    }
    raw[0] = kind;
    raw[1] = (uint8_t)(draw(20) == 0 ? draw(256) : *seq);
    if (draw(8) != 0) {
        sensible(kind, raw + SCL_FRAME_HEAD);
    }
    if (draw(30) == 0) {
        n = draw((uint32_t)n + 1u);
    }
    const uint32_t crc = scl_crc32(0, raw, n);
    for (size_t i = 0; i < 4; i++) {
        raw[n + i] = (uint8_t)(crc >> (8 * i));
    }
    size_t out = stuff(raw, n + 4, wire);
    switch (draw(16)) {
    case 0:
        wire[draw((uint32_t)out)] ^= (uint8_t)(1u << draw(8));
        break;
    case 1:
        out = draw((uint32_t)out);
        break;
    case 2:
        for (size_t i = 0; i < out; i++) {
            wire[i] = (uint8_t)draw(256);
        }
        break;
    default:
        (*seq)++;
        break;
    }
    return out;
}

static void switch_on(void)
{
    static uint8_t frame[SCL_FRAME_BYTES(SCL_MODEL_INPUTS, SCL_MODEL_CLASSES)];
    static const scl_session_io io = {take_answer, none, none, "fuzz", 8, even_speed, take_speed};
    static const scl_flash flash = {FLASH_BYTES, SECTOR_BYTES, 8, erase, program, read_flash};
    if (scl_init(&learner, &scl_model_generated, &state, &arena) != SCL_OK) {
        exit(2);
    }
    scl_store *kept = scl_store_open(&store, &learner, &flash) == SCL_OK ? &store : NULL;
    scl_session_init(&session, &learner, kept, &io, frame, sizeof frame);
}

/* Is the session in step, whatever came before? */
static bool answers_hello(void)
{
    const uint8_t raw[10] = {SCL_MSG_HELLO, 9, 1, 2, 3, 4};
    uint8_t request[16], wire[24] = {0};
    memcpy(request, raw, 6);
    const uint32_t crc = scl_crc32(0, raw, 6);
    for (size_t i = 0; i < 4; i++) {
        request[6 + i] = (uint8_t)(crc >> (8 * i));
    }
    const size_t n = stuff(request, 10, wire + 1) + 1;
    scl_session_receive(&session, wire, n);
    return last_kind == (SCL_MSG_HELLO | SCL_REPLY);
}

int main(int argc, char **argv)
{
    static uint8_t wire[8 * 2 * LONGEST];
    if (argc != 3) {
        return 2;
    }
    const unsigned long inputs = strtoul(argv[1], NULL, 10);
    random_state = strtoul(argv[2], NULL, 10);
    switch_on();
    uint64_t acted = 0, refused = 0;
    for (unsigned long input = 0; input < inputs; input++) {
        size_t n = 0;
        uint32_t seq = session.expected;
        if (draw(2000) == 0) {
            switch_on();
        }
        if (draw(40) == 0 && !answers_hello()) {
            fprintf(stderr, "input %lu: HELLO is not answered\n", input);
            return 1;
        }
        for (uint32_t frames = 1 + draw(3); frames > 0; frames--) {
            n += piece(wire + n, &seq);
        }
        const scl_link_counters link = session.link;
        const uint32_t written = session.written;
        before = state;
        scl_session_receive(&session, wire, n);
        const bool none_ok = session.link.frames_ok == link.frames_ok;
        /* The last piece of a state that is refused starts the board anew. */
        if (none_ok && written == 0 && memcmp(&before, &state, sizeof state) != 0) {
            fprintf(stderr, "input %lu: the state changed, though nothing was acted on\n", input);
            return 1;
        }
        acted += session.link.frames_ok - link.frames_ok;
        refused += session.link.refused - link.refused;
    }
    printf("inputs %lu, acted on %llu, refused %llu, answers %lu\n", inputs,
           (unsigned long long)acted, (unsigned long long)refused, (unsigned long)answers);
    return 0;
}
