// SPDX-License-Identifier: Apache-2.0
/* One rank: what arrives is what was sent. Nothing waits, so it runs in the caller. */
#include <string.h>

#include "hc_algo.h"
#include "hc_rank_copy.h"

static bool supports(const struct hc_op *op) { return op->comm->num_ranks == 1; }

/* The n-th message sent meets the n-th received; their sizes were compared when they were queued. */
static void move_messages(struct hc_op *op) {
    size_t in = 0;
    for (size_t out = 0; out < op->num_messages; out++) {
        if (op->messages[out].direction != HC_OUT) continue;
        while (op->messages[in].direction != HC_IN) in++;
        hc_copy(op->messages[in].buffer, op->messages[out].buffer, op->messages[out].bytes);
        in++;
    }
}

static HcclResult run(struct hc_op *op) {
    if (hc_is_batch(op->kind)) {
        move_messages(op);
        return HCCL_SUCCESS;
    }
    const size_t from = op->sends.offsets != NULL ? op->sends.offsets[0] : 0;
    const size_t to = op->recvs.offsets != NULL ? op->recvs.offsets[0] : 0;
    const size_t bytes = op->recvs.lengths != NULL ? op->recvs.lengths[0] : op->recv_bytes;
    if (bytes > 0) hc_copy(op->recv + to, op->send + from, bytes);
    return HCCL_SUCCESS;
}

const struct hc_algo hc_local = {"local", supports, run};
