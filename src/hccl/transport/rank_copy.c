// SPDX-License-Identifier: Apache-2.0
/* Copies between ranks.
 *
 * A copy that does not fit into the caches is written past them: an ordinary store first reads the line that
 * it is going to overwrite, which is a third of the traffic and all of it useless. Short copies keep to
 * memcpy, as their reader will want them in the cache. */
#include "hc_kernel.h"

HC_KERNEL(hccl_copy_past_caches, (char *to, const char *from, size_t bytes))

#ifdef HC_ISA
#include "simd_past_caches.h"

void HC_FN(hccl_copy_past_caches)(char *to, const char *from, size_t bytes) {
    v_copy_past_caches(to, from, bytes);
    v_fence_past_caches();
}

#else
#include <string.h>

#include "hc_parallel.h"
#include "hc_rank_copy.h"

enum {
    GRAIN = 1 << 20,       /* below this, waking threads costs more than it saves */
    PAST_CACHES = 8 << 20, /* of all that is written: about what a last-level cache keeps */
};

struct job {
    char *to;
    const char *from;
    void (*copy)(char *to, const char *from, size_t bytes);
};

static void copy_in_caches(char *to, const char *from, size_t bytes) { memcpy(to, from, bytes); }

static void copy_part(void *ctx, size_t begin, size_t end) {
    const struct job *j = ctx;
    j->copy(j->to + begin, j->from + begin, end - begin);
}

void hc_copy_part(char *to, const char *from, size_t bytes, size_t all) {
    struct job job = {to, from, all < PAST_CACHES ? copy_in_caches : HC_DISPATCH(hccl_copy_past_caches)};
    if (to == from || bytes == 0) return;
    if (bytes <= GRAIN) copy_part(&job, 0, bytes);
    else hc_parallel_for(bytes, GRAIN, copy_part, &job);
}

void hc_copy(char *to, const char *from, size_t bytes) { hc_copy_part(to, from, bytes, bytes); }
#endif
