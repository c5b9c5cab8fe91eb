/* port.h - what the firmware asks of a board.
 *
 * A port is one folder firmware/lib/port_NAME that implements these functions;
 * a board's .ini names it in lib_deps. Nothing is called from an interrupt,
 * and nothing may print on the byte stream but the application.
 */
#ifndef SCL_PORT_H
#define SCL_PORT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* ---- the application implements these, the port calls them ---- */

/* Called once, after clocks, memory and the byte stream work. */
void app_start(void);

/* Called again and again afterwards, for ever. */
void app_step(void);

/* ---- the port implements these ---- */

/* Called on every app_step: up to `n` bytes the host has sent, in order.
 * Returns how many; 0 when none are there. May wait for the first byte where
 * waiting costs less than asking again. */
size_t port_read(uint8_t *bytes, size_t n);

/* Called with a whole frame when the application answers. Returns when all
 * `n` bytes are handed on, however long the line takes. */
void port_write(const uint8_t *bytes, size_t n);

/* Called before and after a piece of work; only the difference of two calls
 * counts. Instructions executed so far, modulo 2^32. A port that cannot count
 * instructions returns 0 always: cycles or microseconds are something else. */
uint32_t port_instructions(void);

/* Called now and then, between two steps. Most bytes of stack that were in use
 * at any one time since reset, 0 where that is not known. */
uint32_t port_stack_used(void);

/* Called once, from app_start. Names the board to the host: ASCII, at most 31
 * characters, lives for ever. */
const char *port_name(void);

/* Called once, from app_start. Frames the host may send before it has an
 * answer, that is, how many the line's buffers hold while the core computes. */
uint8_t port_window(void);

/* Called when the host asks for another speed, in baud; 0 is the speed the port starts with. Can
 * the line run at it? False always where the line has no speed, or one. */
bool port_can_run_at(uint32_t baud);

/* Called with a speed that port_can_run_at has granted, or 0 after one. What port_write was given
 * leaves at the speed before; then the line runs at this one. */
void port_run_at(uint32_t baud);

/* ---- flash that keeps what was learnt; only called in firmware built with a store ---- */

typedef struct port_flash {
    uint32_t bytes;        /* set aside for the application, whole sectors; 0: there is none */
    uint32_t sector_bytes; /* erased at once, a multiple of 32 */
    uint32_t unit_bytes;   /* programmed at once, a power of 2, at most 32 */
} port_flash;

/* Called once, from app_start. */
port_flash port_flash_geometry(void);

/* Called before a sector is written again: all of its bytes become 0xFF. `offset` counts from
 * the start of what is set aside and is a multiple of sector_bytes. False: it did not work. */
bool port_flash_erase(uint32_t offset);

/* Called with whole units, at most 64 bytes, that were erased and not programmed since. Returns
 * when they are written. False: it did not work. */
bool port_flash_program(uint32_t offset, const uint8_t *data, uint32_t n);

/* Called at any time. */
void port_flash_read(uint32_t offset, uint8_t *data, uint32_t n);

/* Called by tests when they are done. Ends the board with this exit status
 * where there is something to end; on hardware it stops there for ever. */
void port_exit(int status);

#ifdef __cplusplus
}
#endif

#endif
