// SPDX-License-Identifier: Apache-2.0
/* Slices go around the ring of ranks: N - 1 steps, every byte received once. */
#include "hc_ring.h"

static HcclResult run(struct hc_op *op) {
    enum { PIECE_BYTES = 4 << 20 };
    const uint32_t self = op->comm->rank;
    const size_t piece = hc_max_size(PIECE_BYTES / op->element, 1);
    hc_copy(op->recv + op->recvs.offsets[self], op->send, op->recvs.lengths[self]);
    for (size_t at = 0; hc_slice_pieces(op, &op->recvs, at, piece); at += piece)
        HC_TRY(hc_ring_round(op, HC_RING_GATHER, op->comm->pieces));
    return HCCL_SUCCESS;
}

const struct hc_algo hc_ring_all_gather = {"ring", hc_messages_support, run};
