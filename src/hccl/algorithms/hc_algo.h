// SPDX-License-Identifier: Apache-2.0
/* What an algorithm is, and all of them, one per file; select.c says which serve which collective. */
#pragma once
#include "hc_op.h"

/* A way to carry out a kind of collective. */
struct hc_algo {
    const char *name;
    bool (*supports)(const struct hc_op *op);
    /* HC_DECLINED, the same on all ranks, hands over to the next one. */
    HcclResult (*run)(struct hc_op *op);
};
static const HcclResult HC_DECLINED = (HcclResult)0x7fff; /* none of the interface's codes */

extern const struct hc_algo hc_local;
/* On shared memory. */
extern const struct hc_algo hc_direct_all_reduce, hc_direct_reduce, hc_direct_reduce_scatter,
    hc_direct_all_gather, hc_direct_all_to_all, hc_direct_from_root, hc_direct_barrier;
/* Over messages. */
extern const struct hc_algo hc_ring_all_reduce, hc_pairwise_all_reduce, hc_tree_all_reduce,
    hc_doubling_all_reduce, hc_ring_reduce_scatter, hc_pairwise_reduce_scatter, hc_ring_all_gather,
    hc_bruck_all_gather, hc_tree_broadcast_algo, hc_scatter_broadcast, hc_tree_reduce_algo, hc_linear_scatter,
    hc_pairwise_all_to_all, hc_dissemination_barrier;
