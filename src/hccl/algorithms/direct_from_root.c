// SPDX-License-Identifier: Apache-2.0
/* Broadcast and scatter: each rank copies from the root. */
#include "hc_checked.h"
#include "hc_direct.h"

static HcclResult run(struct hc_op *op) {
    struct hc_comm *c = op->comm;
    struct hc_views views;
    const HcclResult status = hc_direct_open(op, &views);
    if (status != HCCL_SUCCESS) return status;
    if (op->recv_bytes > 0) {
        const size_t at = op->kind == HC_OP_SCATTER ? c->rank * op->recv_bytes : 0;
        const char *send = hc_view_send(&views, op->root, at, op->recv_bytes);
        if (send == NULL) return hc_comm_fail(c, HCCL_E_DRV, "%s", hc_error_text());
        hc_copy_part(op->recv, send, op->recv_bytes, hc_mul_saturated(op->recv_bytes, c->num_ranks));
    }
    return hc_direct_close(op, &views);
}

const struct hc_algo hc_direct_from_root = {"direct", hc_direct_supports, run};
