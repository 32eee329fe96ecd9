// SPDX-License-Identifier: Apache-2.0
/* Each rank copies its slices from the others. */
#include "hc_direct.h"

static struct hc_stretch mine(const struct hc_views *v, uint32_t rank) {
    const uint32_t self = v->op->comm->rank;
    return (struct hc_stretch){.at = hc_view_offset(v, rank, self), .bytes = hc_view_length(v, rank, self)};
}

static HcclResult exchange(struct hc_op *op, const struct hc_views *v) {
    (void)op;
    return hc_direct_pull(v, mine);
}

static HcclResult run(struct hc_op *op) { return hc_direct_run(op, exchange); }

const struct hc_algo hc_direct_all_to_all = {"direct", hc_direct_supports, run};
