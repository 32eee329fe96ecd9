// SPDX-License-Identifier: Apache-2.0
/* Up a binomial tree to the root. */
#include "hc_tree.h"

static HcclResult run(struct hc_op *op) { return hc_tree_reduce(op, op->root, op->recv); }

const struct hc_algo hc_tree_reduce_algo = {"tree", hc_messages_support, run};
