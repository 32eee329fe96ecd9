// SPDX-License-Identifier: Apache-2.0
/* What ranks of several hosts tell each other about themselves, through the process that answered their
 * meeting (relay.c): errors as they happen, what they wait in when asked, their leaving. */
#include "hc_control.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "hc_clock.h"
#include "hc_socket.h"

enum { SEND_MS = 2000, ANSWERS_MS = 2000, LOOK_MS = 50 };

static bool same_host(const struct hc_host_id *a, const struct hc_host_id *b) {
    return memcmp(a, b, sizeof *a) == 0;
}

/* Needs the lock. A rank that left in order stays so. */
static void set_stage(struct hc_net *net, uint32_t rank, enum hc_stage stage) {
    if (rank < net->comm->num_ranks && net->others[rank].stage < HC_LEFT) net->others[rank].stage = stage;
}

/* Needs the lock. The connection is gone. Closed: the process that answered has ended, so have the ranks it
 * held. Silent: nothing outside of this host can be told from here any more. */
static void lose(struct hc_net *net, int error) {
    const struct hc_comm *c = net->comm;
    const bool cut = hc_means_silence(error);
    close(net->control);
    net->control = -1;
    for (uint32_t r = 0; r < c->num_ranks && !net->closing; r++) {
        const struct hc_member *m = &c->members[r];
        const bool answered = m->pid == net->relay_pid && same_host(&m->host, &net->relay_host);
        const bool outside = !same_host(&m->host, &c->members[c->rank].host);
        if (cut ? outside : answered) set_stage(net, r, cut ? HC_CUT : HC_ENDED);
    }
    hc_bell_add(&net->news);
}

/* Needs the lock. */
static void send_notice(struct hc_net *net, const struct hc_notice *notice) {
    if (net->control >= 0 && !hc_socket_send(net->control, notice, sizeof *notice, SEND_MS)) lose(net, errno);
}

void hc_control_send(struct hc_net *net, const struct hc_notice *notice) {
    pthread_mutex_lock(&net->control_lock);
    send_notice(net, notice);
    pthread_mutex_unlock(&net->control_lock);
}

static struct hc_notice own_status(const struct hc_net *net, uint32_t type, uint32_t to) {
    struct hc_rank_status s;
    hc_rank_status_read(net->comm->self, &s);
    return (struct hc_notice){.type = type,
                              .to = to,
                              .pid = s.pid,
                              .seq = s.seq,
                              .kind = s.kind,
                              .data_type = s.type,
                              .inside = s.inside,
                              .count = s.count,
                              .message_inside = s.message_inside,
                              .message_peer = s.message_peer,
                              .message_direction = s.message_direction};
}

void hc_control_open(struct hc_net *net, int socket) {
    struct hc_notice n = {.type = HC_NOTICE_STAY};
    hc_watch_silence(socket);
    net->control = socket;
    hc_control_send(net, &n);
}

void hc_control_close(struct hc_net *net) {
    struct hc_notice n = own_status(net, HC_NOTICE_BYE, HC_NOTICE_ALL);
    pthread_mutex_lock(&net->control_lock);
    send_notice(net, &n);
    if (net->control >= 0) close(net->control);
    net->control = -1;
    pthread_mutex_unlock(&net->control_lock);
}

/* Needs the lock. */
static void keep_status(struct hc_net *net, const struct hc_notice *n) {
    struct hc_rank_status *s = &net->others[n->from];
    const enum hc_stage stage = s->stage;
    *s = (struct hc_rank_status){.known = true,
                                 .stage = stage,
                                 .pid = n->pid,
                                 .seq = n->seq,
                                 .kind = n->kind,
                                 .type = n->data_type,
                                 .inside = n->inside != 0,
                                 .count = n->count,
                                 .message_inside = n->message_inside != 0,
                                 .message_peer = n->message_peer,
                                 .message_direction = n->message_direction};
}

/* Needs the lock. */
static void handle(struct hc_net *net, const struct hc_notice *n) {
    if (n->type == HC_NOTICE_WELCOME) {
        net->relay_pid = n->pid;
        net->relay_host = n->host;
    } else if (n->type == HC_NOTICE_CLOSING) {
        net->closing = true;
    }
    if (n->type == HC_NOTICE_ASK) {
        const struct hc_notice answer = own_status(net, HC_NOTICE_STATUS, n->from);
        send_notice(net, &answer);
    } else if (n->type == HC_NOTICE_STATUS || n->type == HC_NOTICE_BYE) {
        keep_status(net, n);
        if (n->type == HC_NOTICE_BYE) set_stage(net, n->from, HC_LEFT);
    } else if (n->type == HC_NOTICE_ENDED || n->type == HC_NOTICE_CUT) {
        set_stage(net, n->from, n->type == HC_NOTICE_ENDED ? HC_ENDED : HC_CUT);
    } else if (n->type == HC_NOTICE_FAILED && !net->reported) {
        net->report = (struct hc_report){.code = (HcclResult)n->code, .rank = n->from};
        memcpy(net->report.text, n->text, sizeof net->report.text);
        net->reported = true;
    }
    hc_bell_add(&net->news);
}

void hc_control_receive(struct hc_net *net) {
    struct hc_notice notice;
    pthread_mutex_lock(&net->control_lock);
    while (net->control >= 0) {
        const ssize_t n = recv(net->control, net->incoming + net->have, sizeof net->incoming - net->have, 0);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0 && errno == EAGAIN) break;
        if (n <= 0) {
            lose(net, n < 0 ? errno : 0);
            break;
        }
        net->have += (size_t)n;
        if (net->have < sizeof net->incoming) continue;
        net->have = 0;
        if (hc_read_notice(net->incoming, sizeof net->incoming, net->comm->num_ranks, &notice))
            handle(net, &notice);
        else lose(net, EPROTO);
    }
    pthread_mutex_unlock(&net->control_lock);
}

/* Whether all that can answer have. */
static bool all_known(struct hc_net *net) {
    const struct hc_comm *c = net->comm;
    bool known = true;
    pthread_mutex_lock(&net->control_lock);
    for (uint32_t r = 0; r < c->num_ranks; r++)
        known = known && (r == c->rank || net->others[r].known || net->others[r].stage >= HC_LEFT);
    known = known || net->control < 0;
    pthread_mutex_unlock(&net->control_lock);
    return known;
}

void hc_control_ask(struct hc_net *net) {
    const uint64_t limit = hc_now_ns() + ANSWERS_MS * 1000000ull;
    const struct hc_notice question = {.type = HC_NOTICE_ASK, .to = HC_NOTICE_ALL};
    pthread_mutex_lock(&net->control_lock);
    for (uint32_t r = 0; r < net->comm->num_ranks; r++)
        if (net->others[r].stage < HC_LEFT) net->others[r].known = false;
    send_notice(net, &question);
    pthread_mutex_unlock(&net->control_lock);
    while (hc_now_ns() < limit) {
        const uint32_t seen = atomic_load(&net->news.value);
        if (all_known(net)) return;
        hc_bell_sleep(&net->news, seen, LOOK_MS);
    }
}
