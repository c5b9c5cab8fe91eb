/* Drives a generated model without any link: commands on stdin, what they answer on stdout.
 * Numbers are little-endian; bitmaps have (classes + 7) / 8 bytes.
 *   C seed(4) lr_mantissa lr_exponent replay alpha_shift beta_shift single_head_loss importance
 *     ddr_within_task margin(2) tdm_intra(2) tdm_inter(2) dgm_share(2) ddr_fraction(2) anneal
 *     reset
 *   B samples(4) epochs(2) bitmap   begin a task      N   end an epoch      E   end the task
 *   S label number(4) x   observe, prints nothing      M label x   remember
 *   O label number(4) x   observe, prints the class given before
 *   P x   predict, prints the class      A bitmap x   predict among the bitmap's classes
 *   V number(4)   print 1 if the sample is wanted, else 0      H   print the state hash
 *   L index(2)   print live, learn, terms and weights of a layer      U class   print its replays
 *   T   print the counters, name=value      W   print the whole state block
 *   R state   read it back (after a restart)      D   may it be learnt with (scl_admit)?
 *   ! error   the next call must be refused with this error */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "model.h"

#define BITMAP ((SCL_MODEL_CLASSES + 7) / 8)

static scl_model_state state;
static scl_model_arena arena;

static void get(void *to, size_t n)
{
    if (fread(to, 1, n, stdin) != n) {
        exit(3);
    }
}

static uint32_t number(size_t bytes)
{
    uint32_t value = 0;
    get(&value, bytes);
    return value;
}

static scl_config config(void)
{
    scl_config c = {.seed = number(4)};
    c.lr_mantissa = (uint8_t)number(1);
    c.lr_exponent = (int8_t)number(1);
    c.replay = (uint8_t)number(1);
    c.alpha_shift = (uint8_t)number(1);
    c.beta_shift = (uint8_t)number(1);
    c.single_head_loss = (uint8_t)number(1);
    c.importance = (uint8_t)number(1);
    c.ddr_within_task = (uint8_t)number(1);
    c.margin = (uint16_t)number(2);
    c.tdm_intra = (uint16_t)number(2);
    c.tdm_inter = (uint16_t)number(2);
    c.dgm_share = (uint16_t)number(2);
    c.ddr_fraction = (uint16_t)number(2);
    c.anneal = (uint8_t)number(1);
    return c;
}

static void print_counters(const scl_counters *c)
{
#define PRINT(name) printf(#name "=%llu ", (unsigned long long)c->name)
    PRINT(steps);
    PRINT(predictions);
    PRINT(training_passes);
    PRINT(backward_passes);
    PRINT(skipped);
    PRINT(removed);
    PRINT(events);
    PRINT(macs_forward);
    PRINT(macs_input_grad);
    PRINT(macs_weight_grad);
    PRINT(macs_importance);
    PRINT(updates_watched);
    PRINT(updates_dead);
    PRINT(updates_saturated);
    printf("\n");
}

static scl_err call(scl_learner *learner, int command)
{
    static int8_t x[SCL_MODEL_INPUTS];
    static uint8_t bitmap[BITMAP];
    uint8_t label = 0;
    scl_err err = SCL_OK;
    switch (command) {
    case 'C': {
        const scl_config c = config();
        return scl_reset(learner, &c);
    }
    case 'B': {
        const uint32_t samples = number(4);
        const uint16_t epochs = (uint16_t)number(2);
        get(bitmap, sizeof bitmap);
        return scl_begin_task(learner, &(scl_task){bitmap, samples, epochs});
    }
    case 'N':
        return scl_end_epoch(learner);
    case 'E':
        return scl_end_task(learner);
    case 'S':
    case 'O': {
        uint8_t before = 0;
        get(&label, 1);
        const uint32_t which = number(4);
        get(x, sizeof x);
        err = scl_observe(learner, x, label, which, &before);
        if (command == 'O' && err == SCL_OK) {
            printf("%u\n", before);
        }
        return err;
    }
    case 'M':
        get(&label, 1);
        get(x, sizeof x);
        return scl_remember(learner, x, label);
    case 'P':
    case 'A':
        if (command == 'A') {
            get(bitmap, sizeof bitmap);
        }
        get(x, sizeof x);
        err = scl_predict(learner, x, command == 'A' ? bitmap : NULL, &label, NULL);
        if (err == SCL_OK) {
            printf("%u\n", label);
        }
        return err;
    case 'V':
        printf("%d\n", scl_wanted(learner, number(4)));
        return SCL_OK;
    case 'H':
        printf("%08lx\n", (unsigned long)scl_state_hash(learner));
        return SCL_OK;
    case 'L': {
        scl_layer_info info = {0};
        err = scl_layer_query(learner, number(2), &info);
        if (err == SCL_OK) {
            printf("%lu %lu %lu %lu\n", (unsigned long)info.live, (unsigned long)info.learn,
                   (unsigned long)info.terms, (unsigned long)info.weights);
        }
        return err;
    }
    case 'U':
        get(&label, 1);
        printf("%lu\n", (unsigned long)scl_buffer_count(learner, label));
        return SCL_OK;
    case 'T':
        print_counters(&learner->counters);
        return SCL_OK;
    case 'W':
        for (size_t i = 0; i < sizeof state; i++) {
            printf("%02x", ((const uint8_t *)&state)[i]);
        }
        printf("\n");
        return SCL_OK;
    case 'R':
        get(&state, sizeof state);
        return SCL_OK;
    case 'D':
        return scl_admit(learner);
    default:
        exit(4);
    }
}

int main(void)
{
    scl_learner learner;
    scl_err err = scl_init(&learner, &scl_model_generated, &state, &arena);
    scl_err wanted = SCL_OK;
    for (int command = getchar(); command != EOF && err == wanted; command = getchar()) {
        wanted = SCL_OK;
        if (command == '!') {
            wanted = (scl_err)(int8_t)number(1);
            command = getchar();
        }
        err = call(&learner, command);
        if (err == wanted) {
            err = wanted = SCL_OK;
        }
    }
    if (err != wanted) {
        fprintf(stderr, "%s, expected: %s\n", scl_err_text(err), scl_err_text(wanted));
        return 5;
    }
    return 0;
}
