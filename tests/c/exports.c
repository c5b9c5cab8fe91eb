/* Functions that are inline in the headers, made visible to ctypes. */
#include "sparcl/ops.h"

int32_t export_rsr(int32_t v, int shift);
int32_t export_sat(int32_t v, int32_t limit);
int export_blen(uint32_t v);
uint32_t export_pick(uint32_t hash, uint32_t n);
uint32_t export_share(uint32_t n, uint16_t fraction);
uint32_t export_relu_mask_bytes(uint32_t n);
uint32_t export_conv2d_forward_scratch(const scl_window *w);
uint32_t export_max_pool_index_bytes(const scl_window *w);

int32_t export_rsr(int32_t v, int shift)
{
    return scl_rsr(v, shift);
}

int32_t export_sat(int32_t v, int32_t limit)
{
    return scl_sat(v, limit);
}

int export_blen(uint32_t v)
{
    return scl_blen(v);
}

uint32_t export_pick(uint32_t hash, uint32_t n)
{
    return scl_pick(hash, n);
}

uint32_t export_share(uint32_t n, uint16_t fraction)
{
    return scl_share(n, fraction);
}

uint32_t export_relu_mask_bytes(uint32_t n)
{
    return scl_relu_mask_bytes(n);
}

uint32_t export_conv2d_forward_scratch(const scl_window *w)
{
    return scl_conv2d_forward_scratch(w);
}

uint32_t export_max_pool_index_bytes(const scl_window *w)
{
    return scl_max_pool_index_bytes(w);
}
