// SPDX-License-Identifier: Apache-2.0
/* Each rank copies what the others have. */
#include "hc_direct.h"

static struct hc_stretch all_of(const struct hc_views *v, uint32_t rank) {
    return (struct hc_stretch){.at = 0, .bytes = hc_view_bytes(v, rank)};
}

static HcclResult gather(struct hc_op *op, const struct hc_views *v) {
    (void)op;
    return hc_direct_pull(v, all_of);
}

static HcclResult run(struct hc_op *op) { return hc_direct_run(op, gather); }

const struct hc_algo hc_direct_all_gather = {"direct", hc_direct_supports, run};
