#include "port_flash_memory.h"
