#include "help.h"

#define BINARY 0xffu /* bytes that are no text have come since the last 0x00 */
#define OTHER  0xfeu /* this line is another one */

bool scl_help_wanted(scl_session *s, uint8_t byte)
{
    static const char word[] = "help";
    const bool line_ends = byte == '\r' || byte == '\n';
    bool wanted = false;
    if (byte == 0) {
        s->typed = 0;
    } else if (s->typed == BINARY || (byte < ' ' && !line_ends) || byte > '~') {
        s->typed = BINARY;
    } else if (line_ends) {
        wanted = s->typed == sizeof word - 1;
        s->typed = 0;
    } else if (s->typed < sizeof word - 1 && byte == (uint8_t)word[s->typed]) {
        s->typed++;
    } else {
        s->typed = OTHER;
    }
    return wanted;
}

void scl_help_answer(const scl_session *s)
{
    static const char before[] = "\r\nsparcl-mcu on ";
    static const char after[] = ": a network that learns here. It speaks frames, not text:\r\n"
                                "close this terminal and use: sparcl run --port PORT\r\n";
    _Static_assert(sizeof after <= SCL_REPLY_BYTES, "a port writes no more at once");
    size_t name = 0;
    while (name < SCL_BOARD_NAME_MAX && s->io->board[name] != '\0') {
        name++;
    }
    s->io->write((const uint8_t *)before, sizeof before - 1);
    s->io->write((const uint8_t *)s->io->board, name);
    s->io->write((const uint8_t *)after, sizeof after); /* with the 0 at its end */
}
