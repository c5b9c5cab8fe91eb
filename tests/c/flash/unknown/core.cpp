#include "nor.h"

void core_start(void) {}
