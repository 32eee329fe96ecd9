// SPDX-License-Identifier: Apache-2.0
/* Up a binomial tree to rank 0, down again: 2 log2(N) steps, all data in each. */
#include "hc_tree.h"

static HcclResult run(struct hc_op *op) {
    HC_TRY(hc_tree_reduce(op, 0, op->recv));
    return hc_tree_broadcast(op, 0, op->recv, op->recv_bytes);
}

const struct hc_algo hc_tree_all_reduce = {"tree", hc_messages_support, run};
