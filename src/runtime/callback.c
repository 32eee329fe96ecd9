// SPDX-License-Identifier: Apache-2.0
/* Host functions in a stream.
 *
 * aclrtLaunchHostFunc runs in the stream's worker. aclrtLaunchCallback runs in the thread that subscribed to
 * the stream and calls aclrtProcessReport: the stream hands the call over and, if it is a blocking one, waits
 * until it has run. A call that is dropped is handed over as the failure that it is, or its thread would wait
 * for it for ever. */
#include <errno.h>
#include <stdlib.h>

#include "hc_clock.h"
#include "hc_cond.h"
#include "hc_error.h"
#include "hc_outcome.h"
#include "hc_stream.h"

struct call {
    atomic_uint references; /* the stream's task and the report queue */
    aclrtCallback fn;
    void *data;
    bool blocking, done;
    struct hc_outcome dropped; /* why it is not to run */
    uint64_t thread;           /* subscriber */
    struct call *next;
};

static pthread_mutex_t g_lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t g_changed;

__attribute__((constructor)) static void init_changed(void) { hc_cond_init(&g_changed); }
static struct call *g_first, *g_last; /* handed over, not run yet */

struct host_func {
    aclrtHostFunc fn;
    void *args;
};

/* Runs in the worker, never in the launching thread: the function may take locks that the launcher holds
 * (Python's GIL). */
static aclError run_host_func(void *arg) {
    const struct host_func *f = arg;
    f->fn(f->args);
    return ACL_SUCCESS;
}

aclError aclrtLaunchHostFunc(aclrtStream stream, aclrtHostFunc fn, void *args) {
    HC_CHECK(fn != NULL, ACL_ERROR_RT_PARAM_INVALID, "aclrtLaunchHostFunc: fn is null");
    struct hc_stream *s = hc_stream_find(stream, "aclrtLaunchHostFunc");
    if (s == NULL) return hc_error_peek();
    struct host_func *f = malloc(sizeof *f);
    HC_CHECK(f != NULL, ACL_ERROR_RT_RESOURCE_ALLOC_FAIL, "aclrtLaunchHostFunc: out of host memory");
    *f = (struct host_func){fn, args};
    return hc_launch(s, &(struct hc_task){.name = "host function",
                                          .kind = HC_TASK_CALLBACK,
                                          .may_block = true,
                                          .once = true,
                                          .arg = f,
                                          .run = run_host_func,
                                          .release = free});
}

static void unreference(void *arg) {
    struct call *c = arg;
    if (atomic_fetch_sub(&c->references, 1) != 1) return;
    hc_outcome_free(&c->dropped);
    free(c);
}

/* Needs the lock. The queue's reference is taken here, the task keeps its own. */
static void hand_over(struct call *c) {
    atomic_fetch_add(&c->references, 1);
    c->next = NULL;
    if (g_last != NULL) g_last->next = c;
    else g_first = c;
    g_last = c;
    pthread_cond_broadcast(&g_changed);
}

static void release_callback(void *arg) {
    struct call *c = arg;
    if (hc_dropped() != 0) {
        c->dropped = hc_outcome_of(hc_dropped());
        pthread_mutex_lock(&g_lock);
        hand_over(c);
        pthread_mutex_unlock(&g_lock);
    }
    unreference(c);
}

/* Looks for an abort ten times a second. */
static aclError run_callback(void *arg) {
    struct call *c = arg;
    bool aborted = false;
    hc_stream_park(true);
    pthread_mutex_lock(&g_lock);
    hand_over(c);
    while (c->blocking && !c->done && !aborted) {
        const struct timespec soon = hc_deadline(100); /* an abort does not signal this condition */
        pthread_cond_timedwait(&g_changed, &g_lock, &soon);
        aborted = hc_abort_requested();
    }
    pthread_mutex_unlock(&g_lock);
    hc_stream_park(false);
    HC_CHECK(!aborted, ACL_ERROR_RT_STREAM_ABORT, "callback: the stream was aborted");
    return ACL_SUCCESS;
}

/* The thread must have subscribed before: a call that nobody would process is an error now, not a hang
 * later. */
aclError aclrtLaunchCallback(aclrtCallback fn, void *userData, aclrtCallbackBlockType blockType,
                             aclrtStream stream) {
    HC_CHECK(fn != NULL, ACL_ERROR_RT_PARAM_INVALID, "aclrtLaunchCallback: fn is null");
    HC_CHECK(blockType == ACL_CALLBACK_NO_BLOCK || blockType == ACL_CALLBACK_BLOCK,
             ACL_ERROR_RT_PARAM_INVALID, "aclrtLaunchCallback: there is no block type %d", (int)blockType);
    struct hc_stream *s = hc_stream_find(stream, "aclrtLaunchCallback");
    if (s == NULL) return hc_error_peek();
    const uint64_t thread = atomic_load(&s->subscriber);
    HC_CHECK(thread != 0, ACL_ERROR_RT_STREAM_NO_CB_REG,
             "aclrtLaunchCallback: no thread processes the callbacks of stream %d (aclrtSubscribeReport)",
             s->id);
    struct call *c = calloc(1, sizeof *c);
    HC_CHECK(c != NULL, ACL_ERROR_RT_RESOURCE_ALLOC_FAIL, "aclrtLaunchCallback: out of host memory");
    atomic_init(&c->references, 1);
    c->fn = fn;
    c->data = userData;
    c->blocking = blockType == ACL_CALLBACK_BLOCK;
    c->thread = thread;
    return hc_launch(s, &(struct hc_task){.name = "callback",
                                          .kind = HC_TASK_CALLBACK,
                                          .may_block = true,
                                          .once = true,
                                          .arg = c,
                                          .run = run_callback,
                                          .release = release_callback});
}

/* One thread per stream; subscribing again is refused unless it is the same one. */
aclError aclrtSubscribeReport(uint64_t threadId, aclrtStream stream) {
    struct hc_stream *s = hc_stream_find(stream, "aclrtSubscribeReport");
    if (s == NULL) return hc_error_peek();
    HC_CHECK(threadId != 0, ACL_ERROR_RT_PARAM_INVALID, "aclrtSubscribeReport: threadId is 0");
    unsigned long long none = 0;
    HC_CHECK(atomic_compare_exchange_strong(&s->subscriber, &none, threadId) || none == threadId,
             ACL_ERROR_RT_STREAM_SUBSCRIBE,
             "aclrtSubscribeReport: stream %d is subscribed by thread %llu already", s->id, none);
    return ACL_SUCCESS;
}

/* Calls handed over already stay in the queue for that thread. */
aclError aclrtUnSubscribeReport(uint64_t threadId, aclrtStream stream) {
    struct hc_stream *s = hc_stream_find(stream, "aclrtUnSubscribeReport");
    if (s == NULL) return hc_error_peek();
    unsigned long long expected = threadId;
    HC_CHECK(threadId != 0 && atomic_compare_exchange_strong(&s->subscriber, &expected, 0),
             ACL_ERROR_RT_THREAD_SUBSCRIBE,
             "aclrtUnSubscribeReport: thread %llu has not subscribed stream %d", (unsigned long long)threadId,
             s->id);
    return ACL_SUCCESS;
}

/* Needs the lock. Threads share one queue but get only their own calls, in order. */
static struct call *take_of(uint64_t thread) {
    struct call *before = NULL;
    for (struct call *c = g_first; c != NULL; before = c, c = c->next) {
        if (c->thread != thread) continue;
        if (before != NULL) before->next = c->next;
        else g_first = c->next;
        if (g_last == c) g_last = before;
        return c;
    }
    return NULL;
}

/* Without any lock: the callback may call the runtime. */
static aclError run(struct call *c) {
    const aclError code = hc_outcome_tell(&c->dropped);
    if (code == 0) c->fn(c->data);
    pthread_mutex_lock(&g_lock);
    c->done = true;
    pthread_cond_broadcast(&g_changed);
    pthread_mutex_unlock(&g_lock);
    unreference(c);
    return code;
}

/* timeout: milliseconds; -1 waits for ever. Runs one callback, or gives the error because of which one will
 * never run. */
aclError aclrtProcessReport(int32_t timeout) {
    HC_CHECK(timeout >= -1 && timeout != 0, ACL_ERROR_RT_PARAM_INVALID,
             "aclrtProcessReport: timeout is %d ms, must be -1 or above 0", timeout);
    const uint64_t self = (uint64_t)pthread_self();
    const struct timespec deadline = hc_deadline(timeout > 0 ? timeout : 0);
    int late = 0;
    struct call *c;
    pthread_mutex_lock(&g_lock);
    while ((c = take_of(self)) == NULL && late != ETIMEDOUT) {
        if (timeout < 0) pthread_cond_wait(&g_changed, &g_lock);
        else late = pthread_cond_timedwait(&g_changed, &g_lock, &deadline);
    }
    pthread_mutex_unlock(&g_lock);
    HC_CHECK(c != NULL, ACL_ERROR_RT_REPORT_TIMEOUT, "aclrtProcessReport: no callback within %d ms", timeout);
    return run(c);
}

void hc_callback_after_fork(void) {
    pthread_mutex_init(&g_lock, NULL);
    init_changed();
    g_first = g_last = NULL;
}
