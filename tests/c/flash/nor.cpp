#include "nor.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
#include <vector>

static uint8_t *flash;   /* as the program sees it: not to be written */
static uint8_t *content; /* the same bytes */
static size_t flash_bytes;
static unsigned broken;             /* operations that are still to fail */
static std::vector<uint8_t> before; /* nor_open found this */

void nor_refuse(const char *what, uintptr_t address)
{
    fprintf(stderr, "flash: %s at %#lx\n", what, (unsigned long)address);
    exit(1);
}

void nor_part(uintptr_t start, size_t bytes)
{
    const int file = memfd_create("flash", 0);
    if (file < 0 || ftruncate(file, (off_t)bytes) != 0) {
        nor_refuse("no memory", start);
    }
    void *at = mmap((void *)start, bytes, PROT_READ, MAP_SHARED | MAP_FIXED_NOREPLACE, file, 0);
    void *writable = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    if (at != (void *)start || writable == MAP_FAILED) {
        nor_refuse("no memory", start);
    }
    flash = (uint8_t *)at;
    content = (uint8_t *)writable;
    flash_bytes = bytes;
    memset(content, 0x5a, bytes);
}

void nor_break(unsigned operations)
{
    broken = operations;
}

bool nor_fails(void)
{
    const bool now = broken > 0;
    broken -= now ? 1 : 0;
    return now;
}

static uint8_t *find(uintptr_t address, size_t n, size_t unit)
{
    const uintptr_t offset = address - (uintptr_t)flash;
    if (address % unit != 0 || n % unit != 0 || offset > flash_bytes || n > flash_bytes - offset) {
        nor_refuse("not whole units of what the store was given", address);
    }
    return content + offset;
}

void nor_erase(uintptr_t address, size_t sector_bytes)
{
    memset(find(address, sector_bytes, sector_bytes), 0xff, sector_bytes);
}

void nor_program(uintptr_t address, const uint8_t *data, size_t n, size_t unit_bytes)
{
    uint8_t *to = find(address, n, unit_bytes);
    for (size_t i = 0; i < n; i++) {
        if (unit_bytes == 1 && data[i] == 0xff) {
            continue;
        }
        if (to[i] != 0xff) {
            nor_refuse("programming what is not erased", address + i);
        }
        to[i] = data[i];
    }
}

void nor_open(void)
{
    before.assign(content, content + flash_bytes);
    mprotect(flash, flash_bytes, PROT_READ | PROT_WRITE);
}

void nor_close(void)
{
    mprotect(flash, flash_bytes, PROT_READ);
    for (size_t i = 0; i < before.size(); i += 4) {
        if (memcmp(&before[i], content + i, 4) != 0 &&
            memcmp(&before[i], "\xff\xff\xff\xff", 4) != 0) {
            nor_refuse("programming what is not erased", (uintptr_t)flash + i);
        }
    }
    before.clear();
}
