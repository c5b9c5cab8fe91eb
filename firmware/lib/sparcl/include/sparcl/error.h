/* error.h - every error the runtime can return, once.
 *
 * The list is the only place: it makes the enum, the texts (scl_err_text) and
 * is compared with host/sparcl_mcu/link/messages.py by tests/test_facts.py.
 */
#ifndef SPARCL_ERROR_H
#define SPARCL_ERROR_H

/* name, value, what went wrong and what to do */
#define SCL_ERR_LIST(X)                                                                            \
    X(OK, 0, "ok")                                                                                 \
    X(ARG, -1, "an argument is NULL or out of its range")                                          \
    X(LABEL, -2, "the network lacks that class, or the task did not announce it")                  \
    X(TASK, -3, "no task is open, or one is open already: begin and end tasks in turn")            \
    X(CONFIG, -4, "a learning setting is out of its range")                                        \
    X(LENGTH, -5, "the payload has the wrong length for its message kind")                         \
    X(KIND, -6, "the message kind is unknown to this protocol version")                            \
    X(SAMPLE, -7, "the task has no such sample, or it was removed")                                \
    X(SCHEDULE, -8, "the task is too short for the settings, or its length is not known")          \
    X(ROOM, -9, "the network was generated without the memory for it")                             \
    X(STORE, -10, "the board has no flash to keep states in, or too little for two of them")       \
    X(FLASH, -11, "the flash could not be erased or written: it is worn out or busy")              \
    X(STATE, -12, "no state of this network, or one of which only a part has come")                \
    X(LOCKED, -13, "the board is locked: the message needs the code of the right key")

#define SCL_ERR_ENUM(name, value, text) SCL_ERR_##name = (value),
typedef enum scl_err { SCL_ERR_LIST(SCL_ERR_ENUM) } scl_err;
#undef SCL_ERR_ENUM

#define SCL_OK SCL_ERR_OK

/* A one-line English text, never NULL. */
const char *scl_err_text(scl_err err);

#endif
