// SPDX-License-Identifier: Apache-2.0
/* Messages between the ranks of a host, over the lanes of the board.
 *
 * A message that fits into a slot is copied twice and its sender goes on at once. A larger one is copied
 * once, by the receiver, from the sender's buffer; the sender waits for its acknowledgement. Where that
 * buffer cannot be mapped the data streams through the slots. All messages of a call make progress side by
 * side, in one thread: each is a small state machine, and nothing happened in a round means sleep on the
 * rank's door. */
#include "hc_transport_shm.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "hc_board.h"
#include "hc_checked.h"
#include "hc_exchange.h"
#include "hc_failure.h"
#include "hc_launch.h"
#include "hc_lifeline.h"
#include "hc_rank_copy.h"
#include "hc_share.h"
#include "hc_wait.h"

static size_t room_of(const struct hc_board *b) { return b->slot_bytes - sizeof(struct hc_slot); }

static struct hc_lane *lane_of(const struct hc_op *op, const struct hc_message *m) {
    const struct hc_comm *c = op->comm;
    return m->direction == HC_OUT ? hc_lane(c->board, hc_op_channel(op), c->rank, m->peer)
                                  : hc_lane(c->board, hc_op_channel(op), m->peer, c->rank);
}

static struct hc_lane_order *order_of(const struct hc_op *op, const struct hc_message *m) {
    return hc_lane_order(op->comm, hc_op_channel(op), m->direction, m->peer);
}

static bool is_its_turn(const struct hc_op *op, const struct hc_message *m) {
    return atomic_load(&order_of(op, m)->turn) == m->turn;
}

static void ring(const struct hc_op *op, uint32_t rank) {
    hc_bell_add(&hc_presence_of(op->comm->board, rank)->door);
}

/* A slot to fill, NULL while the receiver has emptied none. */
static struct hc_slot *free_slot(const struct hc_op *op, struct hc_lane *lane) {
    const uint32_t head = atomic_load_explicit(&lane->head, memory_order_relaxed);
    if (head - atomic_load_explicit(&lane->tail, memory_order_acquire) == HC_LANE_SLOTS) return NULL;
    return hc_slot(op->comm->board, lane, head);
}

static void push_slot(const struct hc_op *op, struct hc_lane *lane, const struct hc_message *m) {
    atomic_fetch_add_explicit(&lane->head, 1, memory_order_release);
    ring(op, m->peer);
}

static void begin_slot(const struct hc_op *op, struct hc_slot *s, const struct hc_message *m,
                       enum hc_slot_mode mode, size_t bytes) {
    *s = (struct hc_slot){.mode = mode,
                          .bytes = (uint32_t)bytes,
                          .total = m->bytes,
                          .number = hc_op_channel(op) == HC_CHANNEL_COLLECTIVE ? op->seq : m->turn,
                          .type = m->type};
    if (!hc_is_batch(op->kind)) s->signature = hc_op_signature(op);
}

/* Returns whether anything happened; so do the other steps. */
static bool start_send(const struct hc_op *op, struct hc_message *m) {
    struct hc_lane *lane = lane_of(op, m);
    struct hc_slot *s;
    if (!is_its_turn(op, m) || (s = free_slot(op, lane)) == NULL) return false;
    if (m->bytes <= room_of(op->comm->board)) {
        begin_slot(op, s, m, HC_SLOT_EAGER, m->bytes);
        if (m->bytes > 0) memcpy(s->data, m->buffer, m->bytes);
        m->stage = HC_MESSAGE_OVER;
    } else if (m->where.num_spans > 0 || op->comm->heaps[m->peer] == NULL) {
        begin_slot(op, s, m, HC_SLOT_SHARED, sizeof m->where);
        memcpy(s->data, &m->where, sizeof m->where);
        m->ack = ++order_of(op, m)->acked;
        m->stage = HC_MESSAGE_UNACKED;
    } else {
        begin_slot(op, s, m, HC_SLOT_FIRST, 0);
        m->stage = HC_MESSAGE_STREAMING;
    }
    push_slot(op, lane, m);
    if (m->stage != HC_MESSAGE_STREAMING) hc_message_pass_turn(op, m);
    return true;
}

static bool stream_out(const struct hc_op *op, struct hc_message *m) {
    struct hc_lane *lane = lane_of(op, m);
    struct hc_slot *s = free_slot(op, lane);
    if (s == NULL) return false;
    for (; s != NULL && m->moved < m->bytes; s = free_slot(op, lane)) {
        const size_t n = hc_min_size(m->bytes - m->moved, room_of(op->comm->board));
        begin_slot(op, s, m, HC_SLOT_MORE, n);
        memcpy(s->data, m->buffer + m->moved, n);
        m->moved += n;
        push_slot(op, lane, m);
    }
    if (m->moved == m->bytes) {
        m->stage = HC_MESSAGE_OVER;
        hc_message_pass_turn(op, m);
    }
    return true;
}

static bool await_ack(const struct hc_op *op, struct hc_message *m) {
    if ((int32_t)(atomic_load_explicit(&lane_of(op, m)->acked, memory_order_acquire) - m->ack) < 0)
        return false;
    m->stage = HC_MESSAGE_OVER;
    return true;
}

/* The slot that is next to be read, NULL while the sender has filled none. */
static const struct hc_slot *full_slot(const struct hc_op *op, struct hc_lane *lane) {
    const uint32_t tail = atomic_load_explicit(&lane->tail, memory_order_relaxed);
    if (atomic_load_explicit(&lane->head, memory_order_acquire) == tail) return NULL;
    return hc_slot(op->comm->board, lane, tail);
}

static void pop_slot(const struct hc_op *op, struct hc_lane *lane, const struct hc_message *m) {
    atomic_fetch_add_explicit(&lane->tail, 1, memory_order_release);
    ring(op, m->peer);
}

/* What arrives must be what was asked for. */
static HcclResult check_slot(struct hc_op *op, const struct hc_message *m, const struct hc_slot *s) {
    const struct hc_signature own = hc_op_signature(op);
    if (!hc_is_batch(op->kind) && (s->number != op->seq || memcmp(&s->signature, &own, sizeof own) != 0))
        return hc_op_mismatch(op, m->peer, s->number, &s->signature);
    if (s->total != m->bytes || s->type != m->type)
        return hc_message_mismatch(op, m, s->total, (HcclDataType)s->type);
    if (s->mode == HC_SLOT_EAGER && m->bytes > room_of(op->comm->board))
        return hc_comm_fail(op->comm, HCCL_E_INTERNAL,
                            "%s: a slot of rank %u says it holds %zu bytes, has room for %zu",
                            hc_kind_name(op->kind), m->peer, m->bytes, room_of(op->comm->board));
    return HCCL_SUCCESS;
}

/* Copy straight from the sender's buffer; its place comes from another process and is checked. */
static HcclResult pull(struct hc_op *op, struct hc_message *m, const struct hc_slot *s) {
    struct hc_comm *c = op->comm;
    struct hc_buffer where;
    memcpy(&where, s->data, sizeof where);
    const char *from = NULL;
    if (c->heaps[m->peer] == NULL) from = (const char *)(uintptr_t)where.address;
    else if (where.num_spans <= HC_BUFFER_SPANS)
        from = hc_peer_heap_at(c->heaps[m->peer], where.spans, where.num_spans, m->bytes);
    if (from == NULL) return hc_comm_fail(c, HCCL_E_DRV, "%s", hc_error_text());
    hc_copy(m->buffer, from, m->bytes);
    return HCCL_SUCCESS;
}

static HcclResult broke_off(struct hc_op *op, const struct hc_message *m) {
    return hc_comm_fail(op->comm, HCCL_E_INTERNAL, "%s: a message of rank %u broke off",
                        hc_kind_name(op->kind), m->peer);
}

/* The head is copied before it is looked at: another process can write to it at any time. */
static HcclResult start_receive(struct hc_op *op, struct hc_message *m, bool *moved) {
    struct hc_lane *lane = lane_of(op, m);
    const struct hc_slot *s;
    *moved = false;
    if (!is_its_turn(op, m) || (s = full_slot(op, lane)) == NULL) return HCCL_SUCCESS;
    const struct hc_slot head = *s;
    HC_TRY(check_slot(op, m, &head));
    *moved = true;
    m->stage = HC_MESSAGE_OVER;
    if (head.mode == HC_SLOT_EAGER) {
        if (m->bytes > 0) memcpy(m->buffer, s->data, m->bytes);
    } else if (head.mode == HC_SLOT_SHARED) {
        HC_TRY(pull(op, m, s));
        atomic_fetch_add_explicit(&lane->acked, 1, memory_order_release);
    } else if (head.mode == HC_SLOT_FIRST) {
        m->stage = HC_MESSAGE_STREAMING;
    } else {
        return broke_off(op, m);
    }
    pop_slot(op, lane, m);
    if (m->stage == HC_MESSAGE_OVER) hc_message_pass_turn(op, m);
    return HCCL_SUCCESS;
}

static HcclResult stream_in(struct hc_op *op, struct hc_message *m, bool *moved) {
    struct hc_lane *lane = lane_of(op, m);
    const struct hc_slot *s;
    *moved = false;
    while (m->moved < m->bytes && (s = full_slot(op, lane)) != NULL) {
        const struct hc_slot head = *s;
        if (head.mode != HC_SLOT_MORE || head.bytes > room_of(op->comm->board) ||
            head.bytes > m->bytes - m->moved)
            return broke_off(op, m);
        memcpy(m->buffer + m->moved, s->data, head.bytes);
        m->moved += head.bytes;
        pop_slot(op, lane, m);
        *moved = true;
    }
    if (m->moved == m->bytes) {
        m->stage = HC_MESSAGE_OVER;
        hc_message_pass_turn(op, m);
    }
    return HCCL_SUCCESS;
}

static HcclResult step(struct hc_op *op, struct hc_message *m, bool *moved) {
    if (m->direction == HC_IN)
        return m->stage == HC_MESSAGE_WAITING ? start_receive(op, m, moved) : stream_in(op, m, moved);
    switch (m->stage) {
    case HC_MESSAGE_WAITING: *moved = start_send(op, m); break;
    case HC_MESSAGE_STREAMING: *moved = stream_out(op, m); break;
    default: *moved = await_ack(op, m); break;
    }
    return HCCL_SUCCESS;
}

/* One attempt on every message under way. */
static HcclResult go_round(struct hc_op *op, bool *moved) {
    *moved = false;
    for (struct hc_message **at = &op->flight; *at != NULL;) {
        bool did = false;
        HC_TRY(step(op, *at, &did));
        *moved = *moved || did;
        if ((*at)->stage == HC_MESSAGE_OVER) hc_flight_unlink(op, at);
        else at = &(*at)->next;
    }
    return HCCL_SUCCESS;
}

/* The part of a buffer whose place is known, as spans of its own. */
static bool place_within(const char *base, const struct hc_buffer *whole, size_t bytes,
                         struct hc_message *m) {
    if (whole->num_spans == 0 || !hc_memory_inside(m->buffer, m->bytes, base, bytes)) return false;
    size_t skip = (size_t)(m->buffer - base), left = m->bytes;
    struct hc_buffer part = {.address = (uint64_t)(uintptr_t)m->buffer};
    for (uint32_t i = 0; i < whole->num_spans && left > 0; i++) {
        const struct hc_share_span *s = &whole->spans[i];
        if (skip >= s->bytes) {
            skip -= s->bytes;
            continue;
        }
        const size_t n = hc_min_size(s->bytes - skip, left);
        part.spans[part.num_spans++] = (struct hc_share_span){s->offset + skip, n};
        left -= n;
        skip = 0;
    }
    if (left == 0) m->where = part;
    return left == 0;
}

/* Nothing moves before the drive: a lane needs its turn, and a rank that is late fills no slots. The place of
 * what is large enough to be read from here is told instead, where it is known. */
static HcclResult begin(struct hc_op *op, struct hc_message *m) {
    m->where.address = (uint64_t)(uintptr_t)m->buffer; /* for ranks of this process */
    if (hc_is_batch(op->kind) || m->direction == HC_IN || m->bytes <= room_of(op->comm->board))
        return HCCL_SUCCESS;
    if (!place_within(op->send, &op->send_at, op->send_bytes, m))
        place_within(op->recv, &op->recv_at, op->recv_bytes, m);
    return HCCL_SUCCESS;
}

static HcclResult drive(struct hc_op *op, const struct hc_message *until, size_t count) {
    struct hc_bell *door = &op->comm->self->door;
    bool moved = false;
    for (;;) {
        const uint32_t seen = atomic_load(&door->value);
        HC_TRY(go_round(op, &moved));
        if (hc_messages_over(until, count)) return HCCL_SUCCESS;
        if (!moved) HC_TRY(hc_wait_change(op, door, seen));
    }
}

/* First come, first served: one text per communicator. */
static void publish(struct hc_comm *c, HcclResult code, const char *text) {
    struct hc_board_head *head = hc_board_head(c->board);
    unsigned none = 0;
    if (!atomic_compare_exchange_strong(&head->failed, &none, 1)) return;
    head->code = code;
    head->rank = c->rank;
    snprintf(head->text, sizeof head->text, "%s", text);
    atomic_store(&head->failed, 2);
    for (uint32_t r = 0; r < c->num_ranks; r++) hc_bell_wake(&hc_presence_of(c->board, r)->door);
}

static bool reported(struct hc_comm *c, struct hc_report *report) {
    const struct hc_board_head *head = hc_board_head(c->board);
    if (atomic_load(&head->failed) != 2) return false;
    const int32_t code = head->code;
    *report = (struct hc_report){.code = code > HCCL_SUCCESS ? (HcclResult)code : HCCL_E_INTERNAL,
                                 .rank = head->rank};
    snprintf(report->text, sizeof report->text, "%.*s", (int)sizeof head->text, head->text);
    return true;
}

static bool has_ended(const struct hc_comm *c, uint32_t rank) {
    return c->lifelines != NULL && hc_lifeline_ended(c->lifelines[rank]);
}

/* Whether it has ended is asked first: what a process wrote before its end is then seen. */
static void status(const struct hc_comm *c, uint32_t rank, struct hc_rank_status *s) {
    const struct hc_presence *p = hc_presence_of(c->board, rank);
    const bool ended = has_ended(c, rank);
    hc_rank_status_read(p, s);
    if (ended && s->stage != HC_LEFT) s->stage = HC_ENDED; /* who left first did so on purpose */
}

/* Before the board is left by anyone: the process ids are still those of the ranks. */
static HcclResult open_lifelines(const char *caller, struct hc_comm *c) {
    c->lifelines = calloc(c->num_ranks, sizeof *c->lifelines);
    c->heaps = calloc(c->num_ranks, sizeof *c->heaps);
    HC_CHECK(c->lifelines != NULL && c->heaps != NULL, HCCL_E_MEMORY, "%s: out of host memory", caller);
    for (uint32_t r = 0; r < c->num_ranks; r++) {
        const struct hc_member *m = &c->members[r];
        if (m->pid == getpid()) continue;
        HC_TRY((HcclResult)hc_lifeline_open(caller, m->pid, &c->lifelines[r]));
        c->heaps[r] = hc_peer_heap_open(m->pid, m->heap_file, caller);
        if (c->heaps[r] == NULL) return HCCL_E_MEMORY; /* its text is set */
    }
    return HCCL_SUCCESS;
}

HcclResult hc_shm_open(const char *caller, struct hc_comm *c, int board_file) {
    HcclResult status = hc_board_check(caller, c->num_ranks, c->members[0].buffer_megabytes);
    if (status == HCCL_SUCCESS) status = open_lifelines(caller, c);
    if (status != HCCL_SUCCESS) {
        close(board_file);
        return status;
    }
    HC_TRY(hc_board_open(caller, c, board_file));
    c->self = hc_presence_of(c->board, c->rank);
    return HCCL_SUCCESS;
}

static void close_all(struct hc_comm *c) {
    c->self = NULL;
    hc_board_close(c);
    for (uint32_t r = 0; r < c->num_ranks; r++) {
        if (c->heaps != NULL) hc_peer_heap_close(c->heaps[r]);
        if (c->lifelines != NULL) hc_lifeline_close(c->lifelines[r]);
    }
    free(c->heaps);
    free(c->lifelines);
    c->heaps = NULL;
    c->lifelines = NULL;
}

static const uint64_t GRACE_NS = 20000000; /* a look or two at the lanes: nothing is on its way here */

const struct hc_transport hc_transport_shm = {.name = "shm",
                                              .close = close_all,
                                              .grace_ns = GRACE_NS,
                                              .begin = begin,
                                              .drive = drive,
                                              .publish = publish,
                                              .reported = reported,
                                              .status = status};
