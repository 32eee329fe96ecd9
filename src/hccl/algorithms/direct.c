// SPDX-License-Identifier: Apache-2.0
/* Two posts per rank are enough: whoever makes post n + 2 has seen all posts n + 1, which the others made
 * when they were done with post n. */
#include "hc_direct.h"

#include <string.h>
#include <unistd.h>

#include "hc_board.h"
#include "hc_checked.h"
#include "hc_rank_copy.h"
#include "hc_reduce.h"
#include "hc_share.h"
#include "hc_wait.h"

/* Elements of a slice: whole pages of any type, so that two ranks never write one cache line. */
enum { SLICE_STEP = 4096 };

bool hc_direct_supports(const struct hc_op *op) { return op->comm->board != NULL; }

static bool same_process(const struct hc_comm *c, uint32_t rank) { return c->heaps[rank] == NULL; }

static void post(struct hc_op *op, uint32_t number) {
    struct hc_comm *c = op->comm;
    struct hc_post *p = hc_post(c->board, c->rank, number);
    const bool fits = hc_op_fits_post(op);
    p->head.signature = hc_op_signature(op);
    p->head.seq = op->seq;
    p->head.send_bytes = op->send_bytes;
    p->head.flags = (op->shared ? HC_POST_SHARED : 0u) | (fits ? HC_POST_INLINE : 0u);
    if (fits) {
        if (op->send_bytes > 0) memcpy(p->data, op->send, op->send_bytes);
    } else {
        p->buffers.send = op->send_at;
        p->buffers.recv = op->recv_at;
    }
    if (op->uneven) {
        uint64_t *table = hc_table(c->board, c->rank, number);
        memcpy(table, op->sends.offsets, c->num_ranks * sizeof *table);
        memcpy(table + c->num_ranks, op->sends.lengths, c->num_ranks * sizeof *table);
    }
    hc_bell_set(&p->head.number, number);
}

/* Post, wait for all posts, compare what was called. HC_DECLINED when a buffer cannot be mapped. */
static HcclResult open_views(struct hc_op *op, struct hc_views *views) {
    struct hc_comm *c = op->comm;
    const struct hc_signature own = hc_op_signature(op);
    bool mappable = true, in_posts = true;
    const uint32_t number = ++c->posts;
    post(op, number);
    for (uint32_t i = 0; i < c->num_ranks; i++) {
        /* From the next rank on: not everyone looks at the same post at a time. */
        const uint32_t rank = (c->rank + i) % c->num_ranks;
        struct hc_post *p = hc_post(c->board, rank, number);
        HC_TRY(hc_wait(op, &p->head.number, number));
        const struct hc_signature other = p->head.signature;
        const uint32_t flags = p->head.flags;
        if (memcmp(&other, &own, sizeof own) != 0 || p->head.seq != op->seq)
            return hc_op_mismatch(op, rank, p->head.seq, &other);
        mappable = mappable && (flags & (HC_POST_SHARED | HC_POST_INLINE)) != 0;
        in_posts = in_posts && (flags & HC_POST_INLINE) != 0;
    }
    *views = (struct hc_views){.op = op, .number = number, .in_posts = in_posts};
    return mappable ? HCCL_SUCCESS : HC_DECLINED;
}

static void *no_such_part(const struct hc_op *op, uint32_t rank, size_t at, size_t bytes) {
    hc_fail(HCCL_E_INTERNAL, "%s: the buffer of rank %u has no %zu bytes from byte %zu on",
            hc_kind_name(op->kind), rank, bytes, at);
    return NULL;
}

/* Numbers come from another process: they are copied, and then checked by hc_peer_heap_at. */
static char *map_buffer(const struct hc_op *op, uint32_t rank, const struct hc_buffer *shared, size_t at,
                        size_t bytes) {
    const struct hc_comm *c = op->comm;
    struct hc_buffer b;
    size_t end;
    memcpy(&b, shared, sizeof b);
    if (!hc_add_fits(at, bytes, &end)) return no_such_part(op, rank, at, bytes);
    if (same_process(c, rank)) return (char *)(uintptr_t)b.address + at;
    if (b.num_spans == 0 || b.num_spans > HC_BUFFER_SPANS) return no_such_part(op, rank, at, bytes);
    char *start = hc_peer_heap_at(c->heaps[rank], b.spans, b.num_spans, end);
    return start != NULL ? start + at : NULL;
}

const char *hc_view_send(const struct hc_views *v, uint32_t rank, size_t at, size_t bytes) {
    const struct hc_op *op = v->op;
    const struct hc_post *p = hc_post(op->comm->board, rank, v->number);
    if (rank == op->comm->rank)
        return hc_span_inside(at, bytes, op->send_bytes) ? op->send + at : no_such_part(op, rank, at, bytes);
    if ((p->head.flags & HC_POST_INLINE) == 0) return map_buffer(op, rank, &p->buffers.send, at, bytes);
    return hc_span_inside(at, bytes, sizeof p->data) ? p->data + at : no_such_part(op, rank, at, bytes);
}

char *hc_view_recv(const struct hc_views *v, uint32_t rank, size_t at, size_t bytes) {
    const struct hc_op *op = v->op;
    if (rank != op->comm->rank)
        return map_buffer(op, rank, &hc_post(op->comm->board, rank, v->number)->buffers.recv, at, bytes);
    return hc_span_inside(at, bytes, op->recv_bytes) ? op->recv + at : no_such_part(op, rank, at, bytes);
}

size_t hc_view_offset(const struct hc_views *v, uint32_t rank, uint32_t other) {
    return hc_table(v->op->comm->board, rank, v->number)[other];
}

size_t hc_view_bytes(const struct hc_views *v, uint32_t rank) {
    return hc_post(v->op->comm->board, rank, v->number)->head.send_bytes;
}

size_t hc_view_length(const struct hc_views *v, uint32_t rank, uint32_t other) {
    return hc_table(v->op->comm->board, rank, v->number)[v->op->comm->num_ranks + other];
}

/* This rank is done with the buffers of others; wait until they are with its own. */
static HcclResult close_views(struct hc_op *op, const struct hc_views *views) {
    struct hc_comm *c = op->comm;
    if (views->in_posts) return HCCL_SUCCESS;
    hc_bell_set(hc_done(c->board, c->rank), views->number);
    for (uint32_t i = 1; i < c->num_ranks; i++)
        HC_TRY(hc_wait(op, hc_done(c->board, (c->rank + i) % c->num_ranks), views->number));
    return HCCL_SUCCESS;
}

HcclResult hc_direct_run(struct hc_op *op, hc_direct_work *work) {
    struct hc_views views;
    const HcclResult status = open_views(op, &views);
    if (status != HCCL_SUCCESS) return status;
    HC_TRY(work(op, &views));
    return close_views(op, &views);
}

static HcclResult not_mapped(const struct hc_op *op) {
    return hc_comm_fail(op->comm, HCCL_E_DRV, "%s", hc_error_text());
}

static HcclResult pull_one(const struct hc_views *v, uint32_t rank, hc_direct_slice *slice) {
    const struct hc_op *op = v->op;
    const struct hc_stretch theirs = slice(v, rank);
    const size_t bytes = op->recvs.lengths[rank];
    if (theirs.bytes != bytes)
        return hc_comm_fail(
            op->comm, HCCL_E_PARA,
            "%s number %u of communicator %s: rank %u has %zu bytes for rank %u, which expects %zu",
            hc_kind_name(op->kind), op->seq, op->comm->title, rank, theirs.bytes, op->comm->rank, bytes);
    if (bytes == 0) return HCCL_SUCCESS;
    const char *send = hc_view_send(v, rank, theirs.at, bytes);
    if (send == NULL) return not_mapped(op);
    hc_copy_part(op->recv + op->recvs.offsets[rank], send, bytes,
                 hc_mul_saturated(op->recv_bytes, op->comm->num_ranks));
    return HCCL_SUCCESS;
}

HcclResult hc_direct_pull(const struct hc_views *v, hc_direct_slice *slice) {
    const struct hc_comm *c = v->op->comm;
    for (uint32_t i = 0; i < c->num_ranks; i++) HC_TRY(pull_one(v, (c->rank + i) % c->num_ranks, slice));
    return HCCL_SUCCESS;
}

/* `count` elements from `begin` on of what all have, into the buffers of ranks `first` to `last`. */
static HcclResult combine(const struct hc_views *v, size_t begin, size_t count, uint32_t first,
                          uint32_t last) {
    const struct hc_op *op = v->op;
    const struct hc_comm *c = op->comm;
    const size_t at = begin * op->element, bytes = count * op->element;
    for (uint32_t r = 0; r < c->num_ranks; r++)
        if ((c->sources[r] = hc_view_send(v, r, at, bytes)) == NULL) return not_mapped(op);
    for (uint32_t r = first; r <= last; r++)
        if ((c->targets[r - first] = hc_view_recv(v, r, at, bytes)) == NULL) return not_mapped(op);
    hc_reduce(op->type, op->reduce, c->targets, last - first + 1, c->sources, c->num_ranks, count);
    return HCCL_SUCCESS;
}

HcclResult hc_direct_combine(const struct hc_views *v, uint32_t first, uint32_t last) {
    const struct hc_op *op = v->op;
    const struct hc_comm *c = op->comm;
    if (op->count == 0) return HCCL_SUCCESS;
    if (v->in_posts)
        return c->rank < first || c->rank > last ? HCCL_SUCCESS : combine(v, 0, op->count, c->rank, c->rank);
    const size_t slice = hc_align_up(hc_ceil_div(op->count, c->num_ranks), SLICE_STEP);
    const size_t begin = hc_min_size(c->rank * slice, op->count), end = hc_min_size(begin + slice, op->count);
    return begin == end ? HCCL_SUCCESS : combine(v, begin, end - begin, first, last);
}
