/* A core's flash port, driven by lines on stdin; each is answered by one.
 *   g            bytes, sector_bytes and unit_bytes of the geometry
 *   e OFFSET     erase: 1 or 0
 *   p OFFSET HEX program: 1 or 0
 *   r OFFSET N   read: hex
 *   x N          the next N operations fail: 1 */
#include "nor.h"
#include "port.h"

#include <stdio.h>
#include <vector>

static std::vector<uint8_t> bytes_of(const char *hex)
{
    std::vector<uint8_t> bytes;
    unsigned byte;
    for (; sscanf(hex, "%2x", &byte) == 1; hex += 2) {
        bytes.push_back((uint8_t)byte);
    }
    return bytes;
}

static void answer(char command, uint32_t number, const char *rest)
{
    if (command == 'g') {
        const port_flash flash = port_flash_geometry();
        printf("%u %u %u\n", flash.bytes, flash.sector_bytes, flash.unit_bytes);
    } else if (command == 'e') {
        printf("%d\n", port_flash_erase(number));
    } else if (command == 'p') {
        const std::vector<uint8_t> data = bytes_of(rest);
        printf("%d\n", port_flash_program(number, data.data(), (uint32_t)data.size()));
    } else if (command == 'r') {
        unsigned n = 0;
        if (sscanf(rest, "%u", &n) != 1) {
            nor_refuse("no length to read", number);
        }
        std::vector<uint8_t> data(n);
        port_flash_read(number, data.data(), n);
        for (const uint8_t byte : data) {
            printf("%02x", byte);
        }
        printf("\n");
    } else {
        nor_break(number);
        printf("1\n");
    }
    fflush(stdout);
}

int main()
{
    core_start();
    char command;
    unsigned number;
    char rest[256];
    while (scanf(" %c %u%255[^\n]", &command, &number, rest) >= 2) {
        answer(command, number, rest + 1);
    }
    return 0;
}
