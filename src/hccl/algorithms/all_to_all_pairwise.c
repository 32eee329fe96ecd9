// SPDX-License-Identifier: Apache-2.0
/* At step i each rank sends to the rank i after it and receives from the rank i before it: every byte travels
 * once, and no rank gets more than one message per step. A few steps are under way at a time. Messages
 * without data are sent too: only so do both sides see that they agree. */
#include "hc_steps.h"

enum { WINDOW = 4 };

static HcclResult start_step(struct hc_op *op, uint32_t i, struct hc_message pair[2]) {
    const struct hc_comm *c = op->comm;
    const uint32_t n = c->num_ranks, to = (c->rank + i) % n, from = (c->rank + n - i) % n;
    pair[0] = hc_message_from(from, op->recv + op->recvs.offsets[from], op->recvs.lengths[from], op->type);
    pair[1] = hc_message_to(to, op->send + op->sends.offsets[to], op->sends.lengths[to], op->type);
    return hc_exchange_start(op, pair, 2);
}

static HcclResult run(struct hc_op *op) {
    const uint32_t self = op->comm->rank, n = op->comm->num_ranks;
    struct hc_message window[WINDOW][2];
    for (uint32_t i = 1; i < n && i <= WINDOW; i++) HC_TRY(start_step(op, i, window[i % WINDOW]));
    hc_copy(op->recv + op->recvs.offsets[self], op->send + op->sends.offsets[self], op->recvs.lengths[self]);
    for (uint32_t i = 1; i < n; i++) {
        HC_TRY(hc_exchange_finish(op, window[i % WINDOW], 2));
        if (i + WINDOW < n) HC_TRY(start_step(op, i + WINDOW, window[i % WINDOW]));
    }
    return HCCL_SUCCESS;
}

const struct hc_algo hc_pairwise_all_to_all = {"pairwise", hc_messages_support, run};
