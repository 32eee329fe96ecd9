// SPDX-License-Identifier: Apache-2.0
/* Messages between the ranks of a host, over the lanes of the board.
 *
 * A message that fits into a slot is copied twice and its sender goes on at once. A larger one is copied once,
 * by the receiver, from the sender's buffer; the sender waits for its acknowledgement. Where that buffer
 * cannot be mapped the data streams through the slots. All messages of a call make progress side by side, in
 * one thread: each is a small state machine, and nothing happened in a round means sleep on the rank's door. */
#include <string.h>

#include "hc_op.h"
#include "hc_share.h"

struct exchange {
    struct hc_op *op;
    enum hc_channel channel;
    struct hc_message *messages;
    size_t count;
};

static size_t room_of(const struct hc_board *b) { return b->slot_bytes - sizeof(struct hc_slot); }

static struct hc_lane *lane_of(const struct exchange *x, const struct hc_message *m) {
    const struct hc_comm *c = x->op->comm;
    return m->direction == HC_OUT ? hc_lane(c->board, x->channel, c->rank, m->peer)
                                  : hc_lane(c->board, x->channel, m->peer, c->rank);
}

static struct hc_lane_order *order_of(const struct exchange *x, const struct hc_message *m) {
    return hc_lane_order(x->op->comm, x->channel, m->direction, m->peer);
}

static void ring(const struct exchange *x, uint32_t rank) {
    hc_bell_add(&hc_presence(x->op->comm->board, rank)->door);
}

/* The next message of this lane may start, perhaps one of another thread of this rank. */
static void pass_turn(const struct exchange *x, const struct hc_message *m) {
    atomic_fetch_add(&order_of(x, m)->turn, 1);
    ring(x, x->op->comm->rank);
}

/* A slot to fill, NULL while the receiver has emptied none. */
static struct hc_slot *free_slot(const struct exchange *x, struct hc_lane *lane) {
    const uint32_t head = atomic_load_explicit(&lane->head, memory_order_relaxed);
    if (head - atomic_load_explicit(&lane->tail, memory_order_acquire) == HC_LANE_SLOTS) return NULL;
    return hc_slot(x->op->comm->board, lane, head);
}

static void push_slot(const struct exchange *x, struct hc_lane *lane, const struct hc_message *m) {
    atomic_fetch_add_explicit(&lane->head, 1, memory_order_release);
    ring(x, m->peer);
}

static void begin_slot(const struct exchange *x, struct hc_slot *s, const struct hc_message *m,
                       enum hc_slot_mode mode, size_t bytes) {
    *s = (struct hc_slot){.mode = mode,
                          .bytes = (uint32_t)bytes,
                          .total = m->bytes,
                          .number = x->channel == HC_CHANNEL_COLLECTIVE ? x->op->seq : m->turn,
                          .kind = (uint8_t)x->op->kind,
                          .type = m->type};
}

/* Returns whether anything happened; so do the other steps. */
static bool start_send(const struct exchange *x, struct hc_message *m) {
    struct hc_lane *lane = lane_of(x, m);
    struct hc_lane_order *order = order_of(x, m);
    struct hc_slot *s;
    if (atomic_load(&order->turn) != m->turn || (s = free_slot(x, lane)) == NULL) return false;
    if (m->bytes <= room_of(x->op->comm->board)) {
        begin_slot(x, s, m, HC_SLOT_EAGER, m->bytes);
        if (m->bytes > 0) memcpy(s->data, m->buffer, m->bytes);
        m->stage = HC_MESSAGE_OVER;
    } else if (m->where.num_spans > 0 || x->op->comm->heaps[m->peer] == NULL) {
        begin_slot(x, s, m, HC_SLOT_SHARED, sizeof m->where);
        memcpy(s->data, &m->where, sizeof m->where);
        m->ack = ++order->acked;
        m->stage = HC_MESSAGE_UNACKED;
    } else {
        begin_slot(x, s, m, HC_SLOT_FIRST, 0);
        m->stage = HC_MESSAGE_STREAMING;
    }
    push_slot(x, lane, m);
    if (m->stage != HC_MESSAGE_STREAMING) pass_turn(x, m);
    return true;
}

static bool stream_out(const struct exchange *x, struct hc_message *m) {
    struct hc_lane *lane = lane_of(x, m);
    struct hc_slot *s = free_slot(x, lane);
    if (s == NULL) return false;
    for (; s != NULL && m->moved < m->bytes; s = free_slot(x, lane)) {
        const size_t n = hc_min_size(m->bytes - m->moved, room_of(x->op->comm->board));
        begin_slot(x, s, m, HC_SLOT_MORE, n);
        memcpy(s->data, m->buffer + m->moved, n);
        m->moved += n;
        push_slot(x, lane, m);
    }
    if (m->moved == m->bytes) {
        m->stage = HC_MESSAGE_OVER;
        pass_turn(x, m);
    }
    return true;
}

static bool await_ack(const struct exchange *x, struct hc_message *m) {
    if ((int32_t)(atomic_load_explicit(&lane_of(x, m)->acked, memory_order_acquire) - m->ack) < 0) return false;
    m->stage = HC_MESSAGE_OVER;
    return true;
}

/* The slot that is next to be read, NULL while the sender has filled none. */
static const struct hc_slot *full_slot(const struct exchange *x, struct hc_lane *lane) {
    const uint32_t tail = atomic_load_explicit(&lane->tail, memory_order_relaxed);
    if (atomic_load_explicit(&lane->head, memory_order_acquire) == tail) return NULL;
    return hc_slot(x->op->comm->board, lane, tail);
}

static void pop_slot(const struct exchange *x, struct hc_lane *lane, const struct hc_message *m) {
    atomic_fetch_add_explicit(&lane->tail, 1, memory_order_release);
    ring(x, m->peer);
}

/* What arrives must be what was asked for. */
static HcclResult check_slot(const struct exchange *x, const struct hc_message *m, const struct hc_slot *s) {
    struct hc_comm *c = x->op->comm;
    if (s->total != m->bytes || s->type != m->type)
        return hc_comm_fail(c, HCCL_E_PARA,
                            "%s of communicator %s: rank %u sends %llu bytes of %s, rank %u receives %zu bytes "
                            "of %s",
                            hc_kind_name(x->op->kind), c->name, m->peer, (unsigned long long)s->total,
                            hc_hccl_type_name((HcclDataType)s->type), c->rank, m->bytes,
                            hc_hccl_type_name((HcclDataType)m->type));
    const bool collective = x->channel == HC_CHANNEL_COLLECTIVE;
    if (collective && (s->number != x->op->seq || s->kind != x->op->kind))
        return hc_comm_fail(c, HCCL_E_PARA,
                            "collective number %u of communicator %s differs between ranks: rank %u called %s, "
                            "rank %u called %s (its number %u)",
                            x->op->seq, c->name, c->rank, hc_kind_name(x->op->kind), m->peer,
                            hc_kind_name(s->kind), s->number);
    return HCCL_SUCCESS;
}

/* Copy straight from the sender's buffer; its place comes from another process and is checked. */
static HcclResult pull(const struct exchange *x, struct hc_message *m, const struct hc_slot *s) {
    struct hc_comm *c = x->op->comm;
    struct hc_buffer where;
    memcpy(&where, s->data, sizeof where);
    const char *from = NULL;
    if (c->heaps[m->peer] == NULL) from = (const char *)(uintptr_t)where.address;
    else if (where.num_spans <= HC_BUFFER_SPANS)
        from = hc_peer_heap_at(c->heaps[m->peer], where.spans, where.num_spans);
    if (from == NULL) return hc_comm_fail(c, HCCL_E_DRV, "%s", hc_error_text());
    hc_copy(m->buffer, from, m->bytes);
    return HCCL_SUCCESS;
}

static HcclResult start_receive(const struct exchange *x, struct hc_message *m, bool *moved) {
    struct hc_lane *lane = lane_of(x, m);
    const struct hc_slot *s;
    *moved = false;
    if (atomic_load(&order_of(x, m)->turn) != m->turn || (s = full_slot(x, lane)) == NULL) return HCCL_SUCCESS;
    HC_TRY(check_slot(x, m, s));
    *moved = true;
    m->stage = HC_MESSAGE_OVER;
    if (s->mode == HC_SLOT_EAGER) {
        if (m->bytes > 0) memcpy(m->buffer, s->data, m->bytes);
    } else if (s->mode == HC_SLOT_SHARED) {
        HC_TRY(pull(x, m, s));
        atomic_fetch_add_explicit(&lane->acked, 1, memory_order_release);
    } else {
        m->stage = HC_MESSAGE_STREAMING;
    }
    pop_slot(x, lane, m);
    if (m->stage == HC_MESSAGE_OVER) pass_turn(x, m);
    return HCCL_SUCCESS;
}

static HcclResult stream_in(const struct exchange *x, struct hc_message *m, bool *moved) {
    struct hc_lane *lane = lane_of(x, m);
    const struct hc_slot *s;
    *moved = false;
    while (m->moved < m->bytes && (s = full_slot(x, lane)) != NULL) {
        if (s->mode != HC_SLOT_MORE || s->bytes > room_of(x->op->comm->board) || s->bytes > m->bytes - m->moved)
            return hc_comm_fail(x->op->comm, HCCL_E_INTERNAL, "%s: a message of rank %u broke off",
                                hc_kind_name(x->op->kind), m->peer);
        memcpy(m->buffer + m->moved, s->data, s->bytes);
        m->moved += s->bytes;
        pop_slot(x, lane, m);
        *moved = true;
    }
    if (m->moved == m->bytes) {
        m->stage = HC_MESSAGE_OVER;
        pass_turn(x, m);
    }
    return HCCL_SUCCESS;
}

static HcclResult step(const struct exchange *x, struct hc_message *m, bool *moved) {
    if (m->direction == HC_IN)
        return m->stage == HC_MESSAGE_WAITING ? start_receive(x, m, moved) : stream_in(x, m, moved);
    switch (m->stage) {
    case HC_MESSAGE_WAITING: *moved = start_send(x, m); break;
    case HC_MESSAGE_STREAMING: *moved = stream_out(x, m); break;
    default: *moved = await_ack(x, m); break;
    }
    return HCCL_SUCCESS;
}

/* One attempt on every message that is not over. */
static HcclResult go_round(const struct exchange *x, size_t *left, bool *moved) {
    *left = 0;
    *moved = false;
    for (size_t i = 0; i < x->count; i++) {
        struct hc_message *m = &x->messages[i];
        bool did = false;
        if (m->stage == HC_MESSAGE_OVER) continue;
        HC_TRY(step(x, m, &did));
        *moved = *moved || did;
        *left += m->stage != HC_MESSAGE_OVER;
    }
    return HCCL_SUCCESS;
}

/* For the others' error texts: the first message that is not over. */
static void show(const struct exchange *x, bool inside) {
    struct hc_presence *p = hc_presence(x->op->comm->board, x->op->comm->rank);
    size_t i = 0;
    while (inside && i < x->count && x->messages[i].stage == HC_MESSAGE_OVER) i++;
    if (inside && i < x->count) {
        atomic_store_explicit(&p->message_peer, x->messages[i].peer, memory_order_relaxed);
        atomic_store_explicit(&p->message_direction, x->messages[i].direction, memory_order_relaxed);
    }
    atomic_store_explicit(&p->message_inside, inside, memory_order_relaxed);
}

/* Messages to this rank itself: the n-th sent meets the n-th received. */
static HcclResult move_own(const struct exchange *x) {
    struct hc_comm *c = x->op->comm;
    size_t in = 0;
    for (size_t out = 0; out < x->count; out++) {
        struct hc_message *from = &x->messages[out];
        if (from->direction != HC_OUT || from->peer != c->rank) continue;
        while (in < x->count && (x->messages[in].direction != HC_IN || x->messages[in].peer != c->rank)) in++;
        struct hc_message *to = &x->messages[in++]; /* exists: batches are checked when they are queued */
        hc_copy(to->buffer, from->buffer, from->bytes);
        from->stage = to->stage = HC_MESSAGE_OVER;
        pass_turn(x, from);
        pass_turn(x, to);
    }
    return HCCL_SUCCESS;
}

/* Messages within a collective take their turns here: collectives are in order already. */
static void number_messages(const struct exchange *x) {
    for (size_t i = 0; i < x->count; i++) x->messages[i].turn = order_of(x, &x->messages[i])->given++;
}

HcclResult hc_exchange(struct hc_op *op, enum hc_channel channel, struct hc_message *messages, size_t count) {
    const struct exchange x = {op, channel, messages, count};
    struct hc_bell *door = &hc_presence(op->comm->board, op->comm->rank)->door;
    size_t left = count;
    bool moved = false;
    if (channel == HC_CHANNEL_COLLECTIVE) number_messages(&x);
    HC_TRY(move_own(&x));
    for (;;) {
        const uint32_t seen = atomic_load(&door->value);
        HC_TRY(go_round(&x, &left, &moved));
        if (left == 0) break;
        if (moved) continue;
        if (channel == HC_CHANNEL_POINT_TO_POINT) show(&x, true);
        HC_TRY(hc_wait_change(op, door, seen));
    }
    if (channel == HC_CHANNEL_POINT_TO_POINT) show(&x, false);
    return HCCL_SUCCESS;
}
