/* crc32.h - CRC-32 (IEEE 802.3, reflected), equal to zlib's crc32. */
#ifndef SPARCL_CRC32_H
#define SPARCL_CRC32_H

#include <stddef.h>
#include <stdint.h>

/* Continue `crc` (0 to start) over n bytes. */
uint32_t scl_crc32(uint32_t crc, const void *data, size_t n);

#endif
