// SPDX-License-Identifier: Apache-2.0
/* Down a binomial tree from the root. */
#include "hc_tree.h"

static HcclResult run(struct hc_op *op) {
    return hc_tree_broadcast(op, op->root, op->recv, op->count * op->element);
}

const struct hc_algo hc_tree_broadcast_algo = {"tree", hc_messages_support, run};
