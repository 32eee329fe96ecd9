// SPDX-License-Identifier: Apache-2.0
/* The thread behind communicators between hosts. It makes progress for those that nobody drives: what a rank
 * has sent must arrive, and connections must come about, also while the rank computes. */
#include <errno.h>
#include <poll.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "hc_finalize.h"
#include "hc_clock.h"
#include "hc_control.h"
#include "hc_net_thread.h"
#include "hc_server.h"
#include "hc_worker.h"

/* How long a worker whose event is missed waits at most: it may be left unarmed by those who drove it. */
enum { TICK_MS = 10 };

static struct {
    pthread_mutex_t lock; /* guards the list; held while nets are served, not while sleeping */
    pthread_t thread;
    pid_t owner; /* process it runs in */
    bool running, stop;
    struct hc_net *nets;
    uint64_t changes; /* of the list */
} g_thread = {.lock = PTHREAD_MUTEX_INITIALIZER};

/* Those that drive it do that better; while they sleep their buffers may be moved. Needs the list's lock. */
static void make_progress(struct hc_net *net) {
    if (atomic_load(&net->waiters) > 0 || pthread_mutex_trylock(&net->lock) != 0) return;
    if (net->worker != NULL && atomic_load(&net->waiters) == 0) {
        do hc_worker_progress(net);
        while (net->ucp->worker_arm(net->worker) == HC_UCS_BUSY);
    }
    pthread_mutex_unlock(&net->lock);
}

/* Two files per net: its connection, its worker's events where nobody else waits for them. */
static struct pollfd *list_files(size_t *count) {
    size_t n = 0;
    for (const struct hc_net *net = g_thread.nets; net != NULL; net = net->next) n += 2;
    struct pollfd *files = calloc(n + 1, sizeof *files);
    n = 0;
    for (struct hc_net *net = g_thread.nets; net != NULL && files != NULL; net = net->next) {
        pthread_mutex_lock(&net->control_lock);
        files[n++] = (struct pollfd){net->control, POLLIN, 0};
        pthread_mutex_unlock(&net->control_lock);
        files[n++] = (struct pollfd){atomic_load(&net->waiters) == 0 ? net->event_file : -1, POLLIN, 0};
    }
    *count = n;
    return files;
}

/* What was polled is worth nothing once the list has changed. Needs the lock. */
static void serve(const struct pollfd *files, uint64_t changes) {
    size_t i = 0;
    for (struct hc_net *net = g_thread.nets; net != NULL; net = net->next, i++) {
        if (changes == g_thread.changes && files != NULL && files[2 * i].revents != 0)
            hc_control_receive(net);
        make_progress(net);
    }
}

static void *run(void *unused) {
    (void)unused;
    pthread_mutex_lock(&g_thread.lock);
    while (!g_thread.stop) {
        size_t count = 0;
        struct pollfd *files = list_files(&count);
        const uint64_t changes = g_thread.changes;
        pthread_mutex_unlock(&g_thread.lock);
        poll(files, files != NULL ? (nfds_t)count : 0, TICK_MS);
        pthread_mutex_lock(&g_thread.lock);
        serve(files, changes);
        free(files);
    }
    pthread_mutex_unlock(&g_thread.lock);
    return NULL;
}

static void stop(void) {
    pthread_mutex_lock(&g_thread.lock);
    const bool running = g_thread.running && g_thread.owner == getpid();
    g_thread.stop = true;
    g_thread.running = false;
    pthread_mutex_unlock(&g_thread.lock);
    if (running) pthread_join(g_thread.thread, NULL);
}

/* The worker goes, in order if that works. False: a thread holds on to it. */
static bool retire(struct hc_net *net) {
    enum { PATIENCE_MS = 1000 };
    const uint64_t limit = hc_now_ns() + PATIENCE_MS * 1000000ull;
    while (pthread_mutex_trylock(&net->lock) != 0) {
        if (hc_now_ns() > limit) return false;
        sched_yield();
    }
    hc_worker_retire(net);
    pthread_mutex_unlock(&net->lock);
    return true;
}

/* The process ends without having destroyed its communicators: the others must not take that for a crash, and
 * no thread, ours or UCX's, may run while libraries are taken down. */
static void at_exit(void) {
    if (g_thread.owner != getpid()) return;
    stop();
    bool all = true;
    for (struct hc_net *net = g_thread.nets; net != NULL; net = net->next) {
        all = retire(net) && all;
        hc_control_close(net);
    }
    if (all) hc_ucp_close();
    hc_server_stop();
}

/* The thread is the parent's, and so are its nets; a lock it held stays locked. */
static void after_fork_in_child(void) {
    pthread_mutex_init(&g_thread.lock, NULL);
    g_thread.nets = NULL;
    g_thread.running = false;
}

/* Needs the lock. */
static HcclResult start(const char *caller) {
    static bool registered;
    if (g_thread.running) return HCCL_SUCCESS;
    g_thread.stop = false;
    const int failed = pthread_create(&g_thread.thread, NULL, run, NULL);
    HC_CHECK(failed == 0, HCCL_E_SYSCALL, "%s: cannot start a thread: %s", caller, strerror(failed));
    pthread_setname_np(g_thread.thread, "hccl-net");
    g_thread.running = true;
    g_thread.owner = getpid();
    if (!registered)
        registered = atexit(at_exit) == 0 && pthread_atfork(NULL, NULL, after_fork_in_child) == 0;
    hc_at_finalize(stop);
    return HCCL_SUCCESS;
}

HcclResult hc_net_thread_add(const char *caller, struct hc_net *net) {
    pthread_mutex_lock(&g_thread.lock);
    const HcclResult status = start(caller);
    if (status == HCCL_SUCCESS) {
        net->next = g_thread.nets;
        g_thread.nets = net;
        g_thread.changes++;
    }
    pthread_mutex_unlock(&g_thread.lock);
    return status;
}

void hc_net_thread_remove(struct hc_net *net) {
    pthread_mutex_lock(&g_thread.lock);
    struct hc_net **link = &g_thread.nets;
    while (*link != NULL && *link != net) link = &(*link)->next;
    if (*link != NULL) *link = net->next;
    g_thread.changes++;
    pthread_mutex_unlock(&g_thread.lock);
}
