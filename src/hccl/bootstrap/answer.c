// SPDX-License-Identifier: Apache-2.0
#include "hc_answer.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "hc_clock.h"
#include "hc_relay.h"
#include "hc_socket.h"

enum { SEND_MS = 30000 };

static bool same_meeting(const struct hc_caller *c, const struct hc_call *call) {
    return c->stage == HC_CALLER_WAITS && memcmp(c->call.id, call->id, sizeof call->id) == 0;
}

static void answer_error(struct hc_callers *all, struct hc_caller *c, HcclResult code, const char *text) {
    struct hc_answer answer = {.code = (uint32_t)code};
    snprintf(answer.text, sizeof answer.text, "%s", text);
    hc_answer_seal(&answer, &c->challenge, &c->call, &c->key);
    hc_socket_send(c->socket, &answer, sizeof answer, SEND_MS);
    hc_callers_drop(all, c);
}

/* A meeting fails for all who came, with one text: those answered later would miss the ones answered first.
 */
static void fail_meeting(struct hc_callers *all, const struct hc_call *call, HcclResult code,
                         const char *text) {
    for (struct hc_caller *c = all->known.first, *next; c != NULL; c = next) {
        next = c->next;
        if (same_meeting(c, call)) answer_error(all, c, code, text);
    }
}

/* Ranks of the meeting that have not called, as text. */
static void list_missing(const struct hc_callers *all, const struct hc_call *call, char *text, size_t room) {
    size_t used = 0;
    bool *here = calloc(call->num_ranks, sizeof *here);
    for (const struct hc_caller *c = all->known.first; c != NULL && here != NULL; c = c->next)
        if (same_meeting(c, call)) here[c->call.member.rank] = true;
    text[0] = '\0';
    for (uint32_t rank = 0; rank < call->num_ranks && here != NULL && used + 16 < room; rank++)
        if (!here[rank])
            used += (size_t)snprintf(text + used, room - used, "%s%u", used > 0 ? ", " : "", rank);
    free(here);
}

void hc_meeting_expire(struct hc_callers *all, struct hc_caller *c) {
    const struct hc_call call = c->call;
    char ranks[300], text[512];
    list_missing(all, &call, ranks, sizeof ranks);
    snprintf(text, sizeof text, "rank(s) %s of %u did not come within %.0f s (HCCL_CONNECT_TIMEOUT)", ranks,
             call.num_ranks, call.timeout_ms / 1e3);
    fail_meeting(all, &call, HCCL_E_TIMEOUT, text);
}

void hc_meeting_leave(struct hc_callers *all, struct hc_caller *c) {
    const struct hc_call call = c->call;
    char text[512];
    snprintf(text, sizeof text, "rank %u (process %d on %s) came, but has ended or given up",
             call.member.rank, call.member.pid, call.member.host_name);
    hc_callers_drop(all, c);
    fail_meeting(all, &call, HCCL_E_REMOTE, text);
}

/* What is wrong with a call next to those that came before, as text; empty: nothing. */
static void find_objection(const struct hc_callers *all, const struct hc_caller *c, char *text, size_t room) {
    const struct hc_call *call = &c->call;
    text[0] = '\0';
    for (const struct hc_caller *o = all->known.first; o != NULL && text[0] == '\0'; o = o->next) {
        if (o == c || !same_meeting(o, call)) continue;
        if (o->call.num_ranks != call->num_ranks)
            snprintf(text, room, "rank %u says there are %u ranks, rank %u says %u", call->member.rank,
                     call->num_ranks, o->call.member.rank, o->call.num_ranks);
        else if (o->call.member.rank == call->member.rank)
            snprintf(text, room, "rank %u came twice: process %d on %s and process %d on %s",
                     call->member.rank, o->call.member.pid, o->call.member.host_name, call->member.pid,
                     call->member.host_name);
    }
}

/* Members at their ranks, in one piece with their blobs, as they are sent. NULL: no memory. */
static struct hc_member *make_list(const struct hc_callers *all, const struct hc_call *call, size_t *bytes) {
    const size_t records = call->num_ranks * sizeof(struct hc_member);
    *bytes = records;
    for (const struct hc_caller *c = all->known.first; c != NULL; c = c->next)
        if (same_meeting(c, call)) *bytes += c->call.member.blob_bytes;
    struct hc_member *members = calloc(1, *bytes);
    const struct hc_caller **by_rank = calloc(call->num_ranks, sizeof *by_rank);
    for (const struct hc_caller *c = all->known.first; c != NULL && by_rank != NULL; c = c->next)
        if (same_meeting(c, call)) by_rank[c->call.member.rank] = c;
    unsigned char *at = (unsigned char *)members + records;
    for (uint32_t r = 0; r < call->num_ranks && members != NULL && by_rank != NULL; r++) {
        members[r] = by_rank[r]->call.member;
        if (members[r].blob_bytes > 0) memcpy(at, by_rank[r]->blob, members[r].blob_bytes);
        at += members[r].blob_bytes;
    }
    if (by_rank == NULL) {
        free(members);
        members = NULL;
    }
    free(by_rank);
    return members;
}

/* Everyone gets the same bytes, and from then on they are a group. */
static void answer_meeting(struct hc_callers *all, const struct hc_call *call) {
    static uint64_t groups; /* of the thread that answers */
    size_t bytes;
    struct hc_member *members = make_list(all, call, &bytes);
    if (members == NULL) {
        fail_meeting(all, call, HCCL_E_MEMORY, "the process that answers is out of host memory");
        return;
    }
    struct hc_answer answer = {.code = HCCL_SUCCESS,
                               .num_members = call->num_ranks,
                               .blob_bytes = bytes - call->num_ranks * sizeof *members};
    struct hc_sha256 digest;
    hc_sha256_begin(&digest);
    hc_sha256_add(&digest, members, bytes);
    hc_sha256_end(&digest, answer.digest);
    groups++;
    for (struct hc_caller *c = all->known.first, *next; c != NULL; c = next) {
        next = c->next;
        if (!same_meeting(c, call)) continue;
        hc_answer_seal(&answer, &c->challenge, &c->call, &c->key);
        if (hc_socket_send(c->socket, &answer, sizeof answer, SEND_MS) &&
            hc_socket_send(c->socket, members, bytes, SEND_MS))
            hc_relay_join(c, groups);
        else hc_callers_drop(all, c);
    }
    free(members);
}

static size_t count_meeting(const struct hc_callers *all, const struct hc_call *call) {
    size_t count = 0;
    for (const struct hc_caller *c = all->known.first; c != NULL; c = c->next) count += same_meeting(c, call);
    return count;
}

void hc_meeting_arrive(struct hc_callers *all, struct hc_caller *c) {
    const struct hc_call call = c->call;
    char text[512];
    c->stage = HC_CALLER_WAITS;
    c->deadline = hc_now_ns() + call.timeout_ms * 1000000ull;
    find_objection(all, c, text, sizeof text);
    if (text[0] != '\0') answer_error(all, c, HCCL_E_PARA, text);
    else if (count_meeting(all, &call) == call.num_ranks) answer_meeting(all, &call);
}
