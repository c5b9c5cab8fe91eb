/* flash_native.c - flash of the native board: a file that behaves as NOR flash does.
 *
 * Erasing sets a sector to ones, programming clears bits, and only in units that are still
 * erased; anything else is refused with a message. The file is the program's first argument;
 * without one the board has no flash. As large as the file is, so large is the flash; a file
 * that is not there is made, with 1 MiB.
 *
 * SPARCL_POWER_CUT=N in the environment cuts the power in the N-th operation (1, 2, ..): bits
 * of it are done at random, the others not, and the process ends with EXIT_POWER_CUT.
 */
#define _POSIX_C_SOURCE 200809L /* pread, pwrite, ftruncate */

#include "flash_native.h"
#include "port.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define NEW_BYTES      (1 << 20)
#define SECTOR_BYTES   1024u
#define UNIT_BYTES     8u
#define EXIT_POWER_CUT 75 /* EX_TEMPFAIL of sysexits.h */

static int file = -1;
static uint32_t flash_bytes;     /* whole sectors */
static unsigned long cut;        /* operation in which the power fails, 0: in none */
static unsigned long operations; /* begun so far */

static bool refuse(const char *what, uint32_t offset)
{
    fprintf(stderr, "flash: %s at offset %lu\n", what, (unsigned long)offset);
    return false;
}

static bool at(uint32_t offset, const uint8_t *data, uint32_t n)
{
    return pwrite(file, data, n, (off_t)offset) == (ssize_t)n || refuse("cannot write the file", 0);
}

void port_flash_attach(const char *path)
{
    const char *wish = getenv("SPARCL_POWER_CUT");
    cut = wish == NULL ? 0 : strtoul(wish, NULL, 10);
    file = open(path, O_RDWR | O_CREAT, 0666);
    struct stat now;
    if (file < 0 || fstat(file, &now) != 0 ||
        (now.st_size == 0 && (ftruncate(file, NEW_BYTES) != 0 || fstat(file, &now) != 0))) {
        perror(path);
        exit(1);
    }
    flash_bytes = (uint32_t)(now.st_size < INT32_MAX ? now.st_size : INT32_MAX);
    flash_bytes -= flash_bytes % SECTOR_BYTES;
}

/* The power fails now, if it is to: every bit that the operation changes is changed or not. */
static void fail_in(uint32_t offset, const uint8_t *before, const uint8_t *after, uint32_t n)
{
    if (++operations != cut) {
        return;
    }
    uint8_t torn[SECTOR_BYTES];
    srand((unsigned)cut);
    for (uint32_t i = 0; i < n; i++) {
        const int share = rand() % 3; /* none, all or some of a byte's bits */
        const int done = share == 0 ? 0 : share == 1 ? 0xff : rand() >> 7;
        torn[i] = (uint8_t)((before[i] & ~done) | (after[i] & done));
    }
    (void)at(offset, torn, n);
    _exit(EXIT_POWER_CUT);
}

port_flash port_flash_geometry(void)
{
    return (port_flash){flash_bytes, SECTOR_BYTES, UNIT_BYTES};
}

bool port_flash_erase(uint32_t offset)
{
    uint8_t before[SECTOR_BYTES];
    uint8_t ones[SECTOR_BYTES];
    if (offset % SECTOR_BYTES != 0 || offset >= flash_bytes) {
        return refuse("erasing what is no sector", offset);
    }
    port_flash_read(offset, before, SECTOR_BYTES);
    memset(ones, 0xff, sizeof ones);
    fail_in(offset, before, ones, SECTOR_BYTES);
    return at(offset, ones, SECTOR_BYTES);
}

bool port_flash_program(uint32_t offset, const uint8_t *data, uint32_t n)
{
    uint8_t before[SECTOR_BYTES];
    if (offset % UNIT_BYTES != 0 || n % UNIT_BYTES != 0 || n > flash_bytes ||
        offset > flash_bytes - n) {
        return refuse("programming what are no whole units", offset);
    }
    port_flash_read(offset, before, n);
    for (uint32_t i = 0; i < n; i++) {
        if (before[i] != 0xff) {
            return refuse("programming what is not erased", offset + i);
        }
    }
    fail_in(offset, before, data, n);
    return at(offset, data, n);
}

void port_flash_read(uint32_t offset, uint8_t *data, uint32_t n)
{
    if (pread(file, data, n, (off_t)offset) != (ssize_t)n) {
        (void)refuse("cannot read the file", offset);
        exit(1);
    }
}
