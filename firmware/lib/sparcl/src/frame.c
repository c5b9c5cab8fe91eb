#include "sparcl/frame.h"

#include "sparcl/crc32.h"

#define CRC_BYTES (SCL_FRAME_OVERHEAD - SCL_FRAME_HEAD)

void scl_frame_init(scl_frame_decoder *decoder, uint8_t *bytes, size_t capacity)
{
    *decoder = (scl_frame_decoder){.bytes = bytes, .capacity = capacity};
}

static void append(scl_frame_decoder *decoder, uint8_t byte)
{
    if (decoder->length < decoder->capacity)
        decoder->bytes[decoder->length] = byte;
    /* One step past the capacity says "too long" and cannot wrap round. */
    if (decoder->length <= decoder->capacity)
        decoder->length++;
}

static scl_frame_event finish(const scl_frame_decoder *decoder, size_t *payload_bytes)
{
    if (decoder->code == 0)
        return SCL_FRAME_NONE;
    if (decoder->length > decoder->capacity)
        return SCL_FRAME_LONG;
    if (decoder->length < SCL_FRAME_OVERHEAD)
        return SCL_FRAME_SHORT;
    if (decoder->left != 0)
        return SCL_FRAME_DAMAGED;
    size_t covered = decoder->length - CRC_BYTES;
    const uint8_t *sent = decoder->bytes + covered;
    uint32_t crc = scl_crc32(0, decoder->bytes, covered);
    for (size_t i = 0; i < CRC_BYTES; i++)
        if (sent[i] != (uint8_t)(crc >> (8 * i)))
            return SCL_FRAME_DAMAGED;
    *payload_bytes = covered - SCL_FRAME_HEAD;
    return SCL_FRAME_WHOLE;
}

scl_frame_event scl_frame_push(scl_frame_decoder *decoder, uint8_t byte, size_t *payload_bytes)
{
    if (byte == 0) {
        scl_frame_event event = finish(decoder, payload_bytes);
        scl_frame_init(decoder, decoder->bytes, decoder->capacity);
        return event;
    }
    if (decoder->left > 0) {
        append(decoder, byte);
        decoder->left--;
    } else {
        /* The zero that the previous run stands for comes only now: the last run of a frame has
         * none. */
        if (decoder->code != 0 && decoder->code != 0xFF)
            append(decoder, 0);
        decoder->code = byte;
        decoder->left = (uint8_t)(byte - 1);
    }
    return SCL_FRAME_NONE;
}

size_t scl_frame_seal(uint8_t *wire, size_t payload_bytes)
{
    size_t covered = SCL_FRAME_HEAD + payload_bytes;
    uint32_t crc = scl_crc32(0, wire + 1, covered);
    for (size_t i = 0; i < CRC_BYTES; i++)
        wire[1 + covered + i] = (uint8_t)(crc >> (8 * i));
    /* From the end: every zero becomes the distance to the next one, or to the delimiter. */
    size_t delimiter = 1 + covered + CRC_BYTES;
    size_t next = delimiter;
    wire[0] = 0;
    for (size_t i = delimiter; i-- > 0;) {
        if (wire[i] == 0) {
            wire[i] = (uint8_t)(next - i);
            next = i;
        }
    }
    wire[delimiter] = 0;
    return delimiter + 1;
}
