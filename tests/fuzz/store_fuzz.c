/* The files a board reads, for libFuzzer: flash with the commits of a learner that has been taught,
 * changed anywhere.
 *
 * An input says which bytes of a taught board's flash are different, and whether a commit's CRC is
 * made right again, as no mutation would. Findings, beside those of the sanitizers:
 * a changed commit is taken for a whole one; a state that scl_admit lets pass cannot be learnt
 * with (the sanitizers tell); what is committed then does not come back.
 */
#include "board.h"

#include "sparcl/crc32.h"

/* As in src/store.c: the slot ends with the counters, the number of the commit, `every`, 28 bytes
 * and the CRC (docs/protocol.md, "The store"). */
#define TAIL_BYTES (sizeof(scl_counters) + 2u * 4u + 28u + 4u)
#define TAIL_AT    ((sizeof state + SCL_FLASH_UNIT_MAX - 1u) / SCL_FLASH_UNIT_MAX * SCL_FLASH_UNIT_MAX)

static unsigned long long taken; /* changed commits with a right CRC that the store came back to */
static unsigned long long admitted; /* of those, states that were learnt with */

static void observe(uint32_t count)
{
    int8_t x[SCL_MODEL_INPUTS];
    for (uint32_t number = 0; number < count; number++) {
        sample(number, x);
        (void)scl_observe(&learner, x, (uint8_t)(number % SCL_MODEL_CLASSES), number, NULL);
    }
}

static void repair(uint32_t slot)
{
    uint8_t *start = flash_memory + slot * store.slot_bytes;
    uint32_t crc = scl_crc32(0, start, sizeof state);
    crc = scl_crc32(crc, start + TAIL_AT, TAIL_BYTES - 4u);
    for (uint32_t i = 0; i < 4; i++) {
        start[TAIL_AT + TAIL_BYTES - 4u + i] = (uint8_t)(crc >> (8 * i));
    }
}

/* Everything that works with a state, after an unknown one has been admitted. */
static void work(void)
{
    int8_t x[SCL_MODEL_INPUTS] = {1, -2, 3};
    uint8_t predicted = 0;
    if (scl_predict(&learner, x, NULL, &predicted, NULL) != SCL_OK ||
        predicted >= SCL_MODEL_CLASSES) {
        finding("an admitted state does not classify");
    }
    observe(4);
    (void)scl_end_epoch(&learner);
    observe(4);
    (void)scl_end_task(&learner);
    for (uint32_t i = 0; i < 10; i++) {
        (void)scl_remember(&learner, x, (uint8_t)(i % SCL_MODEL_CLASSES));
    }
    (void)scl_begin_task(&learner, &(scl_task){NULL, TASK_SAMPLES, TASK_EPOCHS});
    observe(4);
    for (uint32_t i = 0; i < scl_model_generated.layer_count; i++) {
        scl_layer_info info;
        (void)scl_layer_query(&learner, i, &info);
    }
    (void)scl_buffer_count(&learner, 0);
    (void)scl_wanted(&learner, 3);
}

static void comes_back(void)
{
    if (store.commits == UINT32_MAX || scl_store_commit(&store) != SCL_OK) {
        return; /* flash that has lived that long is worn out */
    }
    const uint32_t hash = scl_state_hash(&learner), commits = store.commits;
    switch_on();
    if (store.commits != commits || scl_state_hash(&learner) != hash) {
        finding("what was committed did not come back");
    }
}

static void count(void)
{
    printf("taken %llu, admitted %llu\n", taken, admitted);
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    (void)argc;
    (void)argv;
    make_boards();
    return atexit(count);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    input in = {data, n};
    const uint8_t *whole = boards[take_board(&in)].flash;
    const uint8_t repaired = take(&in); /* a bit for each slot */
    while (in.left > 0) {
        const uint32_t at = take_u16(&in) % FLASH_BYTES;
        flash_memory[at] = take(&in);
    }
    for (uint32_t slot = 0; slot < store.slots; slot++) {
        if (repaired >> slot & 1u) {
            repair(slot);
        }
    }
    switch_on();
    if (store.commits == 0) {
        return 0;
    }
    const uint8_t *made = whole + store.newest * store.slot_bytes;
    const uint8_t *found = flash_memory + store.newest * store.slot_bytes;
    const bool changed = memcmp(made, found, sizeof state) != 0 ||
                         memcmp(made + TAIL_AT, found + TAIL_AT, TAIL_BYTES) != 0;
    if (changed && !(repaired >> store.newest & 1u)) {
        finding("a changed commit is taken for a whole one");
    }
    taken += changed;
    if (scl_admit(&learner) == SCL_OK) {
        admitted += changed;
        work();
    } else if (scl_reset(&learner, &learner.model->defaults) != SCL_OK) {
        finding("a refused state cannot be reset");
    }
    comes_back();
    return 0;
}
