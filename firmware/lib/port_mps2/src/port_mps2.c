/* port_mps2.c - Arm MPS2 as QEMU emulates it (mps2-an385, mps2-an386).
 *
 * UART0 is a CMSDK UART, polled. Instructions come from the FPGAIO counter,
 * which runs at 25 MHz of virtual time; with -icount shift=7 an instruction
 * takes 128 ns of it, that is 16/5 ticks.
 */
#include "port.h"

#define REGISTER(address) (*(volatile uint32_t *)(address))

#define UART0_DATA     REGISTER(0x40004000u)
#define UART0_STATE    REGISTER(0x40004004u) /* bit 0: transmitter full, 1: byte received */
#define UART0_CTRL     REGISTER(0x40004008u) /* bit 0: send, 1: receive, 3: interrupt on receipt */
#define UART0_INTCLEAR REGISTER(0x4000400cu)
#define UART0_BAUDDIV  REGISTER(0x40004010u)

#define NVIC_ENABLE        REGISTER(0xe000e100u) /* bit 0: UART0 receives */
#define NVIC_CLEAR_PENDING REGISTER(0xe000e280u)

#define FPGAIO_COUNTER  REGISTER(0x40028018u)
#define FPGAIO_PRESCALE REGISTER(0x4002801cu)

#define SYS_EXIT_EXTENDED            0x20u
#define ADP_STOPPED_APPLICATION_EXIT 0x20026u
#define EXIT_FAULT                   70 /* EX_SOFTWARE of sysexits.h; the host reads it */

extern uint32_t scl_data_start[], scl_data_end[], scl_bss_start[], scl_bss_end[];
extern const uint32_t scl_data_load[];
extern uint32_t scl_stack_top[];

void scl_reset_handler(void);

size_t port_read(uint8_t *bytes, size_t n)
{
    size_t got = 0;
    if ((UART0_STATE & 2u) == 0) {
        /* Sleeps until the next byte; asking all the time would starve QEMU's input. */
        __asm__ volatile("wfi");
    }
    while (got < n && (UART0_STATE & 2u) != 0) {
        bytes[got++] = (uint8_t)UART0_DATA;
        UART0_INTCLEAR = 2;
        NVIC_CLEAR_PENDING = 1;
    }
    return got;
}

void port_write(const uint8_t *bytes, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        while ((UART0_STATE & 1u) != 0) {
        }
        UART0_DATA = bytes[i];
    }
}

uint32_t port_instructions(void)
{
    /* Ticks are gathered in 64 bits: their 32 bits and those of the result
     * wrap at different times. Calls lie less than 2^32 ticks apart. */
    static uint32_t last;
    static uint64_t ticks;
    const uint32_t now = FPGAIO_COUNTER;
    ticks += now - last;
    last = now;
    return (uint32_t)((ticks * 5 + 8) >> 4);
}

const char *port_name(void)
{
    return SCL_BOARD;
}

uint8_t port_window(void)
{
    return 8; /* QEMU holds back what the UART has not taken */
}

void port_exit(int status)
{
    const uint32_t block[2] = {ADP_STOPPED_APPLICATION_EXIT, (uint32_t)status};
    register uint32_t op __asm__("r0") = SYS_EXIT_EXTENDED;
    register const uint32_t *arg __asm__("r1") = block;
    __asm__ volatile("bkpt 0xab" : "+r"(op) : "r"(arg) : "memory");
    for (;;) {
    }
}

static void fault(void)
{
    port_exit(EXIT_FAULT);
}

void scl_reset_handler(void)
{
    const uint32_t *from = scl_data_load;
    for (uint32_t *to = scl_data_start; to < scl_data_end; to++) {
        *to = *from++;
    }
    for (uint32_t *to = scl_bss_start; to < scl_bss_end; to++) {
        *to = 0;
    }
    UART0_BAUDDIV = 16; /* the least with which it passes anything on */
    UART0_CTRL = 0xb;
    /* A byte's interrupt becomes pending, which ends wfi, but is never taken. */
    __asm__ volatile("cpsid i");
    NVIC_ENABLE = 1;
    FPGAIO_PRESCALE = 0;
    app_start();
    for (;;) {
        app_step();
    }
}

/* No interrupt is used; every exception is a fault. */
__attribute__((section(".scl_vectors"), used)) static void (*const vectors[16])(void) = {
    (void (*)(void))(uintptr_t)scl_stack_top,
    scl_reset_handler,
    fault, /* NMI */
    fault, /* HardFault */
    fault, /* MemManage */
    fault, /* BusFault */
    fault, /* UsageFault */
    fault,
    fault,
    fault,
    fault,
    fault, /* SVCall */
    fault,
    fault,
    fault, /* PendSV */
    fault, /* SysTick */
};
