// SPDX-License-Identifier: Apache-2.0
/* Messages between ranks, over whatever connects them. */
#include "hc_exchange.h"

#include "hc_rank_copy.h"
#include "hc_transport.h"

static struct hc_lane_order *order_of(const struct hc_op *op, const struct hc_message *m) {
    return hc_lane_order(op->comm, hc_op_channel(op), m->direction, m->peer);
}

void hc_message_pass_turn(const struct hc_op *op, const struct hc_message *m) {
    atomic_fetch_add(&order_of(op, m)->turn, 1);
    hc_bell_add(&op->comm->self->door);
}

/* Messages to this rank itself: the n-th sent meets the n-th received. */
static void move_own(struct hc_op *op, struct hc_message *messages, size_t count) {
    const uint32_t self = op->comm->rank;
    size_t in = 0;
    for (size_t out = 0; out < count; out++) {
        struct hc_message *from = &messages[out];
        if (from->direction != HC_OUT || from->peer != self) continue;
        while (in < count && (messages[in].direction != HC_IN || messages[in].peer != self)) in++;
        struct hc_message *to = &messages[in++]; /* exists: batches are checked when they are queued */
        hc_copy(to->buffer, from->buffer, from->bytes);
        from->stage = to->stage = HC_MESSAGE_OVER;
        hc_message_pass_turn(op, from);
        hc_message_pass_turn(op, to);
    }
}

static void join_flight(struct hc_op *op, struct hc_message *m) {
    if (op->flight == NULL) op->flight_end = &op->flight;
    m->next = NULL;
    *op->flight_end = m;
    op->flight_end = &m->next;
}

void hc_flight_unlink(struct hc_op *op, struct hc_message **link) {
    struct hc_message *m = *link;
    if (op->flight_end == &m->next) op->flight_end = link;
    *link = m->next;
}

/* What the others see of a point-to-point call: the first message that is not over. */
static void show(struct hc_op *op) {
    struct hc_presence *p = op->comm->self;
    const struct hc_message *m = op->flight;
    if (m != NULL) {
        atomic_store_explicit(&p->message_peer, m->peer, memory_order_relaxed);
        atomic_store_explicit(&p->message_direction, m->direction, memory_order_relaxed);
    }
    atomic_store_explicit(&p->message_inside, m != NULL, memory_order_relaxed);
}

static HcclResult give_up(struct hc_op *op, HcclResult status) {
    if (op->comm->transport->cancel != NULL) op->comm->transport->cancel(op);
    op->flight = NULL;
    return status;
}

HcclResult hc_exchange_start(struct hc_op *op, struct hc_message *messages, size_t count) {
    /* Batches got their turns when they were queued; collectives are in order already. */
    for (size_t i = 0; i < count && !hc_is_batch(op->kind); i++)
        messages[i].turn = order_of(op, &messages[i])->given++;
    move_own(op, messages, count);
    for (size_t i = 0; i < count; i++) {
        if (messages[i].stage == HC_MESSAGE_OVER) continue;
        join_flight(op, &messages[i]);
        const HcclResult status = op->comm->transport->begin(op, &messages[i]);
        if (status != HCCL_SUCCESS) return give_up(op, status);
    }
    return HCCL_SUCCESS;
}

bool hc_messages_over(const struct hc_message *messages, size_t count) {
    for (size_t i = 0; i < count; i++)
        if (messages[i].stage != HC_MESSAGE_OVER) return false;
    return true;
}

HcclResult hc_exchange_finish(struct hc_op *op, const struct hc_message *messages, size_t count) {
    if (hc_messages_over(messages, count)) return HCCL_SUCCESS;
    if (hc_is_batch(op->kind)) show(op);
    const HcclResult status = op->comm->transport->drive(op, messages, count);
    if (hc_is_batch(op->kind)) show(op);
    return status == HCCL_SUCCESS ? HCCL_SUCCESS : give_up(op, status);
}

HcclResult hc_exchange(struct hc_op *op, struct hc_message *messages, size_t count) {
    HC_TRY(hc_exchange_start(op, messages, count));
    return hc_exchange_finish(op, messages, count);
}
