#include "sparcl/error.h"

const char *scl_err_text(scl_err err)
{
    switch (err) {
#define SCL_ERR_CASE(name, value, text)                                                            \
    case SCL_ERR_##name:                                                                           \
        return text;
        SCL_ERR_LIST(SCL_ERR_CASE)
#undef SCL_ERR_CASE
    }
    return "an error code this runtime does not know";
}
