/* nor.h - flash of the stand-in cores: memory at the addresses of the real part, with the manners
 * of NOR flash. Erasing sets a sector to ones; programming takes whole units that are still erased.
 * All else ends the program with a message, and so does a write to it that none of these functions
 * makes. */
#ifndef NOR_H
#define NOR_H

#include <stddef.h>
#include <stdint.h>

/* The flash that the part has here, a multiple of the host's page; it holds what a program before
 * left. Called before all others. */
void nor_part(uintptr_t start, size_t bytes);

/* The next `operations`, sectors erased or units programmed, fail. */
void nor_break(unsigned operations);

/* Does this operation fail? Asked once for each, by cores that report it. */
bool nor_fails(void);

void nor_erase(uintptr_t address, size_t sector_bytes);

/* Program whole units. Bytes that are 0xFF in `data` stay as they are, in units of one byte alone.
 */
void nor_program(uintptr_t address, const uint8_t *data, size_t n, size_t unit_bytes);

/* From now on, until nor_close: the program writes to the flash as if to memory, by words. */
void nor_open(void);
void nor_close(void);

[[noreturn]] void nor_refuse(const char *what, uintptr_t address);

/* Each core's: calls nor_part. */
void core_start(void);

#endif
