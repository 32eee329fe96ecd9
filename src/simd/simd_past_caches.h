// SPDX-License-Identifier: Apache-2.0
/* Bytes written past the caches (kernel passes only). An ordinary store first reads the line that it is going
 * to overwrite, which is a third of a copy's traffic and useless where the line is in no cache and whole. */
#pragma once
#include "simd.h"

/* Others see it in order only after v_fence_past_caches. */
static inline void v_copy_past_caches(char *to, const char *from, size_t bytes) {
    const size_t head = hc_min_size((size_t)(-(uintptr_t)to % HC_VBYTES), bytes);
    memcpy(to, from, head);
    size_t at = head;
    for (; at + 4 * HC_VBYTES <= bytes; at += 4 * HC_VBYTES) {
        vf v[4];
        for (int i = 0; i < 4; i++) v[i] = vf_load((const float *)(const void *)(from + at + i * HC_VBYTES));
        for (int i = 0; i < 4; i++) vf_store_past_caches((float *)(void *)(to + at + i * HC_VBYTES), v[i]);
    }
    memcpy(to + at, from + at, bytes - at);
}
