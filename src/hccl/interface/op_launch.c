// SPDX-License-Identifier: Apache-2.0
/* Operations as tasks of a stream.
 *
 * Collectives of one communicator run one after the other, in the order of their launch, on whatever streams
 * they are: they share its board. Messages are ordered per peer and direction only. Different communicators
 * know nothing of each other and run side by side. */
#include "hc_op_launch.h"

#include <stdio.h>
#include <string.h>

#include "hc_board.h"
#include "hc_clock.h"
#include "hc_exchange.h"
#include "hc_failure.h"
#include "hc_launch.h"
#include "hc_link.h"
#include "hc_select.h"
#include "hc_share.h"
#include "hc_steps.h"
#include "hc_wait.h"

/* A collective that never ran leaves the others waiting for it: they should know, and why: it is the one
 * error that all ranks then have. The text stays this thread's. */
static void release(void *arg) {
    struct hc_op *op = arg;
    if (hc_dropped() != 0 && op->comm->num_ranks > 1) {
        char why[512];
        snprintf(why, sizeof why, "%s", hc_error_text());
        hc_comm_fail(op->comm, HCCL_E_SUSPENDING, "%s of communicator %s on rank %u was dropped: %s",
                     hc_kind_name(op->kind), op->comm->title, op->comm->rank, why);
        hc_error_set_text(why);
    }
    hc_op_destroy(op);
}

static void describe(const void *arg, struct hc_task_info *info) {
    const struct hc_op *op = arg;
    info->bytes = op->send_bytes + op->recv_bytes;
    info->flops = 0;
    for (size_t i = 0; i < op->num_messages; i++) info->bytes += op->messages[i].bytes;
    if (hc_is_batch(op->kind))
        snprintf(info->shapes, sizeof info->shapes, "%zu messages, %u ranks, %s", op->num_messages,
                 op->comm->num_ranks, op->comm->title);
    else
        snprintf(info->shapes, sizeof info->shapes, "%s[%llu] %u ranks, %s, %s", hc_hccl_type_name(op->type),
                 (unsigned long long)op->count, op->comm->num_ranks, op->algo->name, op->comm->title);
}

static void visit_buffers(const void *arg, hc_visit_fn *visit, void *ctx) {
    const struct hc_op *op = arg;
    visit(ctx, op->send, op->send_bytes, false);
    visit(ctx, op->recv, op->recv_bytes, true);
    for (size_t i = 0; i < op->num_messages; i++)
        visit(ctx, op->messages[i].buffer, op->messages[i].bytes, true);
}

static void enter(const struct hc_op *op) {
    struct hc_presence *p = op->comm->self;
    const uint32_t version = atomic_load_explicit(&p->version, memory_order_relaxed);
    atomic_store(&p->version, version + 1);
    atomic_store_explicit(&p->kind, op->kind, memory_order_relaxed);
    atomic_store_explicit(&p->type, op->type, memory_order_relaxed);
    atomic_store_explicit(&p->count, op->count, memory_order_relaxed);
    atomic_store_explicit(&p->inside, 1, memory_order_relaxed);
    atomic_store_explicit(&p->seq, op->seq, memory_order_relaxed);
    atomic_store_explicit(&p->version, version + 2, memory_order_release);
}

static void leave(const struct hc_op *op) {
    atomic_store_explicit(&op->comm->self->inside, 0, memory_order_relaxed);
}

static HcclResult run_collective(struct hc_op *op) {
    HC_TRY(hc_wait(op, &op->comm->turn, op->seq));
    enter(op);
    HcclResult status = op->algo->run(op);
    while (status == HC_DECLINED) {
        op->algo = hc_select(op, op->algo);
        status = op->algo != NULL ? op->algo->run(op)
                                  : hc_comm_fail(op->comm, HCCL_E_NOT_SUPPORT, "%s", hc_error_text());
    }
    if (status == HCCL_SUCCESS) status = hc_link_wait(op);
    leave(op);
    if (status == HCCL_SUCCESS) hc_bell_add(&op->comm->turn);
    return status;
}

static HcclResult run_messages(struct hc_op *op) {
    HC_TRY(hc_exchange(op, op->messages, op->num_messages));
    return hc_link_wait(op);
}

/* What is broken already is not begun: a collective that finds the others' posts could finish on some ranks.
 */
static HcclResult check_health(struct hc_comm *c) {
    const bool quiet = c->board != NULL && atomic_load(&hc_board_head(c->board)->failed) == 0;
    return quiet ? hc_comm_failure(c) : hc_comm_poll(c);
}

/* The code sticks to the stream, with the text of hc_fail. */
static aclError run(void *arg) {
    struct hc_op *op = arg;
    if (op->comm->num_ranks == 1) return op->algo->run(op) == HCCL_SUCCESS ? 0 : ACL_ERROR_RT_INTERNAL_ERROR;
    const uint32_t limit = op->comm->exec_timeout_s;
    op->deadline = limit > 0 ? hc_now_ns() + limit * 1000000000ull : 0;
    HcclResult status = check_health(op->comm);
    if (status == HCCL_SUCCESS) status = hc_is_batch(op->kind) ? run_messages(op) : run_collective(op);
    hc_peer_heap_release();
    return status == HCCL_SUCCESS ? 0 : ACL_ERROR_RT_INTERNAL_ERROR;
}

/* What another rank reports is no error here yet: a running operation finds it, and the stream's next
 * synchronise says so. Only a failure that this rank has met already refuses the launch. */
static HcclResult check_stream(const struct hc_op *op, aclrtStream stream) {
    struct hc_comm *c = op->comm;
    const char *name = hc_kind_name(op->kind);
    hc_comm_lock();
    const bool suspended = c->suspended;
    hc_comm_unlock();
    HC_CHECK(!suspended, HCCL_E_SUSPENDING, "%s: communicator %s is suspended", name, c->title);
    HC_TRY(hc_comm_failure(c));
    if (stream == NULL) return HCCL_SUCCESS;
    const int32_t device = hc_stream_device(stream);
    HC_CHECK(device >= 0, HCCL_E_PARA, "%s: %p is no stream", name, stream);
    HC_CHECK(device == c->device, HCCL_E_PARA, "%s: the stream is of device %d, communicator %s of device %d",
             name, device, c->title, c->device);
    return HCCL_SUCCESS;
}

/* Where the others find a buffer; 0 spans where they cannot. */
static HcclResult expose(const struct hc_op *op, const void *buffer, size_t bytes, struct hc_buffer *at) {
    size_t count = 0;
    at->address = (uint64_t)(uintptr_t)buffer;
    at->num_spans = 0;
    if (bytes == 0 || op->comm->board == NULL) return HCCL_SUCCESS;
    if (hc_share_locate(op->comm->device, buffer, bytes, hc_kind_name(op->kind), at->spans, HC_BUFFER_SPANS,
                        &count) != 0)
        return HCCL_E_MEMORY; /* its text is set */
    at->num_spans = (uint32_t)count;
    return HCCL_SUCCESS;
}

/* What fits into a post or a slot is copied there and needs no sharing. */
static HcclResult expose_buffers(struct hc_op *op) {
    if (op->comm->board == NULL) return HCCL_SUCCESS;
    for (size_t i = 0; i < op->num_messages; i++) {
        struct hc_message *m = &op->messages[i];
        if (m->direction == HC_OUT && m->bytes > op->comm->board->slot_bytes - sizeof(struct hc_slot))
            HC_TRY(expose(op, m->buffer, m->bytes, &m->where));
    }
    if (hc_is_batch(op->kind)) return HCCL_SUCCESS;
    if (hc_op_fits_post(op)) {
        op->shared = true;
        return HCCL_SUCCESS;
    }
    const bool writes =
        op->kind == HC_OP_ALL_REDUCE || op->kind == HC_OP_REDUCE || op->algo->supports == hc_messages_support;
    HC_TRY(expose(op, op->send, op->send_bytes, &op->send_at));
    if (writes) HC_TRY(expose(op, op->recv, op->recv_bytes, &op->recv_at));
    op->shared = (op->send_bytes == 0 || op->send_at.num_spans > 0) &&
                 (!writes || op->recv_bytes == 0 || op->recv_at.num_spans > 0);
    return HCCL_SUCCESS;
}

/* Numbers are given under one lock with the launch, so that the order of numbers is the order in the stream.
 */
static void number(struct hc_op *op) {
    struct hc_comm *c = op->comm;
    if (!hc_is_batch(op->kind)) op->seq = c->next_seq++;
    for (size_t i = 0; hc_is_batch(op->kind) && i < op->num_messages; i++) {
        struct hc_message *m = &op->messages[i];
        m->turn = hc_lane_order(c, HC_CHANNEL_POINT_TO_POINT, m->direction, m->peer)->given++;
    }
}

static HcclResult prepare(struct hc_op *op, aclrtStream stream) {
    HC_TRY(check_stream(op, stream));
    if (!hc_is_batch(op->kind) || op->comm->num_ranks == 1) {
        op->algo = hc_select(op, NULL);
        if (op->algo == NULL) return HCCL_E_NOT_SUPPORT;
    }
    return expose_buffers(op);
}

HcclResult hc_op_launch(struct hc_op *op, aclrtStream stream) {
    const HcclResult status = prepare(op, stream);
    if (status != HCCL_SUCCESS) {
        hc_op_destroy(op);
        return status;
    }
    struct hc_comm *c = op->comm;
    const struct hc_task task = {.name = hc_kind_name(op->kind),
                                 .kind = HC_TASK_COLLECTIVE,
                                 .may_block = c->num_ranks > 1,
                                 .once = true, /* it has its number in the order of the group */
                                 .arg = op,
                                 .run = run,
                                 .release = release,
                                 .describe = describe,
                                 .visit = visit_buffers};
    hc_comm_retain(c);
    pthread_mutex_lock(&c->order_lock);
    number(op);
    const aclError code = hc_launch(stream, &task);
    pthread_mutex_unlock(&c->order_lock);
    hc_comm_release(c);
    return code == 0 ? HCCL_SUCCESS : HCCL_E_RUNTIME; /* its text is set */
}
