/* port_virt_rv32.c - QEMU's RISC-V virt machine, 32 bits.
 *
 * The UART is an NS16550, polled. With -icount shift=0 minstret counts
 * instructions exactly.
 */
#include "port.h"
#include "port_stack.h"

#define REGISTER8(address)  (*(volatile uint8_t *)(address))
#define REGISTER32(address) (*(volatile uint32_t *)(address))

#define UART0_DATA REGISTER8(0x10000000u)
#define UART0_IER  REGISTER8(0x10000001u) /* bit 0: interrupt when a byte is received */
#define UART0_FCR  REGISTER8(0x10000002u) /* bit 0: FIFOs on */
#define UART0_LCR  REGISTER8(0x10000003u)
#define UART0_LSR  REGISTER8(0x10000005u) /* bit 0: byte received, bit 5: room to send */

#define PLIC_PRIORITY_UART0 REGISTER32(0x0c000028u) /* source 10 */
#define PLIC_ENABLE         REGISTER32(0x0c002000u) /* context 0: machine mode */
#define PLIC_CLAIM          REGISTER32(0x0c200004u) /* read: claim, write: complete */
#define TEST_EXIT           REGISTER32(0x00100000u)

#define EXIT_FAULT 70 /* EX_SOFTWARE of sysexits.h; the host reads it from the emulator */

extern uint32_t scl_data_start[], scl_data_end[], scl_bss_start[], scl_bss_end[];
extern const uint32_t scl_data_load[];

void scl_reset_handler(void);
void scl_start(void);
void scl_fault(void);

size_t port_read(uint8_t *bytes, size_t n)
{
    size_t got = 0;
    if ((UART0_LSR & 1u) == 0) {
        /* Sleeps until the next byte; asking all the time would starve QEMU's input. */
        __asm__ volatile("wfi");
    }
    while (got < n && (UART0_LSR & 1u) != 0) {
        bytes[got++] = UART0_DATA;
    }
    PLIC_CLAIM = PLIC_CLAIM;
    return got;
}

void port_write(const uint8_t *bytes, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        while ((UART0_LSR & 0x20u) == 0) {
        }
        UART0_DATA = bytes[i];
    }
}

uint32_t port_instructions(void)
{
    uint32_t count;
    __asm__ volatile("csrr %0, minstret" : "=r"(count));
    return count;
}

uint32_t port_stack_used(void)
{
    return port_stack_high_water();
}

const char *port_name(void)
{
    return SCL_BOARD;
}

uint8_t port_window(void)
{
    return 8; /* QEMU holds back what the UART has not taken */
}

bool port_can_run_at(uint32_t baud)
{
    (void)baud;
    return false; /* QEMU's NS16550 runs at any, and says nothing of it */
}

void port_run_at(uint32_t baud)
{
    (void)baud;
}

void port_exit(int status)
{
    TEST_EXIT = status == 0 ? 0x5555u : ((uint32_t)status << 16 | 0x3333u);
    for (;;) {
    }
}

void scl_fault(void)
{
    port_exit(EXIT_FAULT);
}

void scl_start(void)
{
    const uint32_t *from = scl_data_load;
    for (uint32_t *to = scl_data_start; to < scl_data_end; to++) {
        *to = *from++;
    }
    for (uint32_t *to = scl_bss_start; to < scl_bss_end; to++) {
        *to = 0;
    }
    UART0_LCR = 3; /* 8 bits, no parity */
    UART0_FCR = 0; /* with its FIFOs on, QEMU sits on the last few bytes of a burst */
    /* Pending wakes the core from wfi; it is never taken, mstatus.MIE stays 0. */
    UART0_IER = 1;
    PLIC_PRIORITY_UART0 = 1;
    PLIC_ENABLE = 1u << 10;
    __asm__ volatile("csrw mie, %0" : : "r"(1u << 11));
    app_start();
    for (;;) {
        app_step();
    }
}

/* The core starts at the first byte of flash, without a stack, and paints it. */
__attribute__((naked, section(".scl_vectors"), used)) void scl_reset_handler(void)
{
    __asm__ volatile("la sp, scl_stack_top\n"
                     "la t0, scl_trap\n"
                     "csrw mtvec, t0\n"
                     "la t0, scl_stack_bottom\n"
                     "la t1, scl_stack_paint\n"
                     "1: sw t1, 0(t0)\n"
                     "addi t0, t0, 4\n"
                     "bltu t0, sp, 1b\n"
                     "j scl_start\n"
                     ".balign 4\n"
                     "scl_trap: j scl_fault\n");
}
