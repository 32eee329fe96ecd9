// SPDX-License-Identifier: Apache-2.0
/* Each rank combines its slice of everyone's data, in the order of ranks, then the slices go around the ring.
 * As many bytes as along the ring for types that travel as they are, a third less for 16-bit floats (which a
 * ring carries as float32), and half the steps. The same bits as the direct algorithm. */
#include "hc_pairwise.h"
#include "hc_ring.h"

static HcclResult run(struct hc_op *op) {
    const size_t piece = hc_min_size(hc_pairwise_piece(op), hc_ring_piece(op));
    for (size_t at = 0; at < op->count;) {
        const size_t covered = hc_even_pieces(op, at, piece);
        HC_TRY(hc_pairwise_round(op, op->comm->pieces));
        HC_TRY(hc_ring_round(op, HC_RING_GATHER, op->comm->pieces));
        at += covered;
    }
    return HCCL_SUCCESS;
}

const struct hc_algo hc_pairwise_all_reduce = {"pairwise", hc_messages_support, run};
