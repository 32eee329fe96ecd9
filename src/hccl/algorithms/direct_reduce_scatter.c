// SPDX-License-Identifier: Apache-2.0
/* Each rank combines its slice of all buffers. */
#include "hc_direct.h"
#include "hc_reduce.h"

/* Where rank `r` has my slice, and whether it is as long as I think. */
static HcclResult map_slice(const struct hc_views *v, uint32_t r) {
    const struct hc_op *op = v->op;
    const struct hc_comm *c = op->comm;
    if (op->uneven && hc_view_length(v, r, c->rank) != op->recv_bytes)
        return hc_comm_fail(
            op->comm, HCCL_E_PARA,
            "%s number %u of communicator %s: rank %u has %zu bytes for rank %u, which wants %zu",
            hc_kind_name(op->kind), op->seq, c->title, r, hc_view_length(v, r, c->rank), c->rank,
            op->recv_bytes);
    if (op->recv_bytes == 0) return HCCL_SUCCESS; /* a slice of nothing may be anywhere */
    const size_t at = op->uneven ? hc_view_offset(v, r, c->rank) : op->sends.offsets[c->rank];
    c->sources[r] = hc_view_send(v, r, at, op->recv_bytes);
    return c->sources[r] != NULL ? HCCL_SUCCESS : hc_comm_fail(op->comm, HCCL_E_DRV, "%s", hc_error_text());
}

static HcclResult combine(struct hc_op *op, const struct hc_views *v) {
    const struct hc_comm *c = op->comm;
    for (uint32_t r = 0; r < c->num_ranks && (op->recv_bytes > 0 || op->uneven); r++) HC_TRY(map_slice(v, r));
    c->targets[0] = op->recv;
    if (op->recv_bytes > 0)
        hc_reduce(op->type, op->reduce, c->targets, 1, c->sources, c->num_ranks,
                  op->recv_bytes / op->element);
    return HCCL_SUCCESS;
}

static HcclResult run(struct hc_op *op) { return hc_direct_run(op, combine); }

const struct hc_algo hc_direct_reduce_scatter = {"direct", hc_direct_supports, run};
