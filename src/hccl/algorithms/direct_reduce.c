// SPDX-License-Identifier: Apache-2.0
/* Each rank combines one slice of all buffers and writes it to the root's; small data is combined by the root
 * alone, from the posts. */
#include "hc_direct.h"
#include "hc_reduce.h"

enum { SLICE_STEP = 4096 };

static HcclResult map_sources(const struct hc_views *v, size_t at, size_t bytes) {
    const struct hc_comm *c = v->op->comm;
    for (uint32_t r = 0; r < c->num_ranks; r++) {
        const char *send = hc_view_send(v, r, at, bytes);
        if (send == NULL) return hc_comm_fail(v->op->comm, HCCL_E_DRV, "%s", hc_error_text());
        c->sources[r] = send;
    }
    return HCCL_SUCCESS;
}

static HcclResult run(struct hc_op *op) {
    const struct hc_comm *c = op->comm;
    struct hc_views views;
    const HcclResult status = hc_direct_open(op, &views);
    if (status != HCCL_SUCCESS) return status;
    const bool alone = views.in_posts;
    const size_t slice = alone ? op->count : hc_align_up(hc_ceil_div(op->count, c->num_ranks), SLICE_STEP);
    const size_t begin = alone ? 0 : hc_min_size(c->rank * slice, op->count);
    const size_t end = hc_min_size(begin + slice, op->count);
    if (end > begin && (!alone || c->rank == op->root)) {
        const size_t at = begin * op->element, bytes = (end - begin) * op->element;
        char *recv = alone ? op->recv : hc_view_recv(&views, op->root, at, bytes);
        if (recv == NULL) return hc_comm_fail(op->comm, HCCL_E_DRV, "%s", hc_error_text());
        HC_TRY(map_sources(&views, at, bytes));
        c->targets[0] = recv;
        hc_reduce(op->type, op->reduce, c->targets, 1, c->sources, c->num_ranks, end - begin);
    }
    return hc_direct_close(op, &views);
}

const struct hc_algo hc_direct_reduce = {"direct", hc_direct_supports, run};
