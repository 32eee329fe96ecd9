// SPDX-License-Identifier: Apache-2.0
/* Along the ring of ranks: (N - 1) / N of the data per rank and direction, in N - 1 steps. */
#include "hc_ring.h"

static HcclResult run(struct hc_op *op) {
    const size_t piece = hc_ring_piece(op);
    for (size_t at = 0; hc_slice_pieces(op, &op->sends, at, piece); at += piece) {
        op->comm->pieces[op->comm->rank].out = at * op->element;
        HC_TRY(hc_ring_round(op, HC_RING_REDUCE, op->comm->pieces));
    }
    return HCCL_SUCCESS;
}

const struct hc_algo hc_ring_reduce_scatter = {"ring", hc_messages_support, run};
