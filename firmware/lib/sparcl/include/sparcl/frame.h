/* frame.h - frames on a serial line: COBS(kind, seq, payload, crc32) 0x00.
 *
 * The decoder takes one byte at a time and writes into a buffer its caller
 * owns; it never writes past it, whatever arrives, and is in step again at the
 * next 0x00. Constant work a byte, and one CRC over the frame at its end.
 */
#ifndef SPARCL_FRAME_H
#define SPARCL_FRAME_H

#include <stddef.h>
#include <stdint.h>

#define SCL_FRAME_HEAD     2u                    /* bytes: kind, seq */
#define SCL_FRAME_OVERHEAD (SCL_FRAME_HEAD + 4u) /* bytes: kind, seq, crc */

#define SCL_FRAME_LARGER(a, b) ((a) > (b) ? (a) : (b))

/* Bytes of a set of classes: a bit each. */
#define SCL_CLASS_BYTES(classes) (((classes) + 7u) / 8u)

/* Bytes of the state block that one READ_STATE or WRITE_STATE moves. */
#define SCL_STATE_PIECE 64u

/* The longest request for samples of `inputs` values: OBSERVE and PREDICT_AMONG with a sample,
 * WRITE_STATE without. */
#define SCL_MAX_PAYLOAD(inputs, classes)                                                           \
    SCL_FRAME_LARGER((inputs) + SCL_FRAME_LARGER(3u, SCL_CLASS_BYTES(classes)),                    \
                     2u + SCL_STATE_PIECE)

/* Bytes of the frame buffer. */
#define SCL_FRAME_BYTES(inputs, classes) (SCL_FRAME_OVERHEAD + SCL_MAX_PAYLOAD(inputs, classes))

/* Bytes such a frame takes on the wire, stuffing and delimiter included. A port
 * that receives in the background needs room for `window` of them. */
#define SCL_WIRE_BYTES(inputs, classes)                                                            \
    (SCL_FRAME_BYTES(inputs, classes) + SCL_FRAME_BYTES(inputs, classes) / 254u + 2u)

/* What the byte just given has completed. */
typedef enum scl_frame_event {
    SCL_FRAME_NONE = 0, /* nothing yet */
    SCL_FRAME_WHOLE,    /* a frame, CRC right */
    SCL_FRAME_DAMAGED,  /* CRC wrong, or stuffing broken */
    SCL_FRAME_SHORT,    /* fewer than SCL_FRAME_OVERHEAD bytes */
    SCL_FRAME_LONG,     /* did not fit the buffer */
} scl_frame_event;

/* A decoder between two bytes. Its fields are its own. */
typedef struct scl_frame_decoder {
    uint8_t *bytes;  /* the frame so far, unstuffed */
    size_t capacity; /* of `bytes` */
    size_t length;   /* bytes that came; above capacity: too long */
    uint8_t code;    /* last COBS code byte; 0 between two frames */
    uint8_t left;    /* bytes until the next code byte */
} scl_frame_decoder;

/* Begin with an empty frame. `bytes` outlives the decoder. */
void scl_frame_init(scl_frame_decoder *decoder, uint8_t *bytes, size_t capacity);

/* Take the next byte of the line. After SCL_FRAME_WHOLE the frame lies in
 * `bytes` (kind, seq, payload) until the next call; the payload has
 * *payload_bytes bytes. */
scl_frame_event scl_frame_push(scl_frame_decoder *decoder, uint8_t byte, size_t *payload_bytes);

/* Longest payload scl_frame_seal can send: it stuffs in place, one COBS run. */
#define SCL_SEAL_MAX_PAYLOAD (254u - SCL_FRAME_OVERHEAD)
/* Bytes `wire` must have for it: code byte, frame, delimiter. */
#define SCL_SEAL_BYTES(payload_bytes) (1u + SCL_FRAME_OVERHEAD + (payload_bytes) + 1u)

/* Make wire[1] = kind, wire[2] = seq, wire[3...] = payload ready to send, in
 * place. Returns the bytes to write. */
size_t scl_frame_seal(uint8_t *wire, size_t payload_bytes);

#endif
