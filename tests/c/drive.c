/* Drives a generated model without any link: commands on stdin, hashes and classes on stdout.
 *   C lr_mantissa lr_exponent second_pass seed(4)   reset      B / E   begin / end a task
 *   S label x   observe      P x   predict, prints the class      H   print the state hash
 *   W           write the whole state block      R   read it back (after a restart) */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "model.h"

static scl_model_state state;
static scl_model_arena arena;

static void need(const void *ok)
{
    if (ok == NULL) {
        exit(3);
    }
}

static void get(void *to, size_t n)
{
    need(fread(to, 1, n, stdin) == n ? to : NULL);
}

int main(void)
{
    scl_learner learner;
    int8_t x[SCL_MODEL_INPUTS];
    uint8_t byte;
    scl_err err = scl_init(&learner, &scl_model_generated, &state, &arena);
    for (int command = getchar(); command != EOF && err == SCL_OK; command = getchar()) {
        switch (command) {
        case 'C': {
            uint8_t raw[7];
            scl_config config;
            get(raw, sizeof raw);
            config.lr_mantissa = raw[0];
            config.lr_exponent = (int8_t)raw[1];
            config.second_pass = raw[2];
            memcpy(&config.seed, raw + 3, 4);
            err = scl_reset(&learner, &config);
            break;
        }
        case 'B':
            err = scl_begin_task(&learner);
            break;
        case 'E':
            err = scl_end_task(&learner);
            break;
        case 'S':
            get(&byte, 1);
            get(x, sizeof x);
            err = scl_observe(&learner, x, byte, NULL);
            break;
        case 'P':
            get(x, sizeof x);
            err = scl_predict(&learner, x, &byte, NULL);
            printf("%u\n", byte);
            break;
        case 'H':
            printf("%08lx\n", (unsigned long)scl_state_hash(&learner));
            break;
        case 'W':
            for (size_t i = 0; i < sizeof state; i++) {
                printf("%02x", ((const uint8_t *)&state)[i]);
            }
            printf("\n");
            break;
        case 'R':
            get(&state, sizeof state);
            break;
        default:
            return 4;
        }
    }
    if (err != SCL_OK) {
        fprintf(stderr, "%s\n", scl_err_text(err));
        return 5;
    }
    return 0;
}
