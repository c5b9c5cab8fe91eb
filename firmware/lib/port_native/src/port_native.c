/* port_native.c - a process; the byte stream is standard input and output. */
#include "flash_native.h"
#include "port.h"

#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

size_t port_read(uint8_t *bytes, size_t n)
{
    for (;;) {
        const ssize_t got = read(STDIN_FILENO, bytes, n);
        if (got > 0) {
            return (size_t)got;
        }
        if (got == 0) {
            exit(0); /* the host closed the stream: the board is switched off */
        }
        if (errno != EINTR) {
            exit(1);
        }
    }
}

void port_write(const uint8_t *bytes, size_t n)
{
    while (n > 0) {
        const ssize_t put = write(STDOUT_FILENO, bytes, n);
        if (put < 0) {
            if (errno == EINTR) {
                continue;
            }
            exit(1);
        }
        bytes += put;
        n -= (size_t)put;
    }
}

uint32_t port_instructions(void)
{
    return 0;
}

uint32_t port_stack_used(void)
{
    return 0; /* the system's stack grows as it must */
}

const char *port_name(void)
{
    return "native";
}

uint8_t port_window(void)
{
    return 32;
}

bool port_can_run_at(uint32_t baud)
{
    (void)baud;
    return false; /* a pipe has no speed */
}

void port_run_at(uint32_t baud)
{
    (void)baud;
}

void port_exit(int status)
{
    exit(status);
}

int main(int argc, char **argv)
{
    if (argc > 1) {
        port_flash_attach(argv[1]);
    }
    app_start();
    for (;;) {
        app_step();
    }
}
