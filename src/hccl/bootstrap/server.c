// SPDX-License-Identifier: Apache-2.0
/* Whoever can reach the port is a stranger until it has proven that it knows a key. Strangers cannot take
 * what ranks need: each is heard for STRANGER_MS at most; there are only so many at a time, and the oldest
 * goes for a new one, though not before it had time to speak: until then new ones stay in the system's queue;
 * and when the process has no files left the thread waits instead of trying again and again. A rank that is
 * dropped among them calls again (meeting.c). */
#include "hc_server.h"

#include <arpa/inet.h>
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "hc_clock.h"
#include "hc_error.h"
#include "hc_finalize.h"
#include "hc_answer.h"
#include "hc_relay.h"
#include "hc_socket.h"

enum {
    MAX_LISTENERS = 128,
    MAX_STRANGERS = 256, /* and no more than an eighth of the files that the process may have */
    STRANGER_MS = 5000,  /* for a call, which is one packet */
    MIN_STAY_MS = 30,    /* in any case: many times what an answer takes */
    BLOB_MS = 30000,
    TICK_MS = 200, /* between two looks at deadlines */
    ACCEPTS = 64,  /* of one listener in a round: those who are here are served in between */
    MIN_PAUSE_MS = 10,
    MAX_PAUSE_MS = 500, /* without accepting, when there are no files */
};

/* What an event belongs to: the address of one of these, or of a caller. */
struct listener {
    int socket;
    struct in_addr address;
    uint16_t port;
};
struct named_key {
    uint64_t name;
    struct hc_key key;
};

static struct {
    pthread_mutex_t lock; /* guards what the thread and those who start it share */
    pthread_t thread;
    bool running, stop;
    int epoll, wake;
    struct listener listeners[MAX_LISTENERS];
    size_t num_listeners;
    struct named_key *keys;
    size_t num_keys, key_room;
} g_server = {.lock = PTHREAD_MUTEX_INITIALIZER};

/* Of the thread. */
static struct hc_callers g_callers;
static size_t g_max_strangers;
static uint64_t g_next_look, g_resume; /* accepting pauses until then; 0: it does not */
static unsigned g_shortage_ms;         /* last pause for want of files */

static bool find_key(uint64_t name, struct hc_key *key) {
    bool found = false;
    pthread_mutex_lock(&g_server.lock);
    for (size_t i = 0; i < g_server.num_keys && !found; i++) {
        found = g_server.keys[i].name == name;
        if (found) *key = g_server.keys[i].key;
    }
    pthread_mutex_unlock(&g_server.lock);
    return found;
}

/* A stranger's call is here. Those who do not know the key are told that, as a rank may have been started
 * with another one; the record is small enough for any socket's buffer. */
static bool identify(struct hc_caller *c) {
    struct hc_seat seat = {0};
    if (!hc_read_call(c->arriving.call, sizeof c->arriving.call, &c->call)) return false;
    if (find_key(c->call.key_name, &c->key) && hc_call_proven(&c->call, &c->challenge, &c->key)) {
        seat.taken = 1;
        hc_seat_seal(&seat, &c->challenge, &c->call, &c->key);
    }
    return hc_socket_send(c->socket, &seat, sizeof seat, 0) && seat.taken;
}

static void serve_stranger(struct hc_caller *c) {
    const enum hc_intake got = hc_caller_receive(c, c->arriving.call, sizeof c->arriving.call);
    if (got == HC_INTAKE_MORE) return;
    if (got == HC_INTAKE_WHOLE && identify(c)) {
        c->blob = malloc(c->call.member.blob_bytes + 1);
        c->deadline = hc_now_ns() + BLOB_MS * 1000000ull;
        if (c->blob != NULL) {
            hc_callers_identify(&g_callers, c);
            return;
        }
    }
    hc_callers_drop(&g_callers, c);
}

static void serve_known(struct hc_caller *c) {
    const enum hc_intake got = hc_caller_receive(c, c->blob, c->call.member.blob_bytes);
    if (got == HC_INTAKE_WHOLE) hc_meeting_arrive(&g_callers, c);
    else if (got == HC_INTAKE_END) hc_callers_drop(&g_callers, c);
}

/* One that waits has nothing to say: what comes is its end, or no call of ours. */
static void serve_waiting(struct hc_caller *c) {
    char extra;
    const enum hc_intake got = hc_caller_receive(c, &extra, sizeof extra);
    if (got != HC_INTAKE_MORE) hc_meeting_leave(&g_callers, c);
}

static void serve(struct hc_caller *c) {
    if (c->stage == HC_CALLER_STRANGER) serve_stranger(c);
    if (c->stage == HC_CALLER_KNOWN) serve_known(c); /* at once: a blob may have 0 bytes */
    else if (c->stage == HC_CALLER_WAITS) serve_waiting(c);
    else if (c->stage == HC_CALLER_STAYS) hc_relay_serve(&g_callers, c);
}

static void welcome(int socket) {
    struct hc_caller *c = hc_callers_add(&g_callers, socket, hc_now_ns() + STRANGER_MS * 1000000ull);
    if (c == NULL) return;
    if (hc_challenge_make("", &c->challenge) != HCCL_SUCCESS ||
        !hc_socket_send(socket, &c->challenge, sizeof c->challenge, 0))
        hc_callers_drop(&g_callers, c);
}

/* Needs the lock. Look for new connections, or let them wait in the system's queue. */
static void watch_listeners(bool on) {
    for (size_t i = 0; i < g_server.num_listeners; i++) {
        struct epoll_event event = {.events = on ? EPOLLIN : 0, .data.ptr = &g_server.listeners[i]};
        epoll_ctl(g_server.epoll, EPOLL_CTL_MOD, g_server.listeners[i].socket, &event);
    }
}

static bool is_shortage(int error) {
    return error == EMFILE || error == ENFILE || error == ENOBUFS || error == ENOMEM;
}

/* Let the oldest stranger go. False: there is none, or it came just now. */
static bool make_room(void) {
    const struct hc_caller *oldest = g_callers.strangers.first;
    const uint64_t stay = (STRANGER_MS - MIN_STAY_MS) * 1000000ull;
    return oldest != NULL && oldest->deadline - stay <= hc_now_ns() && hc_callers_drop_oldest(&g_callers);
}

static void pause_accepting(int ms) {
    pthread_mutex_lock(&g_server.lock);
    watch_listeners(false);
    pthread_mutex_unlock(&g_server.lock);
    g_resume = hc_now_ns() + ms * 1000000ull;
}

static void accept_again(void) {
    pthread_mutex_lock(&g_server.lock);
    watch_listeners(true);
    pthread_mutex_unlock(&g_server.lock);
    g_resume = 0;
}

static void accept_from(const struct listener *l) {
    for (int i = 0; i < ACCEPTS; i++) {
        if (g_callers.strangers.count >= g_max_strangers && !make_room()) {
            pause_accepting(MIN_STAY_MS / 3);
            return;
        }
        const int s = accept4(l->socket, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (s >= 0) {
            g_shortage_ms = 0;
            welcome(s);
        } else if (errno == EAGAIN) {
            return;
        } else if (is_shortage(errno) && !make_room()) {
            g_shortage_ms =
                g_shortage_ms == 0 ? MIN_PAUSE_MS : (unsigned)hc_min_size(2 * g_shortage_ms, MAX_PAUSE_MS);
            pause_accepting(g_shortage_ms);
            return;
        } /* else that connection is over already */
    }
}

static void look_at_deadlines(void) {
    const uint64_t now = hc_now_ns();
    if (g_resume != 0 && now >= g_resume) accept_again();
    if (now < g_next_look) return;
    g_next_look = now + TICK_MS * 1000000ull;
    while (g_callers.strangers.first != NULL && g_callers.strangers.first->deadline <= now)
        hc_callers_drop_oldest(&g_callers);
    for (struct hc_caller *c = g_callers.known.first; c != NULL;) {
        if (c->deadline > now) {
            c = c->next;
            continue;
        }
        if (c->stage == HC_CALLER_WAITS) hc_meeting_expire(&g_callers, c);
        else hc_callers_drop(&g_callers, c);
        c = g_callers.known.first; /* others may have gone with it */
    }
}

/* Milliseconds until something has to be done without an event; -1: never. */
static int patience(void) {
    if (g_resume != 0) return hc_left_ms(g_resume);
    return g_callers.strangers.count + g_callers.known.count > 0 ? TICK_MS : -1;
}

static bool is_listener(const void *source) {
    const uintptr_t at = (uintptr_t)source, first = (uintptr_t)g_server.listeners;
    return at >= first && at < first + sizeof g_server.listeners;
}

static bool round_of_events(void) {
    enum { EVENTS = 64 };
    struct epoll_event events[EVENTS];
    const int count = epoll_wait(g_server.epoll, events, EVENTS, patience());
    for (int i = 0; i < count; i++) {
        void *source = events[i].data.ptr;
        if (source != NULL && !is_listener(source)) serve(source);
    }
    for (int i = 0; i < count; i++) {
        if (!is_listener(events[i].data.ptr)) continue;
        if (g_resume == 0) accept_from(events[i].data.ptr);
        else pause_accepting(hc_left_ms(g_resume)); /* one that was added meanwhile */
    }
    look_at_deadlines();
    hc_callers_sweep(&g_callers);
    pthread_mutex_lock(&g_server.lock);
    const bool go_on = !g_server.stop;
    pthread_mutex_unlock(&g_server.lock);
    return go_on;
}

static void *answer_calls(void *unused) {
    struct rlimit files = {.rlim_cur = 1024};
    (void)unused;
    getrlimit(RLIMIT_NOFILE, &files);
    g_max_strangers = hc_max_size(1, (size_t)hc_min_size(files.rlim_cur / 8, MAX_STRANGERS));
    g_callers = (struct hc_callers){.epoll = g_server.epoll};
    g_resume = g_next_look = g_shortage_ms = 0;
    while (round_of_events()) {
    }
    hc_relay_close(&g_callers);
    while (hc_callers_drop_oldest(&g_callers)) {
    }
    while (g_callers.known.first != NULL) hc_callers_drop(&g_callers, g_callers.known.first);
    hc_callers_sweep(&g_callers);
    return NULL;
}

/* Needs the lock. The place behind those that count. */
static HcclResult open_listener(const char *caller, struct in_addr address, uint16_t *port) {
    char text[INET_ADDRSTRLEN];
    inet_ntop(AF_INET, &address, text, sizeof text);
    HC_CHECK(g_server.num_listeners < MAX_LISTENERS, HCCL_E_UNAVAIL,
             "%s: more than %d addresses to answer on", caller, MAX_LISTENERS);
    const int s = hc_socket_listen(address, port);
    HC_CHECK(s >= 0, HCCL_E_TCP_CONNECT, "%s: cannot listen on %s, port %u: %s%s", caller, text, *port,
             strerror(errno), errno == EADDRNOTAVAIL ? " (it is no address of this host)" : "");
    struct listener *l = &g_server.listeners[g_server.num_listeners];
    *l = (struct listener){s, address, *port};
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = l};
    if (epoll_ctl(g_server.epoll, EPOLL_CTL_ADD, s, &event) != 0) {
        const int why = errno;
        close(s);
        return hc_fail(HCCL_E_SYSCALL, "%s: cannot watch a socket: %s", caller, strerror(why));
    }
    g_server.num_listeners++;
    return HCCL_SUCCESS;
}

/* Needs the lock. */
static bool listens(struct in_addr address, uint16_t port) {
    for (size_t i = 0; i < g_server.num_listeners; i++)
        if (g_server.listeners[i].address.s_addr == address.s_addr && g_server.listeners[i].port == port)
            return true;
    return false;
}

static bool listens_on_all(const struct in_addr *addresses, size_t count, uint16_t port) {
    for (size_t i = 0; i < count; i++)
        if (!listens(addresses[i], port)) return false;
    return true;
}

/* Needs the lock. All or none. */
static HcclResult open_all(const char *caller, const struct in_addr *addresses, size_t count,
                           uint16_t *port) {
    const size_t before = g_server.num_listeners;
    for (size_t i = 0; i < count; i++) {
        if (listens(addresses[i], *port)) continue;
        const HcclResult status = open_listener(caller, addresses[i], port);
        if (status == HCCL_SUCCESS) continue;
        while (g_server.num_listeners > before) {
            const int s = g_server.listeners[--g_server.num_listeners].socket;
            epoll_ctl(g_server.epoll, EPOLL_CTL_DEL, s, NULL);
            close(s);
        }
        return status;
    }
    return HCCL_SUCCESS;
}

/* Needs the lock. A port that is free on the first address may be taken on another one. */
static HcclResult find_port(const char *caller, const struct in_addr *addresses, size_t count,
                            uint16_t *port) {
    enum { TRIES = 16 };
    if (*port != 0) return open_all(caller, addresses, count, port);
    for (size_t i = 0; i < g_server.num_listeners; i++) {
        *port = g_server.listeners[i].port;
        if (listens_on_all(addresses, count, *port)) return HCCL_SUCCESS;
    }
    HcclResult status = HCCL_E_INTERNAL;
    for (int i = 0; i < TRIES && status != HCCL_SUCCESS; i++) {
        *port = 0;
        status = open_all(caller, addresses, count, port);
    }
    return status;
}

/* The thread is the parent's. What it listens on stays open there; the child must not keep the port. */
static void after_fork_in_child(void) {
    if (g_server.running) {
        for (size_t i = 0; i < g_server.num_listeners; i++) close(g_server.listeners[i].socket);
        close(g_server.epoll);
        close(g_server.wake);
    }
    pthread_mutex_init(&g_server.lock, NULL);
    g_server.keys = NULL;
    g_server.num_listeners = g_server.num_keys = g_server.key_room = 0;
    g_server.running = false;
}

/* Needs the lock. */
static HcclResult start(const char *caller) {
    static bool registered;
    if (!registered) registered = pthread_atfork(NULL, NULL, after_fork_in_child) == 0;
    if (g_server.running) return HCCL_SUCCESS;
    g_server.epoll = epoll_create1(EPOLL_CLOEXEC);
    g_server.wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = NULL};
    int failed = 0;
    g_server.stop = false;
    if (g_server.epoll < 0 || g_server.wake < 0 ||
        epoll_ctl(g_server.epoll, EPOLL_CTL_ADD, g_server.wake, &event) != 0)
        failed = errno;
    else failed = pthread_create(&g_server.thread, NULL, answer_calls, NULL);
    if (failed != 0) {
        if (g_server.epoll >= 0) close(g_server.epoll);
        if (g_server.wake >= 0) close(g_server.wake);
        return hc_fail(HCCL_E_SYSCALL, "%s: cannot start a thread that answers: %s", caller,
                       strerror(failed));
    }
    pthread_setname_np(g_server.thread, "hccl-bootstrap");
    g_server.running = true;
    hc_at_finalize(hc_server_stop);
    return HCCL_SUCCESS;
}

/* Needs the lock. */
static HcclResult add_key(const char *caller, const struct hc_key *key) {
    const uint64_t name = hc_key_name(key);
    for (size_t i = 0; i < g_server.num_keys; i++)
        if (g_server.keys[i].name == name) return HCCL_SUCCESS;
    if (g_server.num_keys == g_server.key_room) {
        const size_t room = g_server.key_room > 0 ? 2 * g_server.key_room : 64;
        struct named_key *keys = realloc(g_server.keys, room * sizeof *keys);
        HC_CHECK(keys != NULL, HCCL_E_MEMORY, "%s: out of host memory", caller);
        g_server.keys = keys;
        g_server.key_room = room;
    }
    g_server.keys[g_server.num_keys++] = (struct named_key){name, *key};
    return HCCL_SUCCESS;
}

HcclResult hc_server_answer(const char *caller, const struct in_addr *addresses, size_t count,
                            const struct hc_key *key, uint16_t *port) {
    pthread_mutex_lock(&g_server.lock);
    HcclResult status = start(caller);
    if (status == HCCL_SUCCESS) status = add_key(caller, key);
    if (status == HCCL_SUCCESS) status = find_port(caller, addresses, count, port);
    pthread_mutex_unlock(&g_server.lock);
    return status;
}

void hc_server_stop(void) {
    pthread_mutex_lock(&g_server.lock);
    const bool running = g_server.running;
    g_server.stop = true;
    if (running) eventfd_write(g_server.wake, 1);
    pthread_mutex_unlock(&g_server.lock);
    if (!running) return;
    pthread_join(g_server.thread, NULL);
    pthread_mutex_lock(&g_server.lock);
    for (size_t i = 0; i < g_server.num_listeners; i++) close(g_server.listeners[i].socket);
    close(g_server.epoll);
    close(g_server.wake);
    explicit_bzero(g_server.keys, g_server.num_keys * sizeof *g_server.keys);
    free(g_server.keys);
    g_server.keys = NULL;
    g_server.num_listeners = g_server.num_keys = g_server.key_room = 0;
    g_server.running = false;
    pthread_mutex_unlock(&g_server.lock);
}
