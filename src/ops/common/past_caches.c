// SPDX-License-Identifier: Apache-2.0
/* See past_caches.h. */
#include "past_caches.h"

HC_KERNEL(copy_past_caches, (char *to, const char *from, size_t bytes, bool last))

#ifdef HC_ISA
#include "simd_past_caches.h"

void HC_FN(copy_past_caches)(char *to, const char *from, size_t bytes, bool last) {
    v_copy_past_caches(to, from, bytes);
    if (last) v_fence_past_caches();
}
#else
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>

#include "hc_util.h"

/* What a system that does not say is taken to have. */
enum { UNKNOWN = 32 << 20 };

hc_copy_past_caches_fn *hc_copy_past_caches_for(void) { return HC_DISPATCH(copy_past_caches); }

/* That of one instance: sysconf would add up those of all of a processor's parts. */
static size_t read_last_cache(void) {
    FILE *file = fopen("/sys/devices/system/cpu/cpu0/cache/index3/size", "re");
    size_t kib = 0;
    if (file == NULL) return UNKNOWN;
    const int found = fscanf(file, "%zuK", &kib);
    fclose(file);
    return found == 1 && kib > 0 ? kib << 10 : UNKNOWN;
}

/* Asked once: the answer does not change. */
static size_t last_cache(void) {
    static _Atomic size_t known;
    size_t bytes = atomic_load_explicit(&known, memory_order_relaxed);
    if (bytes > 0) return bytes;
    bytes = read_last_cache();
    atomic_store_explicit(&known, bytes, memory_order_relaxed);
    return bytes;
}

bool hc_goes_past_caches(const void *to, size_t bytes) {
    return bytes >= last_cache() && (uintptr_t)to % HC_CACHE_LINE == 0;
}
#endif
