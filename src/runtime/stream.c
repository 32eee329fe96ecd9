// SPDX-License-Identifier: Apache-2.0
/* The FIFO of a stream and its worker thread (docs/streams.md).
 *
 * Whoever sets OWNED in the state word runs tasks: a caller by compare-and-swap from zero (launch.c), or,
 * under the lock, the worker or who synchronises. PENDING is set under the lock while the queue is not empty,
 * so no caller can overtake it. */
#include "hc_stream.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "hc_capture.h"
#include "hc_clock.h"
#include "hc_cond.h"
#include "hc_error.h"
#include "hc_interrupted.h"
#include "hc_memory.h"
#include "hc_observe.h"
#include "hc_runtime.h"

struct hc_pool hc_stream_pool = HC_POOL("stream", 1024, 65536);
/* 5 s: longer than any operator of a sensible size, shorter than a user's patience. 2 s for what is left
 * at the end of a process. */
enum { FORCE_MS = 5000, SETTLE_MS = 2000 };
static _Atomic(void (*)(void)) g_aborted;

void hc_stream_on_abort(void (*aborted)(void)) { atomic_store(&g_aborted, aborted); }

/* Wait for `cond`, for ever or until the deadline; *late is set when that has passed. */
static void wait_on(pthread_cond_t *cond, struct hc_stream *s, const struct timespec *deadline, bool *late) {
    if (deadline == NULL) pthread_cond_wait(cond, &s->lock);
    else *late = pthread_cond_timedwait(cond, &s->lock, deadline) == ETIMEDOUT;
}

/* Needs the lock, as all static functions below that take a stream. NULL when out of memory. */
static struct hc_queued *take_node(struct hc_stream *s) {
    struct hc_queued *node = s->spare;
    if (node == NULL) return malloc(sizeof *node);
    s->spare = node->next;
    return node;
}

/* Nodes are kept for the next task: a stream that queues at all queues often. They are freed with the
 * stream. */
static void give_node(struct hc_stream *s, struct hc_queued *node) {
    node->next = s->spare;
    s->spare = node;
}

/* The text must name the operator, or the reader of a later synchronise cannot tell whose error it is. */
static void stick(struct hc_stream *s, aclError code, const char *name, const char *text) {
    if (s->error != 0) return; /* the first error is the cause */
    s->error = s->failure = code;
    if (strstr(text, name) != NULL) snprintf(s->failure_text, sizeof s->failure_text, "%s", text);
    else snprintf(s->failure_text, sizeof s->failure_text, "%s: %s", name, text);
    atomic_fetch_add(&s->failures, 1);
    atomic_fetch_or(&s->state, HC_STREAM_FAILED);
}

/* Detach the whole queue; its tasks are released by drop_list, without the lock. */
static struct hc_queued *detach_queue(struct hc_stream *s) {
    struct hc_queued *list = s->first;
    s->first = s->last = NULL;
    return list;
}

/* The error that sticks is why. Gives up the lock meanwhile. Counted as completed only afterwards: who
 * synchronises finds them released. */
static void drop_list(struct hc_stream *s, struct hc_queued *list) {
    if (list == NULL) return;
    uint64_t count = 0;
    const aclError code = s->error;
    char why[HC_STREAM_TEXT_BYTES];
    memcpy(why, s->failure_text, sizeof why);
    pthread_mutex_unlock(&s->lock);
    for (; list != NULL; count++) {
        struct hc_queued *next = list->next;
        hc_error_set_text(why);
        hc_task_release(&list->task, code);
        free(list);
        list = next;
    }
    pthread_mutex_lock(&s->lock);
    s->completed += count;
    pthread_cond_broadcast(&s->done);
}

/* OWNED may be a caller's inline task, which started before the queue was filled. */
static bool may_start(const struct hc_stream *s) {
    return s->first != NULL && (atomic_load(&s->state) & (HC_STREAM_OWNED | HC_STREAM_PAUSED)) == 0;
}

/* Asked to end, and nothing is left to do. */
static bool finished(const struct hc_stream *s) { return s->stop && s->first == NULL; }

/* A task of the caller, who holds OWNED, has failed; this thread's text says how. Gives up the lock for the
 * client's callback. */
static void fail_locked(struct hc_stream *s, aclError code, const char *name) {
    stick(s, code, name, hc_error_text());
    if (s->failure_mode == ACL_STOP_ON_FAILURE) drop_list(s, detach_queue(s));
    pthread_mutex_unlock(&s->lock);
    hc_exception_report(code, s->device->id, s->id);
    pthread_mutex_lock(&s->lock);
}

/* The launch succeeds, so no code must be left for aclrtGetLastError. */
void hc_stream_fail(struct hc_stream *s, aclError code, const char *name) {
    pthread_mutex_lock(&s->lock);
    fail_locked(s, code, name);
    if (s->first == NULL) atomic_fetch_and(&s->state, ~(unsigned)HC_STREAM_PENDING);
    pthread_mutex_unlock(&s->lock);
    hc_error_take();
}

/* Waking a thread after every task, to let it see that its number has not come up yet, would cost more than
 * the tasks. Whoever pauses or ends the stream waits for any task to end. */
static void tell_waiters(struct hc_stream *s) {
    const bool paused = (atomic_load(&s->state) & HC_STREAM_PAUSED) != 0;
    if (s->first != NULL && s->completed < s->awaited && !paused && s->error == 0) return;
    s->awaited = UINT64_MAX; /* those who wait on say so again */
    pthread_cond_broadcast(&s->done);
}

/* The lock is given up while the task runs. Its error is stored before OWNED is cleared, so whoever sees
 * the stream idle sees the error too. */
static void run_first(struct hc_stream *s) {
    struct hc_queued *node = s->first;
    s->first = node->next;
    if (s->first == NULL) s->last = NULL;
    atomic_fetch_or(&s->state, HC_STREAM_OWNED);
    pthread_mutex_unlock(&s->lock);
    const aclError code = hc_stream_run(s, &node->task);
    pthread_mutex_lock(&s->lock);
    if (code != 0) fail_locked(s, code, node->task.name);
    give_node(s, node);
    s->completed++;
    atomic_fetch_and(&s->state,
                     ~(unsigned)(HC_STREAM_OWNED | HC_STREAM_WAITED | (s->first ? 0 : HC_STREAM_PENDING)));
    s->releases++;
    tell_waiters(s);
}

/* Being woken costs 10 us and more, on a virtual machine five times that; yielding the core costs less than 1
 * us, and what is waited for often comes at once. Measured with bench/hccl: 64 times took tokens from ranks
 * that share cores. */
enum { YIELDS = 8 };
static void poll_state(struct hc_stream *s, unsigned mask, unsigned want) {
    for (int i = 0; i < YIELDS && (atomic_load(&s->state) & mask) != want; i++) sched_yield();
}

/* A stream whose tasks are all run by who waits for them needs no worker, but a launch would wake it each
 * time: two switches of threads for nothing, which tell where ranks share a core. So after a few such tasks
 * the worker looks by itself, DOZE_US later, and launches need not wake it. If it finds a task then, it was
 * needed, and is woken at once again; if nothing was launched meanwhile, it sleeps until it is. */
enum { LAZY_AFTER = 4, DOZE_US = 200 };

static void doze(struct hc_stream *s) {
    const struct timespec until = hc_deadline_ns(DOZE_US * 1000u);
    s->dozed_at = s->submitted;
    s->dozing = true;
    pthread_cond_timedwait(&s->work, &s->lock, &until);
    s->dozing = false;
}

/* The worker found nothing to do. Gives up the lock. */
static void await_work(struct hc_stream *s) {
    if (s->taken_over >= LAZY_AFTER && s->submitted != s->dozed_at) {
        doze(s);
        return;
    }
    pthread_mutex_unlock(&s->lock);
    poll_state(s, HC_STREAM_PENDING | HC_STREAM_OWNED | HC_STREAM_PAUSED, HC_STREAM_PENDING);
    pthread_mutex_lock(&s->lock);
    if (!may_start(s) && !finished(s)) pthread_cond_wait(&s->work, &s->lock);
}

/* Ends when asked to and the queue is empty: a destroy without force lets it finish the queue first. */
static void *worker(void *arg) {
    struct hc_stream *s = arg;
    pthread_mutex_lock(&s->lock);
    for (;;) {
        if (may_start(s)) {
            s->taken_over = 0;
            run_first(s);
        } else if (finished(s)) break;
        else await_work(s);
    }
    s->worker_gone = true;
    pthread_cond_broadcast(&s->done);
    pthread_mutex_unlock(&s->lock);
    return NULL;
}

/* The name shows in debuggers and in top: npu<device>-st<stream>. */
static aclError start_worker(struct hc_stream *s) {
    if (s->has_worker) return ACL_SUCCESS;
    sigset_t all, before; /* signals are for the client's own threads */
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    const int failed = pthread_create(&s->worker, NULL, worker, s);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    HC_CHECK(failed == 0, ACL_ERROR_RT_NO_STREAM_RESOURCE, "stream %d: cannot start its thread: %s", s->id,
             strerror(failed));
    char name[16];
    snprintf(name, sizeof name, "npu%d-st%d", s->device->id % 1000, s->id % 1000);
    pthread_setname_np(s->worker, name);
    s->has_worker = true;
    return ACL_SUCCESS;
}

/* Refused when the stream is being destroyed. PENDING is set last: from then on no caller gets in between. */
static aclError enqueue(struct hc_stream *s, const struct hc_task *task) {
    if (!hc_handle_ok(&hc_stream_pool, s) || s->stop) return hc_handle_fail(&hc_stream_pool, s, task->name);
    HC_TRY(start_worker(s));
    struct hc_queued *node = take_node(s);
    HC_CHECK(node != NULL, ACL_ERROR_RT_RESOURCE_ALLOC_FAIL,
             "%s: out of host memory to queue it in stream %d", task->name, s->id);
    *node = (struct hc_queued){.task = *task};
    if (HC_UNLIKELY(hc_observing())) node->task.queued_ns = hc_now_ns();
    if (s->last != NULL) s->last->next = node;
    else s->first = node;
    s->last = node;
    s->submitted++;
    atomic_fetch_or(&s->state, HC_STREAM_PENDING);
    if (!s->dozing) pthread_cond_signal(&s->work);
    return ACL_SUCCESS;
}

static void forget_error(struct hc_stream *s) {
    s->error = 0;
    s->aborted = false;
    atomic_store(&s->past, atomic_load(&s->failures));
    if (atomic_load(&s->device->abandoned) == 0 && !hc_interrupt_drops())
        atomic_fetch_and(&s->state, ~(unsigned)HC_STREAM_FAILED);
}

/* That a graph cannot have it is told at the end of the capture, and to a stream it is no error. */
static void drop_captured(const struct hc_task *task, aclError refused) {
    hc_task_release(task, refused);
    hc_error_take();
}

/* Behind an error that nobody has been told of a stream that stops drops the task, and that is no error of
 * the launch. After an abort a client begins anew, and need not synchronise before (torch_npu does not). */
aclError hc_stream_submit(struct hc_stream *s, const struct hc_task *task) {
    const bool interrupted = hc_interrupt_drops();
    pthread_mutex_lock(&s->lock);
    if (interrupted) stick(s, ACL_ERROR_RT_STREAM_ABORT, task->name, "dropped: the program was interrupted");
    else if (s->aborted) forget_error(s);
    if (s->graph != NULL && !interrupted) {
        const aclError refused = hc_graph_append(s->graph, task);
        pthread_mutex_unlock(&s->lock);
        if (refused != 0) drop_captured(task, refused);
        return ACL_SUCCESS;
    }
    const bool drop = interrupted || (s->error != 0 && s->failure_mode == ACL_STOP_ON_FAILURE);
    const aclError code = drop ? ACL_SUCCESS : enqueue(s, task);
    const aclError dropped = drop ? s->error : code;
    if (drop) hc_error_set_text(s->failure_text);
    pthread_mutex_unlock(&s->lock);
    if (dropped != 0) hc_task_release(task, dropped);
    return code;
}

/* What runs or is queued goes on. The bit sends every launch to hc_stream_submit. */
aclError hc_stream_capture(struct hc_stream *s, struct hc_graph *graph, const char *function) {
    pthread_mutex_lock(&s->lock);
    struct hc_graph *const present = s->graph;
    if (present == NULL) {
        hc_graph_retain(graph);
        s->graph = graph;
        atomic_fetch_or(&s->state, HC_STREAM_CAPTURED);
    }
    pthread_mutex_unlock(&s->lock);
    HC_CHECK(present == NULL || present == graph, ACL_ERROR_RT_STREAM_CAPTURED,
             "%s: stream %d is being captured already", function, s->id);
    return ACL_SUCCESS;
}

void hc_stream_end_capture(struct hc_stream *s, struct hc_graph *graph) {
    pthread_mutex_lock(&s->lock);
    const bool mine = s->graph == graph;
    if (mine) {
        s->graph = NULL;
        atomic_fetch_and(&s->state, ~(unsigned)HC_STREAM_CAPTURED);
    }
    pthread_mutex_unlock(&s->lock);
    if (mine) hc_graph_release(graph);
}

struct hc_graph *hc_stream_graph(struct hc_stream *s) {
    if (!hc_stream_captured(s)) return NULL;
    pthread_mutex_lock(&s->lock);
    struct hc_graph *graph = s->graph;
    if (graph != NULL) hc_graph_retain(graph);
    pthread_mutex_unlock(&s->lock);
    return graph;
}

aclError hc_stream_check_captured(struct hc_stream *s, const char *function) {
    HC_CHECK(!hc_stream_captured(s), ACL_ERROR_RT_STREAM_CAPTURED,
             "%s: stream %d is being captured: what it was given runs when the graph does", function, s->id);
    return ACL_SUCCESS;
}

/* The capture cannot be ended any more. */
static void abandon_capture(struct hc_stream *s) {
    struct hc_graph *graph = hc_stream_graph(s);
    if (graph == NULL) return;
    hc_graph_invalidate(graph, hc_fail(ACL_ERROR_RT_STREAM_CAPTURE_INVALIDATED,
                                       "stream %d was destroyed while it was captured", s->id));
    hc_error_take();
    hc_stream_end_capture(s, graph);
    hc_graph_release(graph);
}

/* The slow end of an inline task: someone set WAITED or queued behind it. The worker may have work now,
 * waiters look again. */
void hc_stream_release(struct hc_stream *s) {
    pthread_mutex_lock(&s->lock);
    atomic_fetch_and(&s->state, ~(unsigned)(HC_STREAM_OWNED | HC_STREAM_WAITED));
    s->releases++;
    pthread_cond_signal(&s->work);
    pthread_cond_broadcast(&s->done);
    pthread_mutex_unlock(&s->lock);
}

bool hc_stream_idle(struct hc_stream *s) {
    return (atomic_load(&s->state) & (HC_STREAM_OWNED | HC_STREAM_PENDING)) == 0;
}

/* Whoever waits anyway does the work of a worker that has not woken up yet; later tasks stay the worker's.
 * Gives up the lock. */
static void help(struct hc_stream *s, uint64_t target) {
    while (s->completed < target && may_start(s)) {
        s->taken_over++;
        run_first(s);
    }
    if (may_start(s)) pthread_cond_signal(&s->work);
    if (s->completed >= target) return;
    pthread_mutex_unlock(&s->lock);
    poll_state(s, HC_STREAM_PENDING | HC_STREAM_OWNED, 0);
    pthread_mutex_lock(&s->lock);
}

/* Wait until everything submitted before the call has ended. `running` covers the inline task, which has
 * no number: it is over when someone releases the stream. True when all is done. */
static bool drain(struct hc_stream *s, const struct timespec *deadline) {
    const uint64_t target = s->submitted, releases = s->releases;
    bool late = false;
    const bool running = (atomic_fetch_or(&s->state, HC_STREAM_WAITED) & HC_STREAM_OWNED) != 0;
    if (deadline == NULL) help(s, target);
    while (!late && (s->completed < target || (running && s->releases == releases))) {
        s->awaited = s->completed < target ? (s->awaited < target ? s->awaited : target) : 0;
        wait_on(&s->done, s, deadline, &late);
    }
    if ((atomic_load(&s->state) & HC_STREAM_OWNED) == 0)
        atomic_fetch_and(&s->state, ~(unsigned)HC_STREAM_WAITED);
    return s->completed >= target && (!running || s->releases != releases);
}

/* Needs the lock, as long as the text is used. That the device is abandoned is never forgotten. */
static aclError sticky_error(const struct hc_stream *s, const char **text) {
    *text = s->error != 0 ? s->failure_text : s->device->abandoned_text;
    return s->error != 0 ? s->error : atomic_load(&s->device->abandoned);
}

/* The same, or a failure that was told to somebody else since `past`. */
static aclError error_since(const struct hc_stream *s, unsigned past, const char **text) {
    const aclError code = sticky_error(s, text);
    if (code != 0 || atomic_load(&s->failures) == past) return code;
    *text = s->failure_text;
    return s->failure;
}

aclError hc_stream_failure_since(struct hc_stream *s, unsigned past) {
    const bool quiet = atomic_load(&s->failures) == past && atomic_load(&s->device->abandoned) == 0;
    if (HC_LIKELY(quiet)) return ACL_SUCCESS;
    const char *text;
    pthread_mutex_lock(&s->lock);
    const aclError code = error_since(s, past, &text);
    if (code != 0) hc_error_set_text(text);
    pthread_mutex_unlock(&s->lock);
    return code;
}

/* The slot may be another stream's by now. */
void hc_stream_told(struct hc_stream *s, int32_t id, unsigned number) {
    if (!hc_handle_pin(&s->handle)) return;
    pthread_mutex_lock(&s->lock);
    if (s->id == id && s->error != 0 && atomic_load(&s->failures) == number) forget_error(s);
    pthread_mutex_unlock(&s->lock);
    hc_handle_unpin(&s->handle);
}

/* So that no synchronise takes the short way past the error. */
static void abandon_one(void *object, void *device) {
    struct hc_stream *s = object;
    if (s->device == device) atomic_fetch_or(&s->state, HC_STREAM_FAILED);
}

void hc_streams_abandon(struct hc_device *device, aclError code) {
    atomic_store(&device->abandoned, code);
    hc_handle_each(&hc_stream_pool, abandon_one, device);
}

aclError hc_stream_error(struct hc_stream *s) {
    if (!hc_handle_pin(&s->handle)) return ACL_SUCCESS;
    const char *text;
    pthread_mutex_lock(&s->lock);
    aclError code = sticky_error(s, &text);
    if (code != 0) code = hc_fail(code, "%s", text);
    pthread_mutex_unlock(&s->lock);
    hc_handle_unpin(&s->handle);
    return code;
}

static _Thread_local aclError g_synchronize_failed; /* code of this thread's latest synchronise */

aclError hc_synchronize_failed(void) {
    const aclError code = g_synchronize_failed;
    if (HC_LIKELY(code == 0)) return ACL_SUCCESS;
    g_synchronize_failed = 0;
    return hc_fail(code, "%s", hc_error_text());
}

/* To an interpreter that is about to raise because it was interrupted nothing has failed. */
aclError hc_synchronized(aclError code) {
    return g_synchronize_failed = hc_interrupt_here() ? ACL_SUCCESS : code;
}

/* Needs the lock. All who waited for the failed task are told, not only the first of them to look: to each
 * the work is missing. */
static aclError tell_error(struct hc_stream *s, unsigned past) {
    const char *text;
    const aclError code = error_since(s, past, &text);
    if (s->error != 0) forget_error(s);
    return code != 0 ? hc_fail(code, "%s", text) : ACL_SUCCESS;
}

/* The idle case is one load: frameworks synchronise far more often than they wait. */
aclError hc_stream_synchronize(struct hc_stream *s, int64_t timeout_ms, const char *function) {
    g_synchronize_failed = 0;
    if (HC_LIKELY(atomic_load_explicit(&s->state, memory_order_acquire) == 0)) return ACL_SUCCESS;
    HC_CHECK(hc_stream_running() != s, ACL_ERROR_RT_PARAM_INVALID,
             "%s: stream %d waits for itself: called from one of its own tasks", function, s->id);
    HC_TRY(hc_synchronized(hc_stream_check_captured(s, function)));
    const struct timespec deadline = hc_deadline(timeout_ms >= 0 ? timeout_ms : 0);
    pthread_mutex_lock(&s->lock);
    const unsigned past = atomic_load(&s->past);
    const bool over = drain(s, timeout_ms >= 0 ? &deadline : NULL);
    const aclError code = hc_synchronized(tell_error(s, past));
    const unsigned long long left = s->submitted - s->completed;
    pthread_mutex_unlock(&s->lock);
    if (code != 0) return code;
    HC_CHECK(over, ACL_ERROR_RT_STREAM_SYNC_TIMEOUT,
             "%s: stream %d of device %d is not done after %lld ms (%llu tasks left)", function, s->id,
             s->device->id, (long long)timeout_ms, left);
    return ACL_SUCCESS;
}

/* The caller's own task, if it runs in a stream, cannot be waited for. */
static void wait_one(void *object, void *device) {
    struct hc_stream *s = object;
    if ((device != NULL && s->device != device) || hc_stream_idle(s) || hc_stream_running() == s) return;
    pthread_mutex_lock(&s->lock);
    drain(s, NULL);
    pthread_mutex_unlock(&s->lock);
}

void hc_stream_wait(struct hc_stream *s) { wait_one(s, NULL); }

void hc_streams_wait(const struct hc_device *device) {
    hc_handle_each(&hc_stream_pool, wait_one, (void *)device);
}

/* Streams share one deadline: many blocked streams must not add up their time-outs. */
static void settle_one(void *object, void *deadline) {
    struct hc_stream *s = object;
    if (hc_stream_idle(s) || hc_stream_running() == s) return;
    pthread_mutex_lock(&s->lock);
    drain(s, deadline);
    pthread_mutex_unlock(&s->lock);
}

void hc_streams_settle(void) {
    struct timespec deadline = hc_deadline(SETTLE_MS);
    hc_handle_each(&hc_stream_pool, settle_one, &deadline);
}

/* First the flag, then the queue, then a wake-up of everything that waits inside a task: in this order no
 * wait can miss it. The stream may be used again afterwards; its error says that work was dropped. */
bool hc_stream_abort(struct hc_stream *s, aclError reason, int64_t timeout_ms) {
    const struct timespec deadline = hc_deadline(timeout_ms);
    atomic_store(&s->abort, true);
    pthread_mutex_lock(&s->lock);
    const bool failed_before = s->error != 0;
    if (s->first != NULL) {
        stick(s, reason, "abort", "abort: queued tasks of the stream were dropped");
        drop_list(s, detach_queue(s));
    }
    pthread_mutex_unlock(&s->lock);
    void (*aborted)(void) = atomic_load(&g_aborted);
    if (aborted != NULL) aborted();
    pthread_mutex_lock(&s->lock);
    const bool over = hc_stream_running() == s || drain(s, &deadline);
    if (s->first == NULL && (atomic_load(&s->state) & HC_STREAM_OWNED) == 0) {
        atomic_fetch_and(&s->state, ~(unsigned)HC_STREAM_PENDING);
    }
    /* Whatever the running task called it: it gave up for the abort. */
    if (!failed_before && s->error != 0) s->error = s->failure = reason;
    s->aborted = s->error != 0;
    if (s->aborted) atomic_store(&s->past, atomic_load(&s->failures));
    pthread_mutex_unlock(&s->lock);
    if (over) atomic_store(&s->abort, false);
    return over;
}

/* While work is dropped every launch must take the slow way, past no FAILED bit. */
static void interrupt_one(void *object, void *drop) {
    struct hc_stream *s = object;
    if (drop != NULL) {
        atomic_fetch_or(&s->state, HC_STREAM_FAILED);
        hc_stream_abort(s, ACL_ERROR_RT_STREAM_ABORT, 0);
        return;
    }
    pthread_mutex_lock(&s->lock);
    atomic_store(&s->abort, false);
    s->aborted = s->error != 0;
    if (s->error == 0) forget_error(s);
    pthread_mutex_unlock(&s->lock);
}

void hc_streams_interrupt(bool drop) { hc_handle_each(&hc_stream_pool, interrupt_one, drop ? &drop : NULL); }

/* A parked task (hc_stream_park) touches no memory and counts as ended: it may be waiting for the very
 * thread that pauses. */
bool hc_stream_pause(struct hc_stream *s, int64_t timeout_ms) {
    const struct timespec deadline = hc_deadline(timeout_ms);
    if (hc_stream_running() == s) return false;
    pthread_mutex_lock(&s->lock);
    atomic_fetch_or(&s->state, HC_STREAM_PAUSED);
    bool late = false;
    while (!late && (atomic_fetch_or(&s->state, HC_STREAM_WAITED) & HC_STREAM_OWNED) != 0 &&
           !atomic_load(&s->parked)) {
        wait_on(&s->done, s, &deadline, &late);
    }
    if ((atomic_load(&s->state) & HC_STREAM_OWNED) == 0)
        atomic_fetch_and(&s->state, ~(unsigned)HC_STREAM_WAITED);
    pthread_mutex_unlock(&s->lock);
    return !late;
}

/* The broadcast tells a pausing thread that this task is no longer in its way. Coming back waits until
 * nobody moves memory: what follows may touch it. */
void hc_stream_park(bool parked) {
    struct hc_stream *s = hc_stream_running();
    if (s == NULL) return;
    pthread_mutex_lock(&s->lock);
    while (!parked && (atomic_load(&s->state) & HC_STREAM_PAUSED) != 0) pthread_cond_wait(&s->done, &s->lock);
    atomic_store(&s->parked, parked);
    pthread_cond_broadcast(&s->done);
    pthread_mutex_unlock(&s->lock);
}

/* Both conditions: the worker waits for `work`, a parked task for `done`. */
void hc_stream_resume(struct hc_stream *s) {
    pthread_mutex_lock(&s->lock);
    atomic_fetch_and(&s->state, ~(unsigned)HC_STREAM_PAUSED);
    pthread_cond_signal(&s->work);
    pthread_cond_broadcast(&s->done); /* a parked task that wants to go on */
    pthread_mutex_unlock(&s->lock);
}

/* The worker is not started: most streams never need one. */
struct hc_stream *hc_stream_create(struct hc_context *context, uint32_t priority, uint32_t flags) {
    static atomic_int next_id;
    struct hc_stream *s = hc_handle_new(&hc_stream_pool);
    if (s == NULL) return NULL;
    s->id = atomic_fetch_add(&next_id, 1);
    s->device = context->device;
    s->context = context;
    s->priority = priority;
    s->flags = flags;
    pthread_mutex_init(&s->lock, NULL);
    hc_cond_init(&s->work);
    hc_cond_init(&s->done);
    hc_copy_gate_enter(); /* who moves memory has paused all streams there are: none may appear meanwhile */
    hc_handle_publish(&s->handle);
    if (atomic_load(&s->device->abandoned) != 0) atomic_fetch_or(&s->state, HC_STREAM_FAILED);
    hc_copy_gate_leave();
    return s;
}

/* False if the worker does not end: it is stuck in a client's callback. Without force it waits as long as
 * it takes: the tasks are finite, or the client asked for this. */
static bool end_worker(struct hc_stream *s, bool force) {
    const struct timespec deadline = hc_deadline(FORCE_MS);
    pthread_mutex_lock(&s->lock);
    s->stop = true;
    pthread_cond_signal(&s->work);
    bool late = false;
    while (s->has_worker && !s->worker_gone && !late) wait_on(&s->done, s, force ? &deadline : NULL, &late);
    const bool has_worker = s->has_worker, gone = s->worker_gone;
    pthread_mutex_unlock(&s->lock);
    if (!has_worker) return true;
    if (gone) pthread_join(s->worker, NULL);
    else pthread_detach(s->worker);
    return gone;
}

/* `pins`: how many the caller holds itself. The order matters: retired first, so that no new task comes;
 * then the queue runs empty; then the worker ends; and memory is freed when the last who found the stream
 * in time has let go. */
aclError hc_stream_destroy(struct hc_stream *s, bool force, uint32_t pins) {
    HC_CHECK(hc_stream_running() != s, ACL_ERROR_RT_PARAM_INVALID,
             "stream %d cannot be destroyed by one of its own tasks", s->id);
    if (!hc_handle_retire(&s->handle)) return hc_handle_fail(&hc_stream_pool, s, "aclrtDestroyStream");
    abandon_capture(s);
    aclError code = ACL_SUCCESS;
    if (force) hc_stream_abort(s, ACL_ERROR_RT_STREAM_ABORT, FORCE_MS);
    else code = hc_stream_synchronize(s, -1, "aclrtDestroyStream");
    /* A worker that hangs keeps its stream: better a leak than a thread on freed memory. */
    HC_CHECK(end_worker(s, force), ACL_ERROR_RT_STREAM_SYNC_TIMEOUT,
             "aclrtDestroyStreamForce: a task of stream %d does not end; its thread is left behind", s->id);
    hc_handle_wait_unpinned(&s->handle, pins);
    atomic_fetch_add(&s->device->retired_busy, atomic_load(&s->busy));
    while (s->spare != NULL) {
        struct hc_queued *next = s->spare->next;
        free(s->spare);
        s->spare = next;
    }
    pthread_cond_destroy(&s->work);
    pthread_cond_destroy(&s->done);
    pthread_mutex_destroy(&s->lock);
    hc_handle_free(&hc_stream_pool, s);
    return code;
}

static void destroy_if_of_context(void *object, void *context) {
    struct hc_stream *s = object;
    if (s->context == context) hc_stream_destroy(s, true, 1);
}

/* With force: the context is gone for its streams, waiting for them could take for ever. */
void hc_streams_destroy_of(struct hc_context *context) {
    hc_handle_each(&hc_stream_pool, destroy_if_of_context, context);
}

static void destroy_if_of_device(void *object, void *device) {
    struct hc_stream *s = object;
    if (device == NULL || s->device == device) hc_stream_destroy(s, true, 1);
}

void hc_streams_destroy(struct hc_device *device) {
    hc_handle_each(&hc_stream_pool, destroy_if_of_device, device);
}

void hc_stream_after_fork(void) { hc_pool_reset(&hc_stream_pool); }
