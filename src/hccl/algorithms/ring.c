// SPDX-License-Identifier: Apache-2.0
/* A round along the ring. Per step each rank sends one piece to the next rank and receives one from the one
 * before; a piece moves in HC_PARTS parts, so that one part is combined while the others travel. Bytes per
 * rank and direction: (N - 1) / N of the data for each of reduce and gather, which is the least possible; 2
 * (N - 1) steps.
 *
 * Steps are counted through both halves: g = 0 .. N-2 reduce, g = N-1 .. 2N-3 gather. At step g rank r sends
 * what it received at step g - 1. */
#include "hc_ring.h"

struct ring {
    struct hc_op *op;
    const struct hc_piece *pieces;
    struct hc_partial partial;
    size_t slot_bytes; /* of a part on its way */
    char *slots;       /* [2][HC_PARTS] */
    uint32_t parts;    /* that a piece is cut into */
    struct hc_message out[HC_PARTS], in[HC_PARTS];
};

/* A part of a piece. */
struct part {
    size_t in, out, count;
};

static bool reduces(const struct ring *r, uint32_t step) { return step < r->op->comm->num_ranks - 1; }

/* Which rank's piece is received at a step; it is the one sent at the next. */
static uint32_t owner(const struct ring *r, uint32_t step) {
    const uint32_t n = r->op->comm->num_ranks;
    return (r->op->comm->rank + 2 * n - 2 - step) % n;
}

static struct part part_of(const struct ring *r, uint32_t rank, uint32_t j) {
    const struct hc_piece *p = &r->pieces[rank];
    const size_t low = p->count * j / r->parts, high = p->count * (j + 1) / r->parts;
    return (struct part){p->in + low * r->op->element, p->out + low * r->op->element, high - low};
}

static char *slot(const struct ring *r, uint32_t step, uint32_t j) {
    return r->slots + ((step % 2) * HC_PARTS + j) * r->slot_bytes;
}

/* Messages of no bytes are not sent: both sides know the sizes. */
static HcclResult start(struct ring *r, struct hc_message *m) {
    if (m->bytes > 0) return hc_exchange_start(r->op, m, 1);
    m->stage = HC_MESSAGE_OVER;
    return HCCL_SUCCESS;
}

static HcclResult start_receive(struct ring *r, uint32_t step, uint32_t j) {
    const struct hc_op *op = r->op;
    const uint32_t n = op->comm->num_ranks, last = (op->comm->rank + n - 1) % n;
    const struct part p = part_of(r, owner(r, step), j);
    r->in[j] = reduces(r, step)
                   ? hc_message_from(last, slot(r, step, j), p.count * r->partial.element, r->partial.type)
                   : hc_message_from(last, op->recv + p.out, p.count * op->element, op->type);
    return start(r, &r->in[j]);
}

/* What is sent at a step lies where the step before left it; at the first step it is this rank's own. */
static HcclResult start_send(struct ring *r, uint32_t step, bool first, uint32_t j) {
    const struct hc_op *op = r->op;
    const uint32_t n = op->comm->num_ranks, next = (op->comm->rank + 1) % n;
    const struct part p = part_of(r, (owner(r, step) + 1) % n, j);
    if (!reduces(r, step)) {
        r->out[j] = hc_message_to(next, op->recv + p.out, p.count * op->element, op->type);
    } else {
        const char *from = slot(r, step + 1, j);
        if (first && r->partial.wide) hc_partial_load(op, slot(r, step + 1, j), op->send + p.in, p.count);
        else if (first) from = op->send + p.in;
        r->out[j] = hc_message_to(next, from, p.count * r->partial.element, r->partial.type);
    }
    return start(r, &r->out[j]);
}

static void take(struct ring *r, uint32_t step, uint32_t j) {
    const struct hc_op *op = r->op;
    if (!reduces(r, step)) return;
    const struct part p = part_of(r, owner(r, step), j);
    if (reduces(r, step + 1)) hc_partial_add(op, slot(r, step, j), op->send + p.in, p.count);
    else hc_partial_finish(op, op->recv + p.out, slot(r, step, j), op->send + p.in, p.count);
}

/* A part's slot is free for the step after next when what it held has been sent. */
static HcclResult run_steps(struct ring *r, uint32_t first, uint32_t end) {
    for (uint32_t j = 0; j < r->parts; j++) HC_TRY(start_receive(r, first, j));
    for (uint32_t j = 0; j < r->parts; j++) HC_TRY(start_send(r, first, true, j));
    for (uint32_t step = first; step < end; step++) {
        for (uint32_t j = 0; j < r->parts; j++) {
            HC_TRY(hc_exchange_finish(r->op, &r->in[j], 1));
            take(r, step, j);
            if (step + 1 == end) continue;
            HC_TRY(hc_exchange_finish(r->op, &r->out[j], 1));
            HC_TRY(start_receive(r, step + 1, j));
            HC_TRY(start_send(r, step + 1, false, j));
        }
    }
    return hc_exchange_finish(r->op, r->out, r->parts);
}

size_t hc_ring_piece(const struct hc_op *op) {
    const size_t element = hc_partial_of(op).element;
    return hc_steps_fit(op, 2, element, (size_t)HC_PARTS * HC_PART_BYTES);
}

static size_t largest(const struct hc_comm *c, const struct hc_piece *pieces) {
    size_t count = 0;
    for (uint32_t r = 0; r < c->num_ranks; r++) count = hc_max_size(count, pieces[r].count);
    return count;
}

HcclResult hc_ring_round(struct hc_op *op, unsigned parts, const struct hc_piece *pieces) {
    enum { LEAST_PART_BYTES = 32 << 10 }; /* smaller parts cost more messages than they hide */
    const uint32_t n = op->comm->num_ranks;
    const size_t count = largest(op->comm, pieces);
    struct ring r = {.op = op, .pieces = pieces, .partial = hc_partial_of(op)};
    const size_t wanted = hc_ceil_div(count * r.partial.element, LEAST_PART_BYTES);
    r.parts = (uint32_t)hc_min_size(hc_max_size(wanted, 1), HC_PARTS);
    r.slot_bytes = hc_ceil_div(count, r.parts) * r.partial.element;
    if ((parts & HC_RING_REDUCE) != 0) {
        r.slots = hc_steps_scratch(op, 2 * HC_PARTS * r.slot_bytes);
        if (r.slots == NULL) return HCCL_E_MEMORY;
    }
    const uint32_t first = (parts & HC_RING_REDUCE) != 0 ? 0 : n - 1;
    const uint32_t end = (parts & HC_RING_GATHER) != 0 ? 2 * n - 2 : n - 1;
    return run_steps(&r, first, end);
}
