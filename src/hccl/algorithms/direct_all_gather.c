// SPDX-License-Identifier: Apache-2.0
/* Each rank copies what the others have, beginning with its neighbour, so that they do not all read one. */
#include "hc_checked.h"
#include "hc_direct.h"

static HcclResult pull(const struct hc_views *v, uint32_t r) {
    const struct hc_op *op = v->op;
    const size_t bytes = op->recvs.lengths[r];
    if (hc_view_bytes(v, r) != bytes)
        return hc_comm_fail(op->comm, HCCL_E_PARA,
                            "%s number %u of communicator %s: rank %u sends %zu bytes, rank %u expects %zu",
                            hc_kind_name(op->kind), op->seq, op->comm->title, r, hc_view_bytes(v, r),
                            op->comm->rank, bytes);
    if (bytes == 0) return HCCL_SUCCESS;
    const char *send = hc_view_send(v, r, 0, bytes);
    if (send == NULL) return hc_comm_fail(op->comm, HCCL_E_DRV, "%s", hc_error_text());
    hc_copy_part(op->recv + op->recvs.offsets[r], send, bytes,
                 hc_mul_saturated(op->recv_bytes, op->comm->num_ranks));
    return HCCL_SUCCESS;
}

static HcclResult run(struct hc_op *op) {
    const struct hc_comm *c = op->comm;
    struct hc_views views;
    const HcclResult status = hc_direct_open(op, &views);
    if (status != HCCL_SUCCESS) return status;
    for (uint32_t i = 0; i < c->num_ranks; i++) HC_TRY(pull(&views, (c->rank + i) % c->num_ranks));
    return hc_direct_close(op, &views);
}

const struct hc_algo hc_direct_all_gather = {"direct", hc_direct_supports, run};
