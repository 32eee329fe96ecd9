// SPDX-License-Identifier: Apache-2.0
/* Reduce-scatter, then all-gather, along the ring of ranks: 2 (N - 1) / N of the data per rank and direction,
 * the least there can be, in 2 (N - 1) steps. For large data. */
#include "hc_ring.h"

static HcclResult run(struct hc_op *op) {
    const size_t piece = hc_ring_piece(op);
    for (size_t at = 0; at < op->count;) {
        const size_t covered = hc_even_pieces(op, at, piece);
        HC_TRY(hc_ring_round(op, HC_RING_REDUCE | HC_RING_GATHER, op->comm->pieces));
        at += covered;
    }
    return HCCL_SUCCESS;
}

const struct hc_algo hc_ring_all_reduce = {"ring", hc_messages_support, run};
