/* port.h - what the firmware asks of a board.
 *
 * A port is one folder firmware/lib/port_NAME that implements these functions;
 * a board's .ini names it in lib_deps. Nothing is called from an interrupt,
 * and nothing may print on the byte stream but the application.
 */
#ifndef SCL_PORT_H
#define SCL_PORT_H

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

/* Called by tests when they are done. Ends the board with this exit status
 * where there is something to end; on hardware it stops there for ever. */
void port_exit(int status);

#ifdef __cplusplus
}
#endif

#endif
