// SPDX-License-Identifier: Apache-2.0
/* A rank whose host or link is down shows by TCP's own probes (hc_watch_silence). */
#include "hc_relay.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "hc_socket.h"

enum {
    SEND_MS = 1000
}; /* a rank that does not read for so long is dropped: the others must not wait for it */

void hc_relay_join(struct hc_caller *c, uint64_t group) {
    hc_watch_silence(c->socket);
    c->stage = HC_CALLER_STAYS;
    c->group = group;
    c->deadline = UINT64_MAX;
    free(c->blob);
    c->blob = NULL;
}

/* To one of the group, or to all of it but the sender. Whoever cannot be sent to is ended by its next read.
 */
static void pass_on(const struct hc_callers *all, const struct hc_caller *sender, struct hc_notice *n) {
    n->from = sender->call.member.rank;
    for (struct hc_caller *c = all->known.first; c != NULL; c = c->next) {
        if (c == sender || c->group != sender->group || !c->listens || c->left) continue;
        if (n->to != HC_NOTICE_ALL && n->to != c->call.member.rank) continue;
        if (hc_socket_send(c->socket, n, sizeof *n, SEND_MS)) continue;
        c->silent = hc_means_silence(errno);
        shutdown(c->socket, SHUT_RDWR);
    }
}

static bool is_here(const struct hc_callers *all, const struct hc_caller *c, uint32_t rank) {
    const struct hc_caller *o = all->known.first;
    while (o != NULL && (o->group != c->group || o->call.member.rank != rank)) o = o->next;
    return o != NULL;
}

/* Who answers, and which of the others are gone already. */
static void welcome(const struct hc_callers *all, const struct hc_caller *c) {
    struct hc_notice n = {
        .type = HC_NOTICE_WELCOME, .to = c->call.member.rank, .pid = getpid(), .host = hc_host_self()};
    hc_socket_send(c->socket, &n, sizeof n, SEND_MS);
    n.type = HC_NOTICE_ENDED;
    for (n.from = 0; n.from < c->call.num_ranks; n.from++)
        if (!is_here(all, c, n.from)) hc_socket_send(c->socket, &n, sizeof n, SEND_MS);
}

static void handle(const struct hc_callers *all, struct hc_caller *c, struct hc_notice *n) {
    if (n->type == HC_NOTICE_STAY) {
        c->listens = true;
        welcome(all, c);
        return;
    }
    if (n->type > HC_NOTICE_BYE || !c->listens) return; /* not a rank's to say */
    c->left = c->left || n->type == HC_NOTICE_BYE;
    pass_on(all, c, n);
}

/* The connection is over; `error` is why, 0: closed. Where nobody listens nobody is told. */
static void end(struct hc_callers *all, struct hc_caller *c, int error) {
    const bool cut = c->silent || hc_means_silence(error);
    struct hc_notice n = {.type = cut ? HC_NOTICE_CUT : HC_NOTICE_ENDED, .to = HC_NOTICE_ALL};
    if (!c->left) pass_on(all, c, &n);
    hc_callers_drop(all, c);
}

void hc_relay_serve(struct hc_callers *all, struct hc_caller *c) {
    struct hc_notice n;
    enum hc_intake got;
    while ((got = hc_caller_receive(c, c->arriving.notice, sizeof c->arriving.notice)) == HC_INTAKE_WHOLE) {
        if (!hc_read_notice(c->arriving.notice, sizeof c->arriving.notice, c->call.num_ranks, &n)) {
            end(all, c, EPROTO);
            return;
        }
        handle(all, c, &n);
    }
    if (got == HC_INTAKE_END) end(all, c, errno);
}

void hc_relay_close(const struct hc_callers *all) {
    struct hc_notice n = {.type = HC_NOTICE_CLOSING, .to = HC_NOTICE_ALL};
    for (struct hc_caller *c = all->known.first; c != NULL; c = c->next)
        if (c->stage == HC_CALLER_STAYS && c->listens && !c->left)
            hc_socket_send(c->socket, &n, sizeof n, SEND_MS);
}
