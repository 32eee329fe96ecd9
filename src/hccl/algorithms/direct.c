// SPDX-License-Identifier: Apache-2.0
/* Two posts per rank are enough: whoever makes post n + 2 has seen all posts n + 1, which the others made
 * when they were done with post n. */
#include "hc_direct.h"

#include <string.h>
#include <unistd.h>

#include "hc_board.h"
#include "hc_checked.h"
#include "hc_share.h"
#include "hc_wait.h"

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

HcclResult hc_direct_open(struct hc_op *op, struct hc_views *views) {
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

HcclResult hc_direct_close(struct hc_op *op, const struct hc_views *views) {
    struct hc_comm *c = op->comm;
    if (views->in_posts) return HCCL_SUCCESS;
    hc_bell_set(hc_done(c->board, c->rank), views->number);
    for (uint32_t i = 1; i < c->num_ranks; i++)
        HC_TRY(hc_wait(op, hc_done(c->board, (c->rank + i) % c->num_ranks), views->number));
    return HCCL_SUCCESS;
}
