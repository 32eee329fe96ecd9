// SPDX-License-Identifier: Apache-2.0
/* Events. Those that processes share keep numbers and failures in a page (event_page.c). One lock and one
 * condition for all records: waits are rare and short. */
#include "hc_event.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "hc_clock.h"
#include "hc_cond.h"
#include "hc_error.h"

struct hc_pool hc_event_pool = HC_POOL("event", 128, 1 << 20);
static pthread_mutex_t g_lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t g_changed;
static _Atomic int64_t g_wait_timeout_s; /* aclrtSetOpWaitTimeout; 0: none */

__attribute__((constructor)) static void init_changed(void) { hc_cond_init(&g_changed); }

/* Bit 4 has no name any more; the default of older releases, 0xE, holds it. */
enum {
    KNOWN_FLAGS = 4 | ACL_EVENT_SYNC | ACL_EVENT_CAPTURE_STREAM_PROGRESS | ACL_EVENT_TIME_LINE |
    ACL_EVENT_DEVICE_USE_ONLY | ACL_EVENT_EXTERNAL | ACL_EVENT_IPC
};

/* Records are shared by the event, the recording task and every wait; the last one frees. */
static void unreference(struct hc_record *r) {
    if (r == NULL || atomic_fetch_sub(&r->references, 1) != 1) return;
    hc_outcome_free(&r->outcome);
    hc_event_page_release(r->page);
    hc_graph_release(r->graph);
    free(r);
}

struct hc_event *hc_event_find(aclrtEvent handle, const char *function) {
    if (HC_LIKELY(hc_handle_ok(&hc_event_pool, handle))) return handle;
    hc_handle_fail(&hc_event_pool, handle, function);
    return NULL;
}

/* Once only: the time is that of the record, not that of its release. `failed`: the error in front, with this
 * thread's text, 0 if there is none. */
static void finish_record(struct hc_record *r, aclError failed) {
    struct hc_outcome outcome = hc_outcome_of(failed);
    const uint64_t now = hc_now_ns();
    pthread_mutex_lock(&g_lock);
    const bool first = !r->done;
    if (first) {
        r->time_ns = now;
        r->done = true;
        r->outcome = outcome;
        r->failure = atomic_load(&r->stream->failures);
        pthread_cond_broadcast(&g_changed);
    }
    pthread_mutex_unlock(&g_lock);
    if (!first) hc_outcome_free(&outcome);
    else if (r->page != NULL) hc_event_page_finish(r->page, r->number, &r->outcome, now);
}

/* Taking the lock makes sure that a waiter is either in its wait already or has yet to look at the flag. */
void hc_wake_waits(void) {
    pthread_mutex_lock(&g_lock);
    pthread_cond_broadcast(&g_changed);
    pthread_mutex_unlock(&g_lock);
}

/* A failure that somebody has been told of between the call and now counts: the record is behind it. */
static aclError run_record(void *arg) {
    struct hc_record *r = arg;
    finish_record(r, hc_stream_failure_since(r->stream, r->past));
    return ACL_SUCCESS;
}

/* A record that is dropped (abort, error in front of it) has failed: nobody must wait for it for ever. */
static void release_record(void *arg) {
    finish_record(arg, hc_dropped());
    unreference(arg);
}

/* The old record is the caller's to let go: waits that captured it hold references of their own. */
static struct hc_record *swap_record(struct hc_event *e, struct hc_record *r) {
    pthread_mutex_lock(&g_lock);
    struct hc_record *old = e->record;
    e->record = r;
    pthread_mutex_unlock(&g_lock);
    return old;
}

/* With two references: the event's and the task's. NULL with a text. */
static struct hc_record *new_record(struct hc_event *e, struct hc_stream *s) {
    struct hc_record *r = calloc(1, sizeof *r);
    if (r == NULL) {
        hc_fail(ACL_ERROR_RT_NO_EVENT_RESOURCE, "aclrtRecordEvent: out of host memory");
        return NULL;
    }
    atomic_init(&r->references, 2);
    r->stream = s;
    r->stream_id = s->id;
    r->past = hc_stream_past(s);
    if (e->page == NULL) return r;
    if (hc_event_page_request(e->page, &r->number) != 0) {
        free(r);
        return NULL;
    }
    r->page = hc_event_page_retain(e->page);
    return r;
}

/* Of a captured stream nothing has happened that the host could wait for: the record is over at once, and
 * says which graph a stream that waits for it belongs to. */
static aclError record_captured(struct hc_event *e, struct hc_record *r) {
    finish_record(r, 0);
    unreference(swap_record(e, r));
    unreference(r);
    return ACL_SUCCESS;
}

/* On an idle stream the record happens at once. */
aclError aclrtRecordEvent(aclrtEvent event, aclrtStream stream) {
    struct hc_event *e = hc_event_find(event, "aclrtRecordEvent");
    struct hc_stream *s = e != NULL ? hc_stream_find(stream, "aclrtRecordEvent") : NULL;
    if (s == NULL) return hc_error_peek();
    struct hc_record *r = new_record(e, s);
    if (r == NULL) return hc_error_peek();
    r->graph = hc_stream_graph(s);
    if (r->graph != NULL) return record_captured(e, r);
    unreference(swap_record(e, r));
    return hc_launch(s, &(struct hc_task){.name = "record event",
                                          .kind = HC_TASK_CONTROL,
                                          .arg = r,
                                          .run = run_record,
                                          .release = release_record});
}

/* Wait until the record is done; gives up when the stream of the calling task is aborted, or in time. */
static aclError await_record(struct hc_record *r, const struct timespec *deadline) {
    aclError code = ACL_SUCCESS;
    pthread_mutex_lock(&g_lock);
    while (!r->done && code == ACL_SUCCESS) {
        if (hc_abort_requested()) code = ACL_ERROR_RT_STREAM_ABORT;
        else if (deadline == NULL) pthread_cond_wait(&g_changed, &g_lock);
        else if (pthread_cond_timedwait(&g_changed, &g_lock, deadline) == ETIMEDOUT) {
            code = ACL_ERROR_RT_EVENT_SYNC_TIMEOUT;
        }
    }
    const bool done = r->done;
    pthread_mutex_unlock(&g_lock);
    return done ? ACL_SUCCESS : code;
}

/* Parked meanwhile: the wait is no work on memory. The time-out is the client's (aclrtSetOpWaitTimeout),
 * none by default. What was waited for is not there when something failed in front of the record, even if who
 * synchronised the other stream has been told: to compute with it would spread garbage. */
static aclError run_wait(void *arg) {
    const struct hc_record *r = arg;
    const int64_t limit = atomic_load(&g_wait_timeout_s);
    const struct timespec deadline = hc_deadline(limit * 1000);
    hc_stream_park(true);
    const aclError code = await_record(arg, limit > 0 ? &deadline : NULL);
    hc_stream_park(false);
    HC_CHECK(code != ACL_ERROR_RT_EVENT_SYNC_TIMEOUT, code, "wait event: not recorded after %lld s",
             (long long)limit);
    HC_CHECK(code == 0, code, "wait event: the stream was aborted");
    return hc_outcome_tell(&r->outcome);
}

/* Also for a wait that never ran: aclrtQueryEventWaitStatus counts what is still to pass. */
static void release_wait(void *arg) {
    struct hc_record *r = arg;
    pthread_mutex_lock(&g_lock);
    r->waits--;
    pthread_mutex_unlock(&g_lock);
    unreference(r);
}

/* The record to wait for, NULL if nothing is left to wait for or to learn from it. A stream need not wait for
 * what it runs itself. */
static struct hc_record *capture(struct hc_event *e, const struct hc_stream *s) {
    pthread_mutex_lock(&g_lock);
    struct hc_record *r = e->record;
    const bool own = r != NULL && s != NULL && r->stream_id == s->id;
    if (r != NULL && ((r->done && r->outcome.code == 0) || own)) r = NULL;
    if (r != NULL) {
        atomic_fetch_add(&r->references, 1);
        r->waits++;
    }
    pthread_mutex_unlock(&g_lock);
    return r;
}

/* Whether another process, or another handle of the event in this one, has recorded it last or reset it: then
 * number *number of its page counts, 0 for none. */
static bool is_foreign(struct hc_event *e, unsigned *number) {
    if (e->page == NULL) return false;
    *number = hc_event_page_latest(e->page);
    pthread_mutex_lock(&g_lock);
    const bool own = e->record != NULL && e->record->number == *number;
    pthread_mutex_unlock(&g_lock);
    return !own;
}

struct page_wait {
    struct hc_event_page *page;
    unsigned number;
};

static aclError run_page_wait(void *arg) {
    const struct page_wait *w = arg;
    const uint64_t limit = (uint64_t)atomic_load(&g_wait_timeout_s);
    hc_stream_park(true);
    const aclError code = hc_event_page_await(
        w->page, w->number, limit > 0 ? hc_now_ns() + limit * 1000000000u : 0, "wait event");
    hc_stream_park(false);
    return code;
}

static void release_page_wait(void *arg) {
    struct page_wait *w = arg;
    hc_event_page_release(w->page);
    free(w);
}

/* What is captured is the latest record that any process has asked for. */
static aclError launch_page_wait(struct hc_event_page *page, unsigned number, struct hc_stream *s) {
    if (number == 0) return ACL_SUCCESS;
    struct page_wait *w = malloc(sizeof *w);
    HC_CHECK(w != NULL, ACL_ERROR_RT_NO_EVENT_RESOURCE, "aclrtStreamWaitEvent: out of host memory");
    *w = (struct page_wait){hc_event_page_retain(page), number};
    return hc_launch(s, &(struct hc_task){.name = "wait event",
                                          .kind = HC_TASK_CONTROL,
                                          .may_block = true,
                                          .once = true,
                                          .arg = w,
                                          .run = run_page_wait,
                                          .release = release_page_wait});
}

/* The graph that is captured and that the latest record belongs to; a reference, NULL if there is none. */
static struct hc_graph *captured_by(struct hc_event *e) {
    pthread_mutex_lock(&g_lock);
    struct hc_graph *g = e->record != NULL ? e->record->graph : NULL;
    if (g != NULL) hc_graph_retain(g);
    pthread_mutex_unlock(&g_lock);
    if (g == NULL || hc_graph_is_open(g)) return g;
    hc_graph_release(g);
    return NULL;
}

/* What is in front of a graph and not of it is waited for here: no replay needs it. */
static aclError wait_before_graph(struct hc_record *r) {
    const aclError code = await_record(r, NULL);
    const aclError failed = code == 0 ? hc_outcome_tell(&r->outcome) : code;
    release_wait(r);
    return failed;
}

/* Returns at once; what is launched into the stream afterwards waits. Works across devices and contexts. */
aclError aclrtStreamWaitEvent(aclrtStream stream, aclrtEvent event) {
    struct hc_event *e = hc_event_find(event, "aclrtStreamWaitEvent");
    struct hc_stream *s = e != NULL ? hc_stream_find(stream, "aclrtStreamWaitEvent") : NULL;
    if (s == NULL) return hc_error_peek();
    struct hc_graph *graph = captured_by(e);
    if (graph != NULL) {
        const aclError code = hc_stream_capture(s, graph, "aclrtStreamWaitEvent");
        hc_graph_release(graph);
        return code;
    }
    unsigned number;
    if (is_foreign(e, &number)) return launch_page_wait(e->page, number, s);
    struct hc_record *r = capture(e, s);
    if (r == NULL) return ACL_SUCCESS;
    if (hc_stream_captured(s)) return wait_before_graph(r);
    return hc_launch(s, &(struct hc_task){.name = "wait event",
                                          .kind = HC_TASK_CONTROL,
                                          .may_block = true,
                                          .arg = r,
                                          .run = run_wait,
                                          .release = release_wait});
}

/* Such an event asks how far its stream has come, not what became of the work. torch_npu's allocators recycle
 * memory by them, and cannot go on after an error there. */
static bool asks_progress_only(const struct hc_event *e) {
    return e->flags == ACL_EVENT_CAPTURE_STREAM_PROGRESS;
}

static aclError synchronize_record(const struct hc_event *e, struct hc_record *r) {
    const struct hc_stream *running = hc_stream_running();
    HC_CHECK(running == NULL || running->id != r->stream_id, ACL_ERROR_RT_PARAM_INVALID,
             "aclrtSynchronizeEvent: called by a task of the stream that is to record the event");
    const aclError code = await_record(r, NULL);
    HC_CHECK(code == 0, code, "aclrtSynchronizeEvent: the stream was aborted");
    if (r->outcome.code == 0 || asks_progress_only(e)) return ACL_SUCCESS;
    hc_stream_told(r->stream, r->stream_id, r->failure);
    return hc_outcome_tell(&r->outcome);
}

/* Blocks the calling thread until the latest record has happened. An error in front of the record comes back
 * from here, to each who waits and as often as he does, and not again from the stream. An event that was
 * never recorded is nothing to wait for. */
aclError aclrtSynchronizeEvent(aclrtEvent event) {
    struct hc_event *e = hc_event_find(event, "aclrtSynchronizeEvent");
    if (e == NULL) return hc_error_peek();
    unsigned number;
    if (is_foreign(e, &number)) {
        const bool none = number == 0;
        return hc_synchronized(none ? 0 : hc_event_page_await(e->page, number, 0, "aclrtSynchronizeEvent"));
    }
    struct hc_record *r = capture(e, NULL);
    if (r == NULL) return hc_synchronized(ACL_SUCCESS);
    const aclError code = synchronize_record(e, r);
    release_wait(r);
    return hc_synchronized(code);
}

/* Whether the latest record has happened, and when. */
static bool recorded(struct hc_event *e, uint64_t *time_ns) {
    unsigned number;
    if (is_foreign(e, &number)) {
        *time_ns = hc_event_page_time(e->page);
        return number != 0 && hc_event_page_over(e->page, number);
    }
    pthread_mutex_lock(&g_lock);
    const bool done = e->record != NULL && e->record->done;
    if (done) *time_ns = e->record->time_ns;
    pthread_mutex_unlock(&g_lock);
    return done;
}

/* The failure in front of the latest record, which has happened. */
static aclError record_result(struct hc_event *e) {
    unsigned number;
    if (is_foreign(e, &number)) return number != 0 ? hc_event_page_result(e->page, number) : ACL_SUCCESS;
    struct hc_record *r = capture(e, NULL);
    if (r == NULL) return ACL_SUCCESS;
    const aclError code = hc_outcome_tell(&r->outcome);
    release_wait(r);
    return code;
}

/* Never blocks. "Not ready" also means never recorded, as the interface documents. Who polls and then uses
 * the results must learn that they are missing, so a failed record fails here; the error stays for the
 * synchronise. The thread that watches torch_npu's collectives uses none: it hears of failures from the
 * communicator, and an error here would end the process with none of its text, and before the program can
 * catch it. */
aclError aclrtQueryEventStatus(aclrtEvent event, aclrtEventRecordedStatus *status) {
    HC_CHECK(status != NULL, ACL_ERROR_RT_PARAM_INVALID, "aclrtQueryEventStatus: status is null");
    struct hc_event *e = hc_event_find(event, "aclrtQueryEventStatus");
    if (e == NULL) return hc_error_peek();
    uint64_t time_ns;
    const bool done = recorded(e, &time_ns);
    *status = done ? ACL_EVENT_RECORDED_STATUS_COMPLETE : ACL_EVENT_RECORDED_STATUS_NOT_READY;
    return done && !asks_progress_only(e) && !hc_client_watches() ? record_result(e) : ACL_SUCCESS;
}

/* Complete when every wait for the latest record has passed. */
aclError aclrtQueryEventWaitStatus(aclrtEvent event, aclrtEventWaitStatus *status) {
    HC_CHECK(status != NULL, ACL_ERROR_RT_PARAM_INVALID, "aclrtQueryEventWaitStatus: status is null");
    struct hc_event *e = hc_event_find(event, "aclrtQueryEventWaitStatus");
    if (e == NULL) return hc_error_peek();
    pthread_mutex_lock(&g_lock);
    const bool waiting = e->record != NULL && e->record->waits > 0;
    pthread_mutex_unlock(&g_lock);
    *status = waiting ? ACL_EVENT_WAIT_STATUS_NOT_READY : ACL_EVENT_WAIT_STATUS_COMPLETE;
    return ACL_SUCCESS;
}

/* Events keep time only when they were created to: that is the contract, and clients rely on the error. */
static aclError time_of(aclrtEvent event, const char *function, const char *which, uint64_t *time_ns) {
    struct hc_event *e = hc_event_find(event, function);
    if (e == NULL) return hc_error_peek();
    HC_CHECK((e->flags & ACL_EVENT_TIME_LINE) != 0, ACL_ERROR_RT_EVENT_TIMESTAMP_INVALID,
             "%s: %s keeps no time: it was created with flags 0x%x, without ACL_EVENT_TIME_LINE (0x%x)",
             function, which, e->flags, ACL_EVENT_TIME_LINE);
    HC_CHECK(recorded(e, time_ns), ACL_ERROR_RT_EVENT_TIMESTAMP_INVALID, "%s: %s is not recorded yet",
             function, which);
    return ACL_SUCCESS;
}

/* Negative if the end was recorded first. Resolution is that of the host's monotonic clock. */
aclError aclrtEventElapsedTime(float *ms, aclrtEvent startEvent, aclrtEvent endEvent) {
    HC_CHECK(ms != NULL, ACL_ERROR_RT_PARAM_INVALID, "aclrtEventElapsedTime: ms is null");
    uint64_t start, end;
    HC_TRY(time_of(startEvent, "aclrtEventElapsedTime", "startEvent", &start));
    HC_TRY(time_of(endEvent, "aclrtEventElapsedTime", "endEvent", &end));
    *ms = (float)((double)(int64_t)(end - start) * 1e-6);
    return ACL_SUCCESS;
}

/* In microseconds. */
aclError aclrtEventGetTimestamp(aclrtEvent event, uint64_t *timestamp) {
    HC_CHECK(timestamp != NULL, ACL_ERROR_RT_PARAM_INVALID, "aclrtEventGetTimestamp: timestamp is null");
    uint64_t time_ns;
    HC_TRY(time_of(event, "aclrtEventGetTimestamp", "event", &time_ns));
    *timestamp = time_ns / 1000;
    return ACL_SUCCESS;
}

/* What a queued reset is about: the record of the moment of the call, not the event's latest when it
 * runs. */
struct reset {
    struct hc_event *event;
    struct hc_record *record;
};

/* Back to "never recorded", unless it has been recorded again since. */
static aclError run_reset(void *arg) {
    const struct reset *reset = arg;
    if (!hc_handle_ok(&hc_event_pool, reset->event)) return ACL_SUCCESS;
    pthread_mutex_lock(&g_lock);
    const bool same = reset->event->record == reset->record;
    if (same) reset->event->record = NULL;
    pthread_mutex_unlock(&g_lock);
    if (same) unreference(reset->record);
    return ACL_SUCCESS;
}

/* The reset holds a reference to the record it is to forget, so that a new record at the same address is
 * not mistaken for it. */
static void release_reset(void *arg) {
    struct reset *reset = arg;
    unreference(reset->record);
    free(reset);
}

/* An event shared between processes is reset at once, one of this process in the order of the stream: the
 * record that it forgets is the one of now, not of when the task runs. */
aclError aclrtResetEvent(aclrtEvent event, aclrtStream stream) {
    struct hc_event *e = hc_event_find(event, "aclrtResetEvent");
    struct hc_stream *s = e != NULL ? hc_stream_find(stream, "aclrtResetEvent") : NULL;
    if (s == NULL) return hc_error_peek();
    if (e->page != NULL) {
        hc_event_page_reset(e->page);
        unreference(swap_record(e, NULL));
        return ACL_SUCCESS;
    }
    struct reset *reset = malloc(sizeof *reset);
    HC_CHECK(reset != NULL, ACL_ERROR_RT_NO_EVENT_RESOURCE, "aclrtResetEvent: out of host memory");
    pthread_mutex_lock(&g_lock);
    *reset = (struct reset){e, e->record};
    if (e->record != NULL) atomic_fetch_add(&e->record->references, 1);
    pthread_mutex_unlock(&g_lock);
    return hc_launch(s, &(struct hc_task){.name = "reset event",
                                          .kind = HC_TASK_CONTROL,
                                          .once = true,
                                          .arg = reset,
                                          .run = run_reset,
                                          .release = release_reset});
}

aclError hc_event_make(aclrtEvent *event, uint32_t flags, struct hc_device *device,
                       struct hc_event_page *page) {
    struct hc_event *e = hc_handle_new(&hc_event_pool);
    if (e == NULL) {
        hc_event_page_release(page);
        return hc_error_peek();
    }
    e->flags = flags;
    e->device = device;
    e->page = page;
    hc_handle_publish(&e->handle);
    *event = e;
    return ACL_SUCCESS;
}

/* Events belong to the current device only in name: any stream may record them. */
static aclError create(aclrtEvent *event, uint32_t flag, const char *function) {
    HC_CHECK(event != NULL, ACL_ERROR_RT_PARAM_INVALID, "%s: event is null", function);
    HC_CHECK((flag & ~(uint32_t)KNOWN_FLAGS) == 0, ACL_ERROR_RT_PARAM_INVALID,
             "%s: flag is 0x%x, known bits are 0x%x", function, flag, KNOWN_FLAGS);
    const struct hc_context *c = hc_context_current(function);
    if (c == NULL) return ACL_ERROR_RT_CONTEXT_NULL;
    const bool shared = (flag & ACL_EVENT_IPC) != 0;
    struct hc_event_page *page = shared ? hc_event_page_create() : NULL;
    if (shared && page == NULL) return ACL_ERROR_RT_IPC_ERROR;
    return hc_event_make(event, flag, c->device, page);
}

aclError aclrtCreateEventWithFlag(aclrtEvent *event, uint32_t flag) {
    return create(event, flag, "aclrtCreateEventWithFlag");
}

aclError aclrtCreateEventExWithFlag(aclrtEvent *event, uint32_t flag) {
    return create(event, flag, "aclrtCreateEventExWithFlag");
}

/* Does not wait. Records and waits under way hold what they need. */
aclError aclrtDestroyEvent(aclrtEvent event) {
    struct hc_event *e = hc_event_find(event, "aclrtDestroyEvent");
    if (e == NULL) return hc_error_peek();
    if (!hc_handle_retire(&e->handle)) return hc_handle_fail(&hc_event_pool, e, "aclrtDestroyEvent");
    unreference(swap_record(e, NULL));
    hc_event_page_release(e->page);
    hc_handle_free(&hc_event_pool, e);
    return ACL_SUCCESS;
}

/* Seconds that a stream waits for an event before that is an error; 0: for ever. */
aclError aclrtSetOpWaitTimeout(uint32_t timeout) {
    atomic_store(&g_wait_timeout_s, (int64_t)timeout);
    return ACL_SUCCESS;
}

static void destroy_one(void *object, void *ctx) {
    (void)ctx;
    aclrtDestroyEvent(object);
}

void hc_events_destroy(void) { hc_handle_each(&hc_event_pool, destroy_one, NULL); }

void hc_event_after_fork(void) {
    hc_pool_reset(&hc_event_pool);
    pthread_mutex_init(&g_lock, NULL);
    init_changed();
}
