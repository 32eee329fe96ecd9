// SPDX-License-Identifier: Apache-2.0
/* The root gives every rank a slice, then the slices go around the ring: a rank sends and receives the data
 * about once, where a tree's root sends it log2(N) times. For large data. */
#include <stdlib.h>

#include "hc_ring.h"

/* Every rank its piece, from the root. */
static HcclResult scatter(struct hc_op *op, struct hc_message *messages) {
    const struct hc_comm *c = op->comm;
    size_t count = 0;
    for (uint32_t r = 0; r < c->num_ranks; r++) {
        const struct hc_piece *p = &c->pieces[r];
        const bool sends = c->rank == op->root && r != c->rank, receives = r == c->rank && r != op->root;
        if (p->count == 0 || (!sends && !receives)) continue;
        messages[count++] =
            sends ? hc_message_to(r, op->send + p->in, p->count * op->element, op->type)
                  : hc_message_from(op->root, op->recv + p->out, p->count * op->element, op->type);
    }
    return hc_exchange(op, messages, count);
}

static HcclResult run(struct hc_op *op) {
    enum { PIECE_BYTES = 4 << 20 };
    const size_t piece = hc_max_size(PIECE_BYTES / op->element, 1);
    struct hc_message *messages = calloc(op->comm->num_ranks, sizeof *messages);
    HcclResult status = HCCL_SUCCESS;
    if (messages == NULL) return hc_comm_fail(op->comm, HCCL_E_MEMORY, "HcclBroadcast: out of host memory");
    for (size_t at = 0; at < op->count && status == HCCL_SUCCESS;) {
        at += hc_even_pieces(op, at, piece);
        status = scatter(op, messages);
        if (status == HCCL_SUCCESS) status = hc_ring_round(op, HC_RING_GATHER, op->comm->pieces);
    }
    free(messages);
    return status;
}

const struct hc_algo hc_scatter_broadcast = {"scatter_all_gather", hc_messages_support, run};
