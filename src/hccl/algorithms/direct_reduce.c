// SPDX-License-Identifier: Apache-2.0
/* Each rank combines one slice of all buffers and writes it to the root's; small data is combined by the root
 * alone, from the posts. */
#include "hc_direct.h"

static HcclResult combine(struct hc_op *op, const struct hc_views *v) {
    return hc_direct_combine(v, op->root, op->root);
}

static HcclResult run(struct hc_op *op) { return hc_direct_run(op, combine); }

const struct hc_algo hc_direct_reduce = {"direct", hc_direct_supports, run};
