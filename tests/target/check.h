/* check.h - the least a test on a board needs: lines in Unity's format, written
 * to the board's byte stream, read by test_custom_runner.py.
 */
#ifndef CHECK_H
#define CHECK_H

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include "port.h"

/* The test that runs is failed from here on; the first place is reported. */
#define CHECK(condition)                                                                           \
    do {                                                                                           \
        if (!(condition) && check_failed_line == 0) {                                              \
            check_failed_line = __LINE__;                                                          \
            check_failed_text = #condition;                                                        \
        }                                                                                          \
    } while (0)

/* Run one function and print its result. */
#define RUN(test) check_run(test, #test)

static int check_failed_line;
static const char *check_failed_text;
static int check_tests, check_failures;

static inline void check_say(const char *text)
{
    port_write((const uint8_t *)text, strlen(text));
}

static inline void check_number(int value)
{
    char digits[12];
    char *at = digits + sizeof digits - 1;
    *at = '\0';
    do {
        *--at = (char)('0' + value % 10);
        value /= 10;
    } while (value > 0);
    check_say(at);
}

static inline void check_run(void (*test)(void), const char *name)
{
    check_failed_line = 0;
    test();
    check_tests++;
    check_say("test_main.c:");
    check_number(check_failed_line);
    check_say(":");
    check_say(name);
    if (check_failed_line == 0) {
        check_say(":PASS\n");
    } else {
        check_failures++;
        check_say(":FAIL: ");
        check_say(check_failed_text);
        check_say("\n");
    }
}

/* Print the summary that ends the run, and end the board. Never returns: PlatformIO
 * takes another exit status than 0 for a crash, so failures are in the lines alone. */
static inline void check_done(void)
{
    check_number(check_tests);
    check_say(" Tests ");
    check_number(check_failures);
    check_say(" Failures 0 Ignored\n");
    port_exit(0);
}

#endif
