// SPDX-License-Identifier: Apache-2.0
/* Small: everyone combines what is in the posts. Large: each rank combines one slice of all buffers and
 * writes the result into all: every byte is read once from each rank and written once to each, in one step.
 */
#include "hc_direct.h"

static HcclResult combine(struct hc_op *op, const struct hc_views *v) {
    return hc_direct_combine(v, 0, op->comm->num_ranks - 1);
}

static HcclResult run(struct hc_op *op) { return hc_direct_run(op, combine); }

const struct hc_algo hc_direct_all_reduce = {"direct", hc_direct_supports, run};
