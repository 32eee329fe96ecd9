// SPDX-License-Identifier: Apache-2.0
/* Broadcast and scatter: each rank copies from the root. */
#include "hc_checked.h"
#include "hc_direct.h"
#include "hc_rank_copy.h"

static HcclResult take(struct hc_op *op, const struct hc_views *v) {
    const struct hc_comm *c = op->comm;
    if (op->recv_bytes == 0) return HCCL_SUCCESS;
    const size_t at = op->kind == HC_OP_SCATTER ? c->rank * op->recv_bytes : 0;
    const char *send = hc_view_send(v, op->root, at, op->recv_bytes);
    if (send == NULL) return hc_comm_fail(op->comm, HCCL_E_DRV, "%s", hc_error_text());
    hc_copy_part(op->recv, send, op->recv_bytes, hc_mul_saturated(op->recv_bytes, c->num_ranks));
    return HCCL_SUCCESS;
}

static HcclResult run(struct hc_op *op) { return hc_direct_run(op, take); }

const struct hc_algo hc_direct_from_root = {"direct", hc_direct_supports, run};
