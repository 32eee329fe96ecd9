// SPDX-License-Identifier: Apache-2.0
/* Messages between ranks of several hosts, as tagged messages of UCX.
 *
 * A message is a head that says what its sender called, and its data: small data right behind the head,
 * larger data as a message of its own, received in place (wires.c). */
#include "hc_transport_ucx.h"

#include <poll.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>

#include "hc_clock.h"
#include "hc_control.h"
#include "hc_exchange.h"
#include "hc_failure.h"
#include "hc_launch.h"
#include "hc_net.h"
#include "hc_wires.h"
#include "hc_worker.h"

enum { SLICE_MS = 50, CROWDED_SLICE_MS = 1, SPIN_US = 50 };

/* The endpoint is made for receiving as well: its end shows that of the peer. */
static HcclResult begin(struct hc_op *op, struct hc_message *m) {
    struct hc_net *net = op->comm->net;
    HcclResult status = HCCL_SUCCESS;
    pthread_mutex_lock(&net->lock);
    void *ep = net->worker != NULL ? hc_worker_endpoint(net, m->peer) : NULL;
    if (net->worker != NULL) m->wire = hc_wire_make(net, m);
    if (net->worker != NULL && m->wire == NULL) status = HCCL_E_MEMORY;
    else if (m->wire != NULL && m->direction == HC_IN) hc_wire_receive(net, op, m);
    else if (ep != NULL) hc_wire_send(net, op, m, ep);
    pthread_mutex_unlock(&net->lock);
    return status == HCCL_SUCCESS
               ? HCCL_SUCCESS
               : hc_comm_fail(op->comm, status, "%s: out of host memory", hc_kind_name(op->kind));
}

static HcclResult check_length(struct hc_op *op, const struct hc_message *m, int part, size_t wanted) {
    const size_t length = m->wire->parts[part].length;
    return length == wanted
               ? HCCL_SUCCESS
               : hc_comm_fail(op->comm, HCCL_E_INTERNAL, "%s: a message of rank %u has %zu bytes, wanted %zu",
                              hc_kind_name(op->kind), m->peer, length, wanted);
}

/* What arrives must be what was asked for: its head is there, says so, and what came is as long as it says.
 */
static HcclResult check_head(struct hc_op *op, const struct hc_message *m) {
    const struct hc_wire_head *h = &m->wire->head;
    const struct hc_signature own = hc_op_signature(op);
    const size_t length = m->wire->parts[HC_WIRE_HEAD].length;
    if (length < sizeof *h || h->magic != HC_WIRE_MAGIC)
        return hc_comm_fail(op->comm, HCCL_E_INTERNAL, "%s: a message of rank %u has no head",
                            hc_kind_name(op->kind), m->peer);
    if (!hc_is_batch(op->kind) && (h->number != op->seq || memcmp(&h->signature, &own, sizeof own) != 0))
        return hc_op_mismatch(op, m->peer, h->number, &h->signature);
    if (h->total != m->bytes || h->type != m->type)
        return hc_message_mismatch(op, m, h->total, (HcclDataType)h->type);
    return check_length(op, m, HC_WIRE_HEAD, sizeof *h + (m->bytes <= HC_WIRE_INLINE ? m->bytes : 0));
}

static void note_broken(struct hc_net *net, uint32_t rank, hc_ucs_status status) {
    if (net->broken_since != 0) return;
    net->broken_since = hc_now_ns();
    net->broken_rank = rank;
    net->broken_status = status;
}

/* Under the lock. Sets m->stage when the message is over. */
static HcclResult look_at(struct hc_net *net, struct hc_op *op, struct hc_message *m) {
    struct hc_wire *w = m->wire;
    const struct hc_endpoint *e = &net->endpoints[m->peer];
    if (w != NULL && w->incoming && w->parts[HC_WIRE_HEAD].over && w->parts[HC_WIRE_HEAD].status == HC_UCS_OK)
        HC_TRY(check_head(op, m));
    bool over = w != NULL;
    for (int i = 0; i < HC_WIRE_PARTS && w != NULL; i++) {
        const struct hc_wire_part *p = &w->parts[i];
        over = over && p->over && p->status == HC_UCS_OK;
        if (p->over && p->status != HC_UCS_OK) note_broken(net, m->peer, p->status);
    }
    if (!over && e->status != HC_UCS_OK) note_broken(net, m->peer, e->status);
    if (!over) return HCCL_SUCCESS;
    if (w->incoming && m->bytes > HC_WIRE_INLINE) HC_TRY(check_length(op, m, HC_WIRE_DATA, m->bytes));
    if (w->incoming && m->bytes <= HC_WIRE_INLINE && m->bytes > 0) memcpy(m->buffer, w->data, m->bytes);
    m->stage = HC_MESSAGE_OVER;
    return HCCL_SUCCESS;
}

/* Under the lock. */
static HcclResult reap(struct hc_net *net, struct hc_op *op) {
    for (struct hc_message **at = &op->flight; *at != NULL;) {
        struct hc_message *m = *at;
        HC_TRY(look_at(net, op, m));
        if (m->stage != HC_MESSAGE_OVER) {
            at = &m->next;
            continue;
        }
        hc_wire_drop(m);
        hc_message_pass_turn(op, m);
        hc_flight_unlink(op, at);
    }
    return HCCL_SUCCESS;
}

/* A broken connection is a consequence: who ended or was cut off is told by the control connection, a little
 * later perhaps. */
static HcclResult trouble(struct hc_net *net, struct hc_op *op) {
    char what[300];
    HC_TRY(hc_op_trouble(op));
    pthread_mutex_lock(&net->lock);
    const uint64_t since = net->broken_since;
    const uint32_t rank = net->broken_rank;
    const hc_ucs_status why = net->broken_status;
    pthread_mutex_unlock(&net->lock);
    if (since == 0 || hc_now_ns() - since < 2 * hc_transport_ucx.grace_ns) return HCCL_SUCCESS;
    const struct hc_member *m = &op->comm->members[rank];
    return hc_comm_fail(op->comm, HCCL_E_REMOTE, "%s: the connection to rank %u (process %d on %s) broke: %s",
                        hc_op_text(op, what, sizeof what), rank, m->pid, m->host_name,
                        net->ucp->status_string(why));
}

/* Nothing has moved for a while: sleep until the worker has an event. Others that drive this net may take it,
 * so with them around the sleep is short. Nobody touches buffers here, so memory may be moved meanwhile. */
static void sleep_a_slice(struct hc_net *net) {
    hc_stream_park(true);
    pthread_mutex_lock(&net->lock);
    const bool armed = net->worker != NULL && net->ucp->worker_arm(net->worker) == HC_UCS_OK;
    struct pollfd p = {net->event_file, POLLIN, 0};
    pthread_mutex_unlock(&net->lock);
    if (armed) poll(&p, 1, atomic_load(&net->waiters) > 1 ? CROWDED_SLICE_MS : SLICE_MS);
    hc_stream_park(false);
}

/* One look: *moved tells whether the worker did anything. */
static HcclResult go_round(struct hc_net *net, struct hc_op *op, bool *moved) {
    HcclResult status;
    pthread_mutex_lock(&net->lock);
    *moved = net->worker != NULL && hc_worker_progress(net);
    status = reap(net, op);
    pthread_mutex_unlock(&net->lock);
    return status;
}

static HcclResult drive_on(struct hc_net *net, struct hc_op *op, const struct hc_message *until,
                           size_t count) {
    const uint64_t patience = op->comm->spins > 0 ? SPIN_US * 1000ull : 0;
    uint64_t idle_since = 0, looked = hc_now_ns();
    for (;;) {
        bool moved;
        HC_TRY(go_round(net, op, &moved));
        if (hc_messages_over(until, count)) return HCCL_SUCCESS;
        const uint64_t now = hc_now_ns();
        if (moved || idle_since == 0) idle_since = now;
        if (now - looked > SLICE_MS * 1000000ull) {
            looked = now;
            HC_TRY(trouble(net, op));
        }
        if (now - idle_since < patience) continue;
        sched_yield(); /* the other side may share our core */
        if (!moved) sleep_a_slice(net);
    }
}

static HcclResult drive(struct hc_op *op, const struct hc_message *until, size_t count) {
    struct hc_net *net = op->comm->net;
    atomic_fetch_add(&net->waiters, 1);
    const HcclResult status = drive_on(net, op, until, count);
    atomic_fetch_sub(&net->waiters, 1);
    return status;
}

/* UCX cannot take back a message that is under way, so the whole worker goes: a communicator fails for good.
 */
static void cancel(struct hc_op *op) {
    struct hc_net *net = op->comm->net;
    pthread_mutex_lock(&net->lock);
    hc_worker_shut(net);
    for (struct hc_message *m = op->flight; m != NULL; m = m->next) hc_wire_drop(m);
    pthread_mutex_unlock(&net->lock);
}

static void publish(struct hc_comm *c, HcclResult code, const char *text) {
    struct hc_notice n = {.type = HC_NOTICE_FAILED, .to = HC_NOTICE_ALL, .code = code};
    snprintf(n.text, sizeof n.text, "%s", text);
    hc_control_send(c->net, &n);
}

static bool reported(struct hc_comm *c, struct hc_report *report) {
    struct hc_net *net = c->net;
    pthread_mutex_lock(&net->control_lock);
    const bool found = net->reported;
    if (found) *report = net->report;
    pthread_mutex_unlock(&net->control_lock);
    return found;
}

static void status(const struct hc_comm *c, uint32_t rank, struct hc_rank_status *s) {
    struct hc_net *net = c->net;
    if (rank == c->rank) {
        hc_rank_status_read(c->self, s);
        return;
    }
    pthread_mutex_lock(&net->control_lock);
    *s = net->others[rank];
    pthread_mutex_unlock(&net->control_lock);
}

static void ask(struct hc_comm *c) { hc_control_ask(c->net); }

const struct hc_transport hc_transport_ucx = {.name = "UCX",
                                              .close = hc_net_close,
                                              .grace_ns = 1000000000, /* for what is on its way */
                                              .begin = begin,
                                              .drive = drive,
                                              .cancel = cancel,
                                              .publish = publish,
                                              .reported = reported,
                                              .status = status,
                                              .ask = ask};
