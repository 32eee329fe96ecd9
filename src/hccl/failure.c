// SPDX-License-Identifier: Apache-2.0
/* What can go wrong between ranks, found out and put into words.
 *
 * A communicator fails once and for good: a collective that some ranks finished and others did not cannot be
 * repaired. The first text is kept, written on the board, and found there by every rank within a slice of its
 * wait. */
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "hc_clock.h"
#include "hc_op.h"

static void keep(struct hc_comm *c, HcclResult code, const char *text) {
    pthread_mutex_lock(&c->failure_lock);
    if (atomic_load(&c->failed) == HCCL_SUCCESS) {
        snprintf(c->failure, sizeof c->failure, "%s", text);
        atomic_store(&c->failed, code);
    }
    pthread_mutex_unlock(&c->failure_lock);
    hc_bell_wake(&c->turn);
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
    for (uint32_t r = 0; r < c->num_ranks; r++) hc_bell_wake(&hc_presence(c->board, r)->door);
}

HcclResult hc_comm_fail(struct hc_comm *c, HcclResult code, const char *fmt, ...) {
    char text[512];
    va_list args;
    va_start(args, fmt);
    vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    keep(c, code, text);
    if (c->board != NULL) publish(c, code, text);
    return hc_comm_failure(c);
}

HcclResult hc_comm_failure(struct hc_comm *c) {
    const HcclResult code = (HcclResult)atomic_load(&c->failed);
    if (code == HCCL_SUCCESS) return HCCL_SUCCESS;
    pthread_mutex_lock(&c->failure_lock);
    hc_fail(code, "%s", c->failure);
    pthread_mutex_unlock(&c->failure_lock);
    return code;
}

/* The lock keeps the board where it is: another thread may resume the communicator. */
HcclResult hc_comm_listen(struct hc_comm *c) {
    char text[640] = "";
    int32_t code = HCCL_SUCCESS;
    pthread_mutex_lock(&c->failure_lock);
    const struct hc_board_head *head = c->board != NULL ? hc_board_head(c->board) : NULL;
    if (head != NULL && atomic_load(&head->failed) == 2 && atomic_load(&c->failed) == HCCL_SUCCESS) {
        code = head->code;
        snprintf(text, sizeof text, "communicator %s on rank %u of %u: rank %u reports: %.400s", c->name,
                 c->rank, c->num_ranks, head->rank, head->text);
    }
    pthread_mutex_unlock(&c->failure_lock);
    if (code != HCCL_SUCCESS) keep(c, (HcclResult)code, text);
    return hc_comm_failure(c);
}

/* "rank 2 (process 71) waits in HcclBroadcast number 13 (5 float32)" */
static int describe_rank(const struct hc_comm *c, uint32_t rank, char *text, size_t room) {
    const struct hc_presence *p = hc_presence(c->board, rank);
    const int pid = atomic_load(&p->pid);
    const uint32_t seq = atomic_load(&p->seq);
    if (atomic_load(&p->stage) == HC_LEFT)
        return snprintf(text, room, "rank %u (process %d) has destroyed the communicator", rank, pid);
    if (atomic_load(&p->inside) != 0)
        return snprintf(text, room, "rank %u (process %d) waits in %s number %u (%llu %s)", rank, pid,
                        hc_kind_name(atomic_load(&p->kind)), seq, atomic_load(&p->count),
                        hc_hccl_type_name((HcclDataType)atomic_load(&p->type)));
    if (atomic_load(&p->message_inside) != 0)
        return snprintf(text, room, "rank %u (process %d) waits in a %s rank %u", rank, pid,
                        atomic_load(&p->message_direction) == HC_OUT ? "send to" : "receive from",
                        atomic_load(&p->message_peer));
    if (seq == 0) return snprintf(text, room, "rank %u (process %d) has called no collective", rank, pid);
    return snprintf(text, room, "rank %u (process %d) is in none, its last was %s number %u", rank, pid,
                    hc_kind_name(atomic_load(&p->kind)), seq);
}

/* Whether this operation waits for that rank. */
static bool waits_for(const struct hc_op *op, uint32_t rank) {
    const struct hc_comm *c = op->comm;
    if (rank == c->rank) return false;
    if (!hc_is_batch(op->kind)) {
        const struct hc_presence *p = hc_presence(c->board, rank);
        return (int32_t)(atomic_load(&p->seq) - op->seq) < 0 ||
               (atomic_load(&p->seq) == op->seq && atomic_load(&p->inside) != 0);
    }
    for (size_t i = 0; i < op->num_messages; i++)
        if (op->messages[i].peer == rank && op->messages[i].stage != HC_MESSAGE_OVER) return true;
    return false;
}

/* Those that have not come, as "missing" is what the user looks for; then what each of them does instead. */
static void describe_missing(const struct hc_op *op, char *text, size_t room) {
    const struct hc_comm *c = op->comm;
    size_t used = 0;
    for (uint32_t r = 0; r < c->num_ranks && used + 100 < room; r++) {
        const struct hc_presence *p = hc_presence(c->board, r);
        const bool here = !hc_is_batch(op->kind) && atomic_load(&p->seq) == op->seq;
        if (!waits_for(op, r) || here) continue;
        used += (size_t)snprintf(text + used, room - used, "%s", used > 0 ? "; " : "");
        used += (size_t)describe_rank(c, r, text + used, room - used);
    }
    if (used == 0) snprintf(text, room, "all ranks have come, none is done");
}

static const char *op_text(const struct hc_op *op, char *text, size_t room) {
    const struct hc_comm *c = op->comm;
    if (hc_is_batch(op->kind))
        snprintf(text, room, "%s of communicator %s on rank %u of %u", hc_kind_name(op->kind), c->name,
                 c->rank, c->num_ranks);
    else
        snprintf(text, room, "%s number %u (%llu %s) of communicator %s on rank %u of %u",
                 hc_kind_name(op->kind), op->seq, (unsigned long long)op->count, hc_hccl_type_name(op->type),
                 c->name, c->rank, c->num_ranks);
    return text;
}

static bool has_ended(const struct hc_comm *c, uint32_t rank) {
    if (c->lifelines == NULL || c->lifelines[rank] < 0) return false;
    struct pollfd p = {c->lifelines[rank], POLLIN, 0};
    return poll(&p, 1, 0) == 1;
}

static HcclResult check_ranks(struct hc_op *op) {
    struct hc_comm *c = op->comm;
    char what[300];
    for (uint32_t r = 0; r < c->num_ranks; r++) {
        if (!waits_for(op, r)) continue;
        if (atomic_load(&hc_presence(c->board, r)->stage) == HC_LEFT)
            return hc_comm_fail(c, HCCL_E_REMOTE, "%s: rank %u (process %d) has destroyed the communicator",
                                op_text(op, what, sizeof what), r, c->members[r].pid);
        if (has_ended(c, r))
            return hc_comm_fail(c, HCCL_E_REMOTE, "%s: rank %u (process %d on %s) has ended",
                                op_text(op, what, sizeof what), r, c->members[r].pid,
                                c->members[r].host_name);
    }
    return HCCL_SUCCESS;
}

HcclResult hc_op_trouble(struct hc_op *op) {
    struct hc_comm *c = op->comm;
    char what[300], who[400];
    HC_TRY(hc_comm_failure(c));
    if (hc_abort_requested())
        return hc_comm_fail(c, HCCL_E_SUSPENDING, "%s: given up, its stream is aborted",
                            op_text(op, what, sizeof what));
    if (c->board == NULL) return HCCL_SUCCESS;
    const struct hc_board_head *head = hc_board_head(c->board);
    if (atomic_load(&head->failed) == 2) {
        char text[640];
        snprintf(text, sizeof text, "%s: rank %u reports: %.400s", op_text(op, what, sizeof what), head->rank,
                 head->text);
        keep(c, (HcclResult)head->code, text);
        return hc_comm_failure(c);
    }
    HC_TRY(check_ranks(op));
    if (op->deadline == 0 || hc_now_ns() < op->deadline) return HCCL_SUCCESS;
    describe_missing(op, who, sizeof who);
    return hc_comm_fail(c, HCCL_E_TIMEOUT, "%s: timed out after %u s (HCCL_EXEC_TIMEOUT): %s",
                        op_text(op, what, sizeof what), c->exec_timeout_s, who);
}
