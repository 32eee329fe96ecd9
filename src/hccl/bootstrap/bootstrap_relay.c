// SPDX-License-Identifier: Apache-2.0
/* Ranks that stay connected after their meeting: their notices are passed on, and the end of a connection is
 * told to the others. A rank whose host or link is down shows by TCP's own probes, within about SILENCE_S
 * seconds. */
#include <errno.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "hc_bootstrap_server.h"

enum {
    SEND_MS = 1000
}; /* a rank that does not read for so long is dropped: the others must not wait for it */

void hc_watch_silence(int socket) {
    enum { SILENCE_S = 9, PROBES = 3, INTERVAL_S = SILENCE_S / PROBES };
    const int one = 1, interval = INTERVAL_S, probes = PROBES, silence_ms = SILENCE_S * 1000;
    setsockopt(socket, SOL_SOCKET, SO_KEEPALIVE, &one, sizeof one);
    setsockopt(socket, IPPROTO_TCP, TCP_KEEPIDLE, &interval, sizeof interval);
    setsockopt(socket, IPPROTO_TCP, TCP_KEEPINTVL, &interval, sizeof interval);
    setsockopt(socket, IPPROTO_TCP, TCP_KEEPCNT, &probes, sizeof probes);
    setsockopt(socket, IPPROTO_TCP, TCP_USER_TIMEOUT, &silence_ms, sizeof silence_ms);
}

void hc_relay_join(struct hc_caller *c, uint64_t group) {
    hc_watch_silence(c->socket);
    c->group = group;
    c->have = 0;
    c->deadline = UINT64_MAX;
    free(c->blob);
    c->blob = NULL;
}

bool hc_means_silence(int error) {
    return error == ETIMEDOUT || error == EHOSTUNREACH || error == ENETUNREACH || error == ENETDOWN;
}

/* To one of the group, or to all of it but the sender. Whoever cannot be sent to is ended by its next read.
 */
static void pass_on(struct hc_caller *all, const struct hc_caller *sender, struct hc_notice *n) {
    n->from = sender->call.member.rank;
    for (struct hc_caller *c = all; c != NULL; c = c->next) {
        if (c == sender || c->group != sender->group || !c->stays || c->left) continue;
        if (n->to != HC_NOTICE_ALL && n->to != c->call.member.rank) continue;
        if (hc_server_send(c->socket, n, sizeof *n, SEND_MS)) continue;
        c->silent = hc_means_silence(errno);
        shutdown(c->socket, SHUT_RDWR);
    }
}

static bool is_here(const struct hc_caller *all, const struct hc_caller *c, uint32_t rank) {
    while (all != NULL && (all->group != c->group || all->call.member.rank != rank)) all = all->next;
    return all != NULL;
}

/* Who answers, and which of the others are gone already. */
static void welcome(const struct hc_caller *all, const struct hc_caller *c) {
    struct hc_notice n = {
        .type = HC_NOTICE_WELCOME, .to = c->call.member.rank, .pid = getpid(), .host = hc_host_self()};
    hc_server_send(c->socket, &n, sizeof n, SEND_MS);
    n.type = HC_NOTICE_ENDED;
    for (n.from = 0; n.from < c->call.num_ranks; n.from++)
        if (!is_here(all, c, n.from)) hc_server_send(c->socket, &n, sizeof n, SEND_MS);
}

static void handle(struct hc_caller *all, struct hc_caller *c) {
    struct hc_notice *n = &c->notice;
    n->text[sizeof n->text - 1] = '\0';
    if (n->type == HC_NOTICE_STAY) {
        c->stays = true;
        welcome(all, c);
        return;
    }
    if (n->type > HC_NOTICE_BYE || !c->stays) return; /* not a rank's to say */
    c->left = c->left || n->type == HC_NOTICE_BYE;
    pass_on(all, c, n);
}

/* The connection is over; `error` is why, 0: closed. Where nobody stays nobody is told. */
static void end(struct hc_caller **all, struct hc_caller **at, int error) {
    struct hc_caller *c = *at;
    const bool cut = c->silent || hc_means_silence(error);
    struct hc_notice n = {.type = cut ? HC_NOTICE_CUT : HC_NOTICE_ENDED, .to = HC_NOTICE_ALL};
    if (!c->left) pass_on(*all, c, &n);
    hc_server_drop(at);
}

void hc_relay_serve(struct hc_caller **all, struct hc_caller **at) {
    struct hc_caller *c = *at;
    for (;;) {
        const ssize_t n = recv(c->socket, (char *)&c->notice + c->have, sizeof c->notice - c->have, 0);
        if (n < 0 && (errno == EAGAIN || errno == EINTR)) return;
        if (n <= 0) {
            end(all, at, n < 0 ? errno : 0);
            return;
        }
        c->have += (size_t)n;
        if (c->have < sizeof c->notice) continue;
        c->have = 0;
        handle(*all, c);
    }
}

void hc_relay_close(struct hc_caller *all) {
    struct hc_notice n = {.type = HC_NOTICE_CLOSING, .to = HC_NOTICE_ALL};
    for (struct hc_caller *c = all; c != NULL; c = c->next)
        if (c->group != 0 && c->stays && !c->left) hc_server_send(c->socket, &n, sizeof n, SEND_MS);
}
