// SPDX-License-Identifier: Apache-2.0
/* The answering side of a meeting: one thread per process, from its first root info to aclFinalize.
 *
 * A call is one record; the answer comes when all ranks of that meeting have called, when the caller's time
 * is over, or when the call cannot belong here. Calls that do not carry a token of this process are closed
 * without an answer. Those that have been answered are kept while their callers want (bootstrap_relay.c). */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "hc_bootstrap_server.h"
#include "hc_clock.h"
#include "hc_comm.h"
#include "hc_finalize.h"

enum { MAX_LISTENERS = 8, RECORD_MS = 30000, SEND_MS = 30000, BACKLOG = 1024 };

const char HC_CALL_MAGIC[8] = "hcclcal";

static struct {
    pthread_mutex_t lock;
    pthread_t thread;
    bool running;
    int wake[2]; /* a byte here makes the thread look at its listeners again, or end */
    bool stop;
    int listeners[MAX_LISTENERS];
    uint16_t ports[MAX_LISTENERS];
    size_t num_listeners;
    uint64_t (*tokens)[2];
    size_t num_tokens, token_room;
    uint64_t groups; /* meetings answered so far; of the thread */
} g_server = {.lock = PTHREAD_MUTEX_INITIALIZER};

void hc_server_drop(struct hc_caller **at) {
    struct hc_caller *c = *at;
    *at = c->next;
    close(c->socket);
    free(c->blob);
    free(c);
}

bool hc_server_send(int socket, const void *bytes, size_t length, int limit_ms) {
    const char *at = bytes;
    while (length > 0) {
        const ssize_t n = send(socket, at, length, MSG_NOSIGNAL);
        if (n < 0 && (errno == EAGAIN || errno == EINTR)) {
            struct pollfd p = {socket, POLLOUT, 0};
            if (poll(&p, 1, limit_ms) > 0) continue;
            errno = ETIMEDOUT;
            return false;
        }
        if (n <= 0) return false;
        at += n;
        length -= (size_t)n;
    }
    return true;
}

/* Whether all of the call is here, and it waits for its answer. Without a deadline it has had one, and is
 * dropped by the next expire. */
static bool complete(const struct hc_caller *c) {
    return c->group == 0 && c->deadline != 0 && c->have >= sizeof c->call &&
           c->have == sizeof c->call + c->call.member.blob_bytes;
}

static bool same_meeting(const struct hc_caller *a, const struct hc_caller *b) {
    return memcmp(a->call.id, b->call.id, sizeof a->call.id) == 0;
}

static void answer_error(struct hc_caller *c, HcclResult code, const char *text) {
    struct hc_answer answer = {.code = (uint32_t)code};
    snprintf(answer.text, sizeof answer.text, "%s", text);
    hc_server_send(c->socket, &answer, sizeof answer, SEND_MS);
}

static bool known_token(const uint64_t token[2]) {
    pthread_mutex_lock(&g_server.lock);
    bool found = false;
    for (size_t i = 0; i < g_server.num_tokens; i++)
        found = found || memcmp(g_server.tokens[i], token, sizeof g_server.tokens[i]) == 0;
    pthread_mutex_unlock(&g_server.lock);
    return found;
}

/* Ranks of the meeting that have not called, as text. */
static void list_missing(const struct hc_caller *all, const struct hc_caller *c, char *text, size_t room) {
    const uint32_t n = c->call.num_ranks;
    size_t used = 0, missing = 0;
    for (uint32_t rank = 0; rank < n; rank++) {
        bool here = false;
        for (const struct hc_caller *o = all; o != NULL; o = o->next)
            here = here || (complete(o) && same_meeting(o, c) && o->call.member.rank == rank);
        if (here) continue;
        if (used + 16 < room) {
            const int k = snprintf(text + used, room - used, "%s%u", missing > 0 ? ", " : "", rank);
            used += (size_t)k;
        }
        missing++;
    }
}

/* A meeting fails for all who came, with one text: those answered later would miss the ones answered first.
 */
static void fail_meeting(struct hc_caller *all, const struct hc_call *call, HcclResult code,
                         const char *text) {
    for (struct hc_caller *c = all; c != NULL; c = c->next) {
        if (!complete(c) || memcmp(c->call.id, call->id, sizeof call->id) != 0) continue;
        answer_error(c, code, text);
        c->deadline = 0;
    }
}

static void answer_late(struct hc_caller *all, struct hc_caller *c) {
    char ranks[300] = "", text[512];
    list_missing(all, c, ranks, sizeof ranks);
    snprintf(text, sizeof text, "rank(s) %s of %u did not come within %.0f s (HCCL_CONNECT_TIMEOUT)", ranks,
             c->call.num_ranks, c->call.timeout_ms / 1e3);
    fail_meeting(all, &c->call, HCCL_E_TIMEOUT, text);
}

static size_t count_meeting(const struct hc_caller *all, const struct hc_caller *c) {
    size_t count = 0;
    for (; all != NULL; all = all->next) count += complete(all) && same_meeting(all, c);
    return count;
}

static bool is_of(const struct hc_caller *c, const uint64_t id[2]) {
    return complete(c) && memcmp(c->call.id, id, sizeof c->call.id) == 0;
}

static bool send_list(const struct hc_caller *c, const struct hc_answer *answer,
                      const struct hc_member *members) {
    const uint32_t n = answer->num_members;
    bool sent = hc_server_send(c->socket, answer, sizeof *answer, SEND_MS) &&
                hc_server_send(c->socket, members, n * sizeof *members, SEND_MS);
    for (uint32_t r = 0; sent && r < n; r++)
        sent = hc_server_send(c->socket, members[r].blob, members[r].blob_bytes, SEND_MS);
    return sent;
}

/* Everyone gets the same bytes: the records by rank, then the blobs. From then on they are a group. */
static void answer_meeting(struct hc_caller **all, const uint64_t id[2], uint32_t num_ranks) {
    struct hc_answer answer = {.code = HCCL_SUCCESS, .num_members = num_ranks};
    struct hc_member *members = calloc(num_ranks, sizeof *members);
    for (struct hc_caller *c = *all; c != NULL && members != NULL; c = c->next) {
        if (!is_of(c, id)) continue;
        members[c->call.member.rank] = c->call.member;
        members[c->call.member.rank].blob = c->blob; /* ours for now; replaced by the receiver */
        answer.blob_bytes += c->call.member.blob_bytes;
    }
    for (struct hc_caller *c = *all; c != NULL; c = c->next)
        if (is_of(c, id) && (members == NULL || !send_list(c, &answer, members))) c->deadline = 0;
    free(members);
    g_server.groups++;
    for (struct hc_caller *c = *all; c != NULL; c = c->next)
        if (is_of(c, id)) hc_relay_join(c, g_server.groups);
}

/* What is wrong with a complete call, NULL if nothing. */
static const char *objection(const struct hc_caller *all, const struct hc_caller *c, char *text,
                             size_t room) {
    const struct hc_call *call = &c->call;
    if (call->num_ranks == 0 || call->num_ranks > HC_MAX_RANKS || call->member.rank >= call->num_ranks) {
        snprintf(text, room, "rank %u of %u ranks is none", call->member.rank, call->num_ranks);
        return text;
    }
    for (const struct hc_caller *o = all; o != NULL; o = o->next) {
        if (o == c || !complete(o) || !same_meeting(o, c)) continue;
        if (o->call.num_ranks != call->num_ranks) {
            snprintf(text, room, "rank %u says there are %u ranks, rank %u says %u", call->member.rank,
                     call->num_ranks, o->call.member.rank, o->call.num_ranks);
            return text;
        }
        if (o->call.member.rank == call->member.rank) {
            snprintf(text, room, "rank %u came twice: process %d on %s and process %d on %s",
                     call->member.rank, o->call.member.pid, o->call.member.host_name, call->member.pid,
                     call->member.host_name);
            return text;
        }
    }
    return NULL;
}

static bool valid_start(const struct hc_call *call) {
    return memcmp(call->magic, HC_CALL_MAGIC, sizeof call->magic) == 0 && call->version == HC_CALL_VERSION &&
           call->member_bytes == sizeof call->member && call->member.blob_bytes <= HC_BLOB_MAX &&
           known_token(call->token);
}

/* Read what has come. False: the call is over (closed, broken or foreign). */
static bool read_call(struct hc_caller *c) {
    for (;;) {
        const bool head = c->have < sizeof c->call;
        const size_t want =
            head ? sizeof c->call - c->have : sizeof c->call + c->call.member.blob_bytes - c->have;
        char *to = head ? (char *)&c->call + c->have : (char *)c->blob + (c->have - sizeof c->call);
        char extra;
        const ssize_t n = want > 0 ? recv(c->socket, to, want, 0) : recv(c->socket, &extra, 1, 0);
        if (n < 0) return errno == EAGAIN || errno == EINTR;
        if (n == 0 || want == 0) return false; /* gone, or bytes that do not belong to a call */
        c->have += (size_t)n;
        if (!head || c->have < sizeof c->call) continue;
        if (!valid_start(&c->call)) return false;
        c->call.member.host_name[sizeof c->call.member.host_name - 1] = '\0';
        c->call.member.comm_name[sizeof c->call.member.comm_name - 1] = '\0';
        c->blob = malloc(c->call.member.blob_bytes + 1);
        if (c->blob == NULL) return false;
    }
}

/* A call has something new. Returns whether the list of callers may have changed. */
static void serve(struct hc_caller **all, struct hc_caller **at) {
    struct hc_caller *c = *at;
    char text[512];
    const bool was_complete = complete(c);
    if (c->group != 0) {
        hc_relay_serve(all, at);
        return;
    }
    if (!read_call(c)) {
        const struct hc_call call = c->call;
        hc_server_drop(at);
        snprintf(text, sizeof text, "rank %u (process %d on %s) came, but has ended or given up",
                 call.member.rank, call.member.pid, call.member.host_name);
        if (was_complete) fail_meeting(*all, &call, HCCL_E_REMOTE, text);
        return;
    }
    if (was_complete || !complete(c)) return;
    c->deadline = hc_now_ns() + (uint64_t)c->call.timeout_ms * 1000000u;
    if (objection(*all, c, text, sizeof text) != NULL) {
        answer_error(c, HCCL_E_PARA, text);
        hc_server_drop(at);
        return;
    }
    if (count_meeting(*all, c) < c->call.num_ranks) return;
    const uint64_t id[2] = {c->call.id[0], c->call.id[1]};
    answer_meeting(all, id, c->call.num_ranks);
}

static void accept_from(int listener, struct hc_caller **all) {
    const int s = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (s < 0) return;
    struct hc_caller *c = calloc(1, sizeof *c);
    if (c == NULL) {
        close(s);
        return;
    }
    c->socket = s;
    c->deadline = hc_now_ns() + (uint64_t)RECORD_MS * 1000000u;
    c->next = *all;
    *all = c;
}

static void expire(struct hc_caller **all) {
    const uint64_t now = hc_now_ns();
    for (struct hc_caller *c = *all; c != NULL; c = c->next)
        if (complete(c) && c->deadline <= now) answer_late(*all, c);
    for (struct hc_caller **at = all; *at != NULL;) {
        if ((*at)->deadline > now) at = &(*at)->next;
        else hc_server_drop(at);
    }
}

/* Build the poll list: wake pipe, listeners, callers in list order. NULL when out of memory. */
static struct pollfd *poll_list(const struct hc_caller *all, size_t *count, size_t *listeners) {
    size_t n = 1 + MAX_LISTENERS;
    for (const struct hc_caller *c = all; c != NULL; c = c->next) n++;
    struct pollfd *list = calloc(n, sizeof *list);
    if (list == NULL) return NULL;
    size_t at = 0;
    list[at++] = (struct pollfd){g_server.wake[0], POLLIN, 0};
    pthread_mutex_lock(&g_server.lock);
    *listeners = g_server.num_listeners;
    for (size_t i = 0; i < *listeners; i++) list[at++] = (struct pollfd){g_server.listeners[i], POLLIN, 0};
    pthread_mutex_unlock(&g_server.lock);
    for (const struct hc_caller *c = all; c != NULL; c = c->next)
        list[at++] = (struct pollfd){c->socket, POLLIN, 0};
    *count = at;
    return list;
}

static bool round_of_calls(struct hc_caller **all) {
    size_t count = 0, listeners = 0;
    struct pollfd *list = poll_list(*all, &count, &listeners);
    if (list == NULL) return false;
    poll(list, (nfds_t)count, *all != NULL ? 200 : -1);
    if (list[0].revents != 0) {
        char bytes[64];
        if (read(g_server.wake[0], bytes, sizeof bytes) <= 0 && errno != EAGAIN) g_server.stop = true;
    }
    for (size_t i = 1 + listeners; i < count; i++) {
        if (list[i].revents == 0) continue;
        struct hc_caller **at = all; /* by socket: earlier calls of this round may have ended others */
        while (*at != NULL && (*at)->socket != list[i].fd) at = &(*at)->next;
        if (*at != NULL) serve(all, at);
    }
    for (size_t i = 1; i <= listeners; i++) {
        if (list[i].revents != 0) accept_from(list[i].fd, all);
    }
    free(list);
    expire(all);
    pthread_mutex_lock(&g_server.lock);
    const bool go_on = !g_server.stop;
    pthread_mutex_unlock(&g_server.lock);
    return go_on;
}

static void *serve_calls(void *unused) {
    struct hc_caller *all = NULL;
    (void)unused;
    while (round_of_calls(&all)) {
    }
    hc_relay_close(all);
    while (all != NULL) hc_server_drop(&all);
    return NULL;
}

/* Needs the lock. */
static HcclResult open_listener(const char *caller, uint16_t port, uint16_t *bound) {
    HC_CHECK(g_server.num_listeners < MAX_LISTENERS, HCCL_E_UNAVAIL, "%s: more than %d ports", caller,
             MAX_LISTENERS);
    const int s = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    HC_CHECK(s >= 0, HCCL_E_TCP_CONNECT, "%s: cannot make a socket: %s", caller, strerror(errno));
    const int one = 1;
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(port)};
    socklen_t length = sizeof address;
    setsockopt(s, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (bind(s, (struct sockaddr *)&address, sizeof address) != 0 || listen(s, BACKLOG) != 0 ||
        getsockname(s, (struct sockaddr *)&address, &length) != 0) {
        const int why = errno;
        close(s);
        return hc_fail(HCCL_E_TCP_CONNECT, "%s: cannot listen on port %u: %s", caller, port, strerror(why));
    }
    *bound = ntohs(address.sin_port);
    g_server.listeners[g_server.num_listeners] = s;
    g_server.ports[g_server.num_listeners++] = *bound;
    return HCCL_SUCCESS;
}

/* Needs the lock. */
static HcclResult start(const char *caller) {
    if (g_server.running) return HCCL_SUCCESS;
    HC_CHECK(pipe2(g_server.wake, O_CLOEXEC | O_NONBLOCK) == 0, HCCL_E_SYSCALL, "%s: cannot make a pipe: %s",
             caller, strerror(errno));
    g_server.stop = false;
    const int failed = pthread_create(&g_server.thread, NULL, serve_calls, NULL);
    if (failed != 0) {
        close(g_server.wake[0]);
        close(g_server.wake[1]);
        return hc_fail(HCCL_E_SYSCALL, "%s: cannot start a thread: %s", caller, strerror(failed));
    }
    pthread_setname_np(g_server.thread, "hccl-bootstrap");
    g_server.running = true;
    hc_at_finalize(hc_bootstrap_stop);
    return HCCL_SUCCESS;
}

static void wake(void) {
    if (write(g_server.wake[1], "", 1) < 0) return; /* full: it will look anyway */
}

/* Needs the lock. Tokens are kept: parts of a communicator meet with the token of the whole, at any time. */
static HcclResult add_token(const char *caller, const uint64_t token[2]) {
    for (size_t i = 0; i < g_server.num_tokens; i++)
        if (memcmp(g_server.tokens[i], token, sizeof g_server.tokens[i]) == 0) return HCCL_SUCCESS;
    if (g_server.num_tokens == g_server.token_room) {
        const size_t room = g_server.token_room > 0 ? 2 * g_server.token_room : 64;
        uint64_t (*tokens)[2] = realloc(g_server.tokens, room * sizeof *tokens);
        HC_CHECK(tokens != NULL, HCCL_E_MEMORY, "%s: out of host memory", caller);
        g_server.tokens = tokens;
        g_server.token_room = room;
    }
    memcpy(g_server.tokens[g_server.num_tokens++], token, sizeof g_server.tokens[0]);
    return HCCL_SUCCESS;
}

HcclResult hc_bootstrap_serve(const char *caller, uint16_t port, const uint64_t token[2], uint16_t *bound) {
    pthread_mutex_lock(&g_server.lock);
    HcclResult status = start(caller);
    size_t known = 0;
    while (known < g_server.num_listeners && port != 0 && g_server.ports[known] != port) known++;
    if (status == HCCL_SUCCESS && known < g_server.num_listeners) *bound = g_server.ports[known];
    else if (status == HCCL_SUCCESS) status = open_listener(caller, port, bound);
    if (status == HCCL_SUCCESS) status = add_token(caller, token);
    if (status == HCCL_SUCCESS) wake();
    pthread_mutex_unlock(&g_server.lock);
    return status;
}

void hc_bootstrap_stop(void) {
    pthread_mutex_lock(&g_server.lock);
    const bool running = g_server.running;
    g_server.stop = true;
    if (running) wake();
    pthread_mutex_unlock(&g_server.lock);
    if (!running) return;
    pthread_join(g_server.thread, NULL);
    pthread_mutex_lock(&g_server.lock);
    for (size_t i = 0; i < g_server.num_listeners; i++) close(g_server.listeners[i]);
    close(g_server.wake[0]);
    close(g_server.wake[1]);
    free(g_server.tokens);
    g_server.tokens = NULL;
    g_server.num_listeners = g_server.num_tokens = g_server.token_room = 0;
    g_server.running = false;
    pthread_mutex_unlock(&g_server.lock);
}
