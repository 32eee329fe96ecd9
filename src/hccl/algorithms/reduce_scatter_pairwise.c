// SPDX-License-Identifier: Apache-2.0
/* Each rank gets its slice from all others at once and combines them in the order of ranks. */
#include "hc_pairwise.h"

static HcclResult run(struct hc_op *op) {
    const size_t piece = hc_pairwise_piece(op);
    for (size_t at = 0; hc_slice_pieces(op, &op->sends, at, piece); at += piece) {
        op->comm->pieces[op->comm->rank].out = at * op->element;
        HC_TRY(hc_pairwise_round(op, op->comm->pieces));
    }
    return HCCL_SUCCESS;
}

const struct hc_algo hc_pairwise_reduce_scatter = {"pairwise", hc_messages_support, run};
