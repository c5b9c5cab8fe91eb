/* main.c - the streaming firmware: a generated network, taught and asked over
 * the board's byte stream (docs/protocol.md). The same file for every board.
 */
#include "model.h"
#include "port.h"
#include "sparcl/session.h"
#include "sparcl/sparcl.h"
#include "sparcl/store.h"

/* Named so that their sizes in the ELF can be held against the memory plan. */
static scl_model_state scl_state_memory;
static scl_model_arena scl_arena_memory;

/* 16 secret bytes in firmware built with a key (SPARCL_KEY in firmware/scripts/model.py). */
#ifdef SCL_KEY
static const scl_lock lock = {scl_lock_admits, {SCL_KEY}};
#define LOCK      (&lock)
#define MAC_BYTES SCL_MAC_BYTES
#else
#define LOCK      NULL
#define MAC_BYTES 0u
#endif

static uint8_t frame[SCL_FRAME_BYTES(SCL_MODEL_INPUTS, SCL_MODEL_CLASSES) + MAC_BYTES];
static scl_learner learner;
static scl_session session;
static scl_session_io io;

/* The learner's store, open. NULL in firmware built without one (SPARCL_STORE in
 * firmware/scripts/model.py), and on a board without flash for it. */
static scl_store *open_store(void)
{
#ifdef SCL_WITH_STORE
    static scl_store store;
    static scl_flash flash;
    const port_flash here = port_flash_geometry();
    flash = (scl_flash){here.bytes,       here.sector_bytes,  here.unit_bytes,
                        port_flash_erase, port_flash_program, port_flash_read};
    return scl_store_open(&store, &learner, &flash) == SCL_OK ? &store : NULL;
#else
    return NULL;
#endif
}

void app_start(void)
{
    io = (scl_session_io){port_write, port_instructions, port_stack_used, port_name(),
                          port_window()};
    if (scl_init(&learner, &scl_model_generated, &scl_state_memory, &scl_arena_memory) != SCL_OK) {
        port_exit(1); /* generated code and memory do not belong together */
    }
    scl_session_init(&session, &learner, open_store(), &io, frame, sizeof frame);
    session.lock = LOCK;
}

void app_step(void)
{
    uint8_t bytes[64];
    scl_session_receive(&session, bytes, port_read(bytes, sizeof bytes));
}
