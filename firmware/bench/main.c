/* main.c - the bench: runs every case of a generated table once, counts its instructions, and
 * prints a line a case: instructions and CRC-32 of all memory that kernels write, in hexadecimal.
 * `sparcl bench` generates the table (model.h, model.c) and compares the CRC with NumPy's.
 */
#include "model.h"
#include "port.h"
#include "sparcl/crc32.h"
#include "tell.h"

#include <string.h>

static void nothing(void) {}

/* Called through a pointer the compiler knows nothing of, so that no case is moved or merged. */
static uint32_t counted(void (*volatile run)(void))
{
    const uint32_t before = port_instructions();
    run();
    return port_instructions() - before;
}

void app_start(void)
{
    const uint32_t call = counted(nothing);
    for (uint32_t i = 0; i < bench_case_count; i++) {
        bench_prepare();
        const uint32_t instructions = counted(bench_cases[i]) - call;
        put_hex(instructions, ' ');
        put_hex(scl_crc32(0, &bench_memory, sizeof bench_memory), '\n');
    }
    port_exit(0);
}

void app_step(void) {}
