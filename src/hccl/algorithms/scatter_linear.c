// SPDX-License-Identifier: Apache-2.0
/* The root sends every rank its slice: it must send all of them in any case, and nobody passes anything on.
 */
#include <stdlib.h>

#include "hc_steps.h"

static HcclResult send_all(struct hc_op *op, struct hc_message *messages) {
    const struct hc_comm *c = op->comm;
    const size_t bytes = op->recv_bytes;
    size_t count = 0;
    for (uint32_t i = 1; i < c->num_ranks; i++) {
        const uint32_t to = (c->rank + i) % c->num_ranks;
        messages[count++] = hc_message_to(to, op->send + to * bytes, bytes, op->type);
    }
    HC_TRY(hc_exchange_start(op, messages, count));
    hc_copy(op->recv, op->send + c->rank * bytes, bytes);
    return hc_exchange_finish(op, messages, count);
}

static HcclResult run(struct hc_op *op) {
    const struct hc_comm *c = op->comm;
    if (op->recv_bytes == 0) return HCCL_SUCCESS;
    if (c->rank != op->root) {
        struct hc_message m = hc_message_from(op->root, op->recv, op->recv_bytes, op->type);
        return hc_exchange(op, &m, 1);
    }
    struct hc_message *messages = calloc(c->num_ranks, sizeof *messages);
    if (messages == NULL) return hc_comm_fail(op->comm, HCCL_E_MEMORY, "HcclScatter: out of host memory");
    const HcclResult status = send_all(op, messages);
    free(messages);
    return status;
}

const struct hc_algo hc_linear_scatter = {"linear", hc_messages_support, run};
