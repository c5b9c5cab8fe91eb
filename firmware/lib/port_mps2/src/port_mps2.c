/* port_mps2.c - Arm MPS2 and MPS3 as QEMU emulates them.
 *
 * The board's .ini says where its machine has the devices: MPS2_UART0 and
 * MPS2_FPGAIO are addresses, MPS2_UART0_IRQ is the number of the receiver's
 * interrupt, MPS2_TICK_NS the virtual time between two ticks of the FPGAIO
 * counter. UART0 is a CMSDK UART, polled. With -icount shift=7 an instruction
 * takes 128 ns of virtual time.
 */
#include "port.h"
#include "port_stack.h"

#define REGISTER(address) (*(volatile uint32_t *)(address))

#define UART0_DATA     REGISTER(MPS2_UART0)
#define UART0_STATE    REGISTER(MPS2_UART0 + 0x4u) /* bit 0: transmitter full, 1: byte received */
#define UART0_CTRL     REGISTER(MPS2_UART0 + 0x8u) /* bit 0: send, 1: receive, 3: its interrupt */
#define UART0_INTCLEAR REGISTER(MPS2_UART0 + 0xcu)
#define UART0_BAUDDIV  REGISTER(MPS2_UART0 + 0x10u)

#define UART_CLOCK    (1000000000u / MPS2_TICK_NS)
#define BAUDDIV_LEAST 16u /* with less it passes nothing on */
#define BAUDDIV_MOST  0xfffffu

#define NVIC_ENABLE        REGISTER(0xe000e100u + MPS2_UART0_IRQ / 32u * 4u)
#define NVIC_CLEAR_PENDING REGISTER(0xe000e280u + MPS2_UART0_IRQ / 32u * 4u)
#define NVIC_UART0         (1u << MPS2_UART0_IRQ % 32u)

#define FPGAIO_COUNTER  REGISTER(MPS2_FPGAIO + 0x18u)
#define FPGAIO_PRESCALE REGISTER(MPS2_FPGAIO + 0x1cu)

#define SYS_EXIT_EXTENDED            0x20u
#define ADP_STOPPED_APPLICATION_EXIT 0x20026u
#define EXIT_FAULT                   70 /* EX_SOFTWARE of sysexits.h; the host reads it */

extern uint32_t scl_data_start[], scl_data_end[], scl_bss_start[], scl_bss_end[];
extern const uint32_t scl_data_load[];

void scl_reset_handler(void);
void scl_start(void);

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
        NVIC_CLEAR_PENDING = NVIC_UART0;
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
    return (uint32_t)((ticks * MPS2_TICK_NS + 64) >> 7);
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
    return baud == 0 || (baud <= UART_CLOCK / BAUDDIV_LEAST && UART_CLOCK / baud <= BAUDDIV_MOST);
}

void port_run_at(uint32_t baud)
{
    while ((UART0_STATE & 1u) != 0) {
    }
    UART0_BAUDDIV = baud == 0 ? BAUDDIV_LEAST : UART_CLOCK / baud;
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

void scl_start(void)
{
    const uint32_t *from = scl_data_load;
    for (uint32_t *to = scl_data_start; to < scl_data_end; to++) {
        *to = *from++;
    }
    for (uint32_t *to = scl_bss_start; to < scl_bss_end; to++) {
        *to = 0;
    }
    port_run_at(0);
    UART0_CTRL = 0xb;
    /* A byte's interrupt becomes pending, which ends wfi, but is never taken. */
    __asm__ volatile("cpsid i");
    NVIC_ENABLE = NVIC_UART0;
    FPGAIO_PRESCALE = 0;
    app_start();
    for (;;) {
        app_step();
    }
}

/* Gives access to the registers of FPU and MVE (CPACR: CP10, CP11), and turns on
 * low-overhead loops (CCR.LOB), before the compiler can use any. */
#if defined(__ARM_FP)
#define FPU_ON "ldr r0, =0xe000ed88\n ldr r1, [r0]\n orr r1, #0xf00000\n str r1, [r0]\n dsb\n isb\n"
#else
#define FPU_ON
#endif
#if defined(__ARM_FEATURE_MVE)
#define LOOPS_ON                                                                                   \
    "ldr r0, =0xe000ed14\n ldr r1, [r0]\n orr r1, #0x80000\n str r1, [r0]\n dsb\n isb\n"
#else
#define LOOPS_ON
#endif

/* Paints the stack before anything runs on it. */
__attribute__((naked)) void scl_reset_handler(void)
{
    __asm__ volatile(".syntax unified\n"
                     "ldr r0, =scl_stack_bottom\n ldr r1, =scl_stack_top\n"
                     "ldr r2, =scl_stack_paint\n"
                     "1: str r2, [r0]\n adds r0, #4\n cmp r0, r1\n blo 1b\n" FPU_ON LOOPS_ON
                     "ldr r0, =scl_start\n bx r0\n"
                     ".ltorg\n");
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
