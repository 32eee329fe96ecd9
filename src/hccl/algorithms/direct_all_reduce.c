// SPDX-License-Identifier: Apache-2.0
/* Small: everyone combines what is in the posts. Large: each rank combines one slice of all buffers and
 * writes the result into all: every byte is read once from each rank and written once to each, in one step.
 */
#include "hc_direct.h"
#include "hc_reduce.h"

/* Elements of a slice: whole pages of any type, so that two ranks never write one cache line. */
enum { SLICE_STEP = 4096 };

static HcclResult map_all(const struct hc_views *v, size_t at, size_t bytes) {
    const struct hc_comm *c = v->op->comm;
    for (uint32_t r = 0; r < c->num_ranks; r++) {
        const char *send = hc_view_send(v, r, at, bytes);
        char *recv = v->in_posts ? v->op->recv : hc_view_recv(v, r, at, bytes);
        if (send == NULL || recv == NULL) return hc_comm_fail(v->op->comm, HCCL_E_DRV, "%s", hc_error_text());
        c->sources[r] = send;
        c->targets[r] = recv;
    }
    return HCCL_SUCCESS;
}

static HcclResult run(struct hc_op *op) {
    const struct hc_comm *c = op->comm;
    struct hc_views views;
    const HcclResult status = hc_direct_open(op, &views);
    if (status != HCCL_SUCCESS) return status;
    if (op->count == 0) return HCCL_SUCCESS;
    if (views.in_posts) {
        HC_TRY(map_all(&views, 0, op->send_bytes));
        hc_reduce(op->type, op->reduce, c->targets, 1, c->sources, c->num_ranks, op->count);
        return HCCL_SUCCESS;
    }
    const size_t slice = hc_align_up(hc_ceil_div(op->count, c->num_ranks), SLICE_STEP);
    const size_t begin = hc_min_size(c->rank * slice, op->count), end = hc_min_size(begin + slice, op->count);
    HC_TRY(map_all(&views, begin * op->element, (end - begin) * op->element));
    if (end > begin)
        hc_reduce(op->type, op->reduce, c->targets, c->num_ranks, c->sources, c->num_ranks, end - begin);
    return hc_direct_close(op, &views);
}

const struct hc_algo hc_direct_all_reduce = {"direct", hc_direct_supports, run};
