// SPDX-License-Identifier: Apache-2.0
/* What can go wrong between ranks, found out and put into words.
 *
 * A communicator fails once and for good: a collective that some ranks finished and others did not cannot be
 * repaired. The first text is kept and told to the others, and every rank finds it within a slice of its
 * wait. */
#include "hc_failure.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "hc_clock.h"
#include "hc_launch.h"
#include "hc_transport.h"

enum { FAILURE_BYTES = sizeof((struct hc_comm *)0)->failure };

/* Clients end their process when they find the failure: the trace should show what came before. */
static void keep(struct hc_comm *c, HcclResult code, const char *text) {
    hc_trace_write();
    pthread_mutex_lock(&c->failure_lock);
    if (atomic_load(&c->failed) == HCCL_SUCCESS) {
        snprintf(c->failure, sizeof c->failure, "%s", text);
        atomic_store(&c->failed, code);
    }
    pthread_mutex_unlock(&c->failure_lock);
    hc_bell_wake(&c->turn);
}

HcclResult hc_comm_fail(struct hc_comm *c, HcclResult code, const char *fmt, ...) {
    char text[FAILURE_BYTES];
    va_list args;
    va_start(args, fmt);
    vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    keep(c, code, text);
    if (c->transport != NULL) c->transport->publish(c, code, text);
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

/* "HcclBroadcast (5 float32, sum, root 1)" */
static const char *signature_text(const struct hc_signature *s, char *text, size_t room) {
    snprintf(text, room, "%s (%llu %s, %s, root %u)", hc_kind_name(s->kind), (unsigned long long)s->count,
             hc_hccl_type_name((HcclDataType)s->type), hc_reduce_name((HcclReduceOp)s->reduce), s->root);
    return text;
}

HcclResult hc_op_mismatch(struct hc_op *op, uint32_t rank, uint32_t seq, const struct hc_signature *other) {
    const struct hc_comm *c = op->comm;
    const struct hc_signature own = hc_op_signature(op);
    char mine[160], theirs[160], number[32] = "";
    if (seq != op->seq) snprintf(number, sizeof number, ", its number %u", seq);
    return hc_comm_fail(
        op->comm, HCCL_E_PARA,
        "collective number %u of communicator %s differs between ranks: rank %u called %s, rank "
        "%u called %s%s",
        op->seq, c->title, c->rank, signature_text(&own, mine, sizeof mine), rank,
        signature_text(other, theirs, sizeof theirs), number);
}

HcclResult hc_message_mismatch(struct hc_op *op, const struct hc_message *m, uint64_t bytes,
                               HcclDataType type) {
    return hc_comm_fail(
        op->comm, HCCL_E_PARA,
        "%s of communicator %s: rank %u sends %llu bytes of %s, rank %u receives %zu bytes of %s",
        hc_kind_name(op->kind), op->comm->title, m->peer, (unsigned long long)bytes, hc_hccl_type_name(type),
        op->comm->rank, m->bytes, hc_hccl_type_name((HcclDataType)m->type));
}

/* "rank 2 (process 71 on node1) waits in HcclBroadcast number 13 (5 float32)" */
static int describe_rank(const struct hc_comm *c, uint32_t rank, const struct hc_rank_status *s, char *text,
                         size_t room) {
    const struct hc_member *m = &c->members[rank];
    char who[120];
    snprintf(who, sizeof who, "rank %u (process %d on %.60s)", rank, m->pid, m->host_name);
    if (s->stage == HC_ENDED) return snprintf(text, room, "%s has ended", who);
    if (s->stage == HC_CUT) return snprintf(text, room, "%s cannot be reached any more", who);
    if (s->stage == HC_LEFT) return snprintf(text, room, "%s has left the communicator", who);
    if (!s->known) return snprintf(text, room, "%s does not answer", who);
    if (s->inside)
        return snprintf(text, room, "%s waits in %s number %u (%llu %s)", who, hc_kind_name(s->kind), s->seq,
                        (unsigned long long)s->count, hc_hccl_type_name((HcclDataType)s->type));
    if (s->message_inside)
        return snprintf(text, room, "%s waits in a %s rank %u", who,
                        s->message_direction == HC_OUT ? "send to" : "receive from", s->message_peer);
    if (s->seq == 0) return snprintf(text, room, "%s has called no collective", who);
    return snprintf(text, room, "%s is in none, its last was %s number %u", who, hc_kind_name(s->kind),
                    s->seq);
}

/* Whether this operation waits for that rank: for a message, or for its part in a collective that works on
 * shared buffers. */
static bool waits_for(const struct hc_op *op, uint32_t rank, const struct hc_rank_status *s) {
    if (rank == op->comm->rank) return false;
    for (const struct hc_message *m = op->flight; m != NULL; m = m->next)
        if (m->peer == rank && m->stage != HC_MESSAGE_OVER) return true;
    if (hc_is_batch(op->kind) || op->flight != NULL) return false;
    return (int32_t)(s->seq - op->seq) < 0 || (s->seq == op->seq && s->inside);
}

/* Those that have not come, as "missing" is what the user looks for, and what each of them does instead. */
static void describe_missing(const struct hc_op *op, char *text, size_t room) {
    const struct hc_comm *c = op->comm;
    size_t used = 0;
    for (uint32_t r = 0; r < c->num_ranks && used + 200 < room; r++) {
        struct hc_rank_status s;
        c->transport->status(c, r, &s);
        const bool here = s.known && s.stage == HC_JOINED && s.seq == op->seq;
        const bool late = !hc_is_batch(op->kind) && (int32_t)(s.seq - op->seq) < 0;
        if (r == c->rank || (!late && (here || !waits_for(op, r, &s)))) continue;
        used += (size_t)snprintf(text + used, room - used, "%s", used > 0 ? "; " : "");
        used += (size_t)describe_rank(c, r, &s, text + used, room - used);
    }
    if (used == 0) snprintf(text, room, "all ranks have come, none is done");
}

/* A rank that is gone and waited for is trouble only if what it left behind does not arrive any more. */
static bool is_suspect(struct hc_op *op, uint32_t rank) {
    const uint64_t now = hc_now_ns();
    if (op->suspect_since == 0 || op->suspect != rank) {
        op->suspect = rank;
        op->suspect_since = now;
    }
    return now - op->suspect_since >= op->comm->transport->grace_ns;
}

/* Another rank is in a collective of this number that is not the same: algorithms that differ may never meet
 * to compare what was called. What the status lacks (reduction, root) is taken as ours. */
static HcclResult check_same_call(struct hc_op *op, uint32_t rank, const struct hc_rank_status *s) {
    const struct hc_signature own = hc_op_signature(op);
    struct hc_signature other = own;
    other.kind = (uint8_t)s->kind;
    other.type = (uint8_t)s->type;
    other.count = s->count;
    if (!s->known || !s->settled || s->seq != op->seq || memcmp(&own, &other, sizeof own) == 0)
        return HCCL_SUCCESS;
    return hc_op_mismatch(op, rank, s->seq, &other);
}

static HcclResult check_ranks(struct hc_op *op) {
    struct hc_comm *c = op->comm;
    char what[300], who[200];
    for (uint32_t r = 0; r < c->num_ranks; r++) {
        struct hc_rank_status s;
        c->transport->status(c, r, &s);
        if (!hc_is_batch(op->kind) && r != c->rank) HC_TRY(check_same_call(op, r, &s));
        if (s.stage < HC_LEFT || !waits_for(op, r, &s)) continue;
        if (!is_suspect(op, r)) return HCCL_SUCCESS;
        describe_rank(c, r, &s, who, sizeof who);
        return hc_comm_fail(c, HCCL_E_REMOTE, "%s: %s", hc_op_text(op, what, sizeof what), who);
    }
    return HCCL_SUCCESS;
}

static HcclResult check_reports(struct hc_op *op) {
    struct hc_comm *c = op->comm;
    struct hc_report report;
    char text[640], what[300];
    if (!c->transport->reported(c, &report)) return HCCL_SUCCESS;
    snprintf(text, sizeof text, "%s: rank %u reports: %.400s", hc_op_text(op, what, sizeof what), report.rank,
             report.text);
    keep(c, report.code, text);
    return hc_comm_failure(c);
}

/* The lock keeps the transport where it is: another thread may resume the communicator. */
static bool is_reported(struct hc_comm *c, struct hc_report *report) {
    pthread_mutex_lock(&c->failure_lock);
    const bool found = c->transport != NULL && c->transport->reported(c, report);
    pthread_mutex_unlock(&c->failure_lock);
    return found;
}

HcclResult hc_comm_poll(struct hc_comm *c) {
    struct hc_report report;
    if (atomic_load(&c->failed) == HCCL_SUCCESS && is_reported(c, &report)) {
        char text[FAILURE_BYTES];
        snprintf(text, sizeof text, "communicator %s on rank %u of %u: rank %u reports: %s", c->title,
                 c->rank, c->num_ranks, report.rank, report.text);
        keep(c, report.code, text);
    }
    return hc_comm_failure(c);
}

HcclResult hc_op_trouble(struct hc_op *op) {
    struct hc_comm *c = op->comm;
    char what[300], who[1000];
    HC_TRY(hc_comm_failure(c));
    if (hc_abort_requested())
        return hc_comm_fail(c, HCCL_E_SUSPENDING, "%s: given up, its stream is aborted",
                            hc_op_text(op, what, sizeof what));
    if (c->transport == NULL) return HCCL_SUCCESS;
    HC_TRY(check_reports(op));
    HC_TRY(check_ranks(op));
    if (op->deadline == 0 || hc_now_ns() < op->deadline) return HCCL_SUCCESS;
    if (c->transport->ask != NULL) c->transport->ask(c);
    describe_missing(op, who, sizeof who);
    return hc_comm_fail(c, HCCL_E_TIMEOUT, "%s: timed out after %u s (HCCL_EXEC_TIMEOUT): %s",
                        hc_op_text(op, what, sizeof what), c->exec_timeout_s, who);
}
