// SPDX-License-Identifier: Apache-2.0
#include <string.h>

#include "hc_op.h"
#include "hc_parallel.h"

/* Below this, waking threads costs more than it saves. */
enum { GRAIN = 1 << 20 };

struct job {
    char *to;
    const char *from;
};

static void copy_part(void *ctx, size_t begin, size_t end) {
    const struct job *j = ctx;
    memcpy(j->to + begin, j->from + begin, end - begin);
}

void hc_copy(char *to, const char *from, size_t bytes) {
    struct job job = {to, from};
    if (to == from || bytes == 0) return;
    if (bytes <= GRAIN) copy_part(&job, 0, bytes);
    else hc_parallel_for(bytes, GRAIN, copy_part, &job);
}
