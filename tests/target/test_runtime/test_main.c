/* The integer contract and a short run of learning, on the board itself,
 * against what NumPy computed when this was built (tests/target/vectors.py);
 * and whether the port counts instructions as it says.
 */
#include "check.h"
#include "model.h"
#include "sparcl/crc32.h"
#include "sparcl/numerics.h"
#include "sparcl/sparcl.h"
#include "vectors.h"

#define COUNT(array) (sizeof(array) / sizeof(array)[0])

static scl_model_state state;
static scl_model_arena arena;

static void rounding_shift(void)
{
    for (size_t i = 0; i < COUNT(rsr_cases); i++) {
        CHECK(scl_rsr(rsr_cases[i].v, rsr_cases[i].shift) == rsr_cases[i].expected);
    }
}

static void saturation(void)
{
    for (size_t i = 0; i < COUNT(sat_cases); i++) {
        CHECK(scl_sat(sat_cases[i].v, sat_cases[i].limit) == sat_cases[i].expected);
    }
}

static void random_numbers(void)
{
    for (size_t i = 0; i < COUNT(hash_cases); i++) {
        const uint32_t *a = hash_cases[i].a;
        CHECK(scl_hash32(a[0], a[1], a[2], a[3], a[4]) == hash_cases[i].expected);
    }
    for (size_t i = 0; i < COUNT(pick_cases); i++) {
        CHECK(scl_pick(pick_cases[i].hash, pick_cases[i].n) == pick_cases[i].expected);
    }
}

static void checksum(void)
{
    uint8_t bytes[256];
    for (size_t i = 0; i < sizeof bytes; i++) {
        bytes[i] = (uint8_t)i;
    }
    for (size_t i = 0; i < COUNT(crc_cases); i++) {
        CHECK(scl_crc32(0, bytes, crc_cases[i].n) == crc_cases[i].expected);
    }
}

static void learning(void)
{
    scl_learner learner;
    CHECK(scl_init(&learner, &scl_model_generated, &state, &arena) == SCL_OK);
    CHECK(scl_state_hash(&learner) == state_hashes[0]);
    for (size_t task = 0; task < TASKS; task++) {
        CHECK(scl_begin_task(&learner, &(scl_task){0}) == SCL_OK);
        for (size_t i = task * SAMPLES; i < (task + 1) * SAMPLES; i++) {
            CHECK(scl_observe(&learner, sample_x[i], sample_y[i], 0, NULL) == SCL_OK);
        }
        CHECK(scl_end_task(&learner) == SCL_OK);
        CHECK(scl_state_hash(&learner) == state_hashes[task + 1]);
    }
    for (size_t i = 0; i < COUNT(sample_x); i++) {
        uint8_t label = 0xff;
        CHECK(scl_predict(&learner, sample_x[i], NULL, &label, NULL) == SCL_OK);
        CHECK(label == predicted[i]);
    }
    CHECK(scl_state_hash(&learner) == state_hashes[TASKS]);
}

static void refused_calls(void)
{
    scl_learner learner;
    CHECK(scl_init(&learner, &scl_model_generated, &state, &arena) == SCL_OK);
    CHECK(scl_observe(&learner, sample_x[0], 0, 0, NULL) == SCL_ERR_TASK);
    CHECK(scl_begin_task(&learner, &(scl_task){0}) == SCL_OK);
    CHECK(scl_observe(&learner, sample_x[0], SCL_MODEL_CLASSES, 0, NULL) == SCL_ERR_LABEL);
    const scl_config impossible = {.lr_mantissa = 2};
    CHECK(scl_reset(&learner, &impossible) == SCL_ERR_CONFIG);
    CHECK(scl_reset(&learner, NULL) == SCL_ERR_ARG);
}

/* 2n instructions. */
static void spin(uint32_t n)
{
#if defined(__arm__)
    __asm__ volatile(".syntax unified\n1: subs %0, #1\n bne 1b" : "+l"(n) : : "cc");
#elif defined(__riscv)
    __asm__ volatile("1: addi %0, %0, -1\n bnez %0, 1b" : "+r"(n));
#else
    (void)n;
#endif
}

static uint32_t instructions_of(uint32_t n)
{
    const uint32_t before = port_instructions();
    spin(n);
    return port_instructions() - before;
}

static void instruction_count(void)
{
    const uint32_t little = instructions_of(1000);
    if (little == 0) {
        return; /* this port cannot count */
    }
    CHECK(little >= 2000 && little < 2100);
    for (uint32_t n = 2000; n < 3000000; n *= 11) {
        const uint32_t more = instructions_of(n) - little;
        CHECK(more >= 2 * (n - 1000) - 2 && more <= 2 * (n - 1000) + 2);
    }
}

void app_start(void)
{
    RUN(rounding_shift);
    RUN(saturation);
    RUN(random_numbers);
    RUN(checksum);
    RUN(learning);
    RUN(refused_calls);
    RUN(instruction_count);
    check_done();
}

void app_step(void) {}
