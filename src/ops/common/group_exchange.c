// SPDX-License-Identifier: Apache-2.0
/* See group_exchange.h: pairs in steps, in which every rank sends to one and receives from one.
 * No rank is the target of two at once, and both directions of a step are one batch: nobody waits for the
 * other to begin. Blocks without elements are no messages, on all ranks alike. */
#include "group_exchange.h"

aclnnStatus hc_group_exchange(const struct hc_group *group, char *from, char *to, size_t count,
                              aclDataType dtype, aclrtStream stream) {
    const size_t bytes = count * hc_dtype_size(dtype);
    for (uint32_t step = 1; step < group->num_ranks && count > 0; step++) {
        const uint32_t next = (group->rank + step) % group->num_ranks;
        const uint32_t before = (group->rank + group->num_ranks - step) % group->num_ranks;
        const int code = group->calls->exchange(group, from + next * bytes, next, to + before * bytes, before,
                                                count, dtype, stream);
        if (code != 0) return ACLNN_ERR_INNER; /* its text is set */
    }
    return 0;
}
