// SPDX-License-Identifier: Apache-2.0
/* At step k each rank tells the rank 2^k after it that it has come, with all it has heard of: after
 * ceil(log2 N) steps everyone has heard of everyone. */
#include "hc_steps.h"

static HcclResult run(struct hc_op *op) {
    const uint32_t n = op->comm->num_ranks, self = op->comm->rank;
    for (uint32_t distance = 1; distance < n; distance *= 2) {
        struct hc_message messages[] = {hc_message_from((self + n - distance) % n, NULL, 0, op->type),
                                        hc_message_to((self + distance) % n, NULL, 0, op->type)};
        HC_TRY(hc_exchange(op, messages, 2));
    }
    return HCCL_SUCCESS;
}

const struct hc_algo hc_dissemination_barrier = {"dissemination", hc_messages_support, run};
