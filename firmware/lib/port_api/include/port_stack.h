/* port_stack.h - how much stack was used, for ports that reserve it themselves.
 *
 * The reset handler fills the reserved stack with one value before anything
 * runs on it; what still holds that value later was never reached. Words that a
 * function reserves and does not write are found only below ones that it does.
 */
#ifndef SCL_PORT_STACK_H
#define SCL_PORT_STACK_H

#include <stdint.h>

/* Set by the linker script: the lowest word, the one past the highest, and (as an
 * address) the value. */
extern uint32_t scl_stack_bottom[], scl_stack_top[], scl_stack_paint[];

static inline uint32_t port_stack_high_water(void)
{
    const volatile uint32_t *word = scl_stack_bottom;
    while (word < scl_stack_top && *word == (uintptr_t)scl_stack_paint) {
        word++;
    }
    return (uint32_t)((uintptr_t)scl_stack_top - (uintptr_t)word);
}

#endif
