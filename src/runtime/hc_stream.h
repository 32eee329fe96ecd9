// SPDX-License-Identifier: Apache-2.0
/* A stream: a FIFO of tasks (docs/streams.md). */
#pragma once
#include "hc_device.h"
#include "hc_launch.h"

/* The state word. Zero is idle, and only then may a caller run a task inline. */
enum hc_stream_bit {
    HC_STREAM_OWNED = 1,     /* a task runs, in a caller or in the worker */
    HC_STREAM_PENDING = 2,   /* tasks are queued: every launch queues behind them */
    HC_STREAM_WAITED = 4,    /* someone waits for the inline task to end */
    HC_STREAM_FAILED = 8,    /* an error sticks */
    HC_STREAM_PAUSED = 16,   /* no task may start: memory is being moved */
    HC_STREAM_CAPTURED = 32, /* a graph takes what is launched */
};

enum { HC_STREAM_TEXT_BYTES = 512, HC_STREAM_LEAST_PRIORITY = 7 };

struct hc_queued {
    struct hc_task task;
    struct hc_queued *next;
};

/* The first cache line is what a launch touches; the second begins with the lock, which only the slow
 * path takes. All below the lock is guarded by it, but for the atomics. */
struct hc_stream {
    struct hc_handle handle;
    atomic_uint state;
    int32_t id;
    struct hc_device *device;
    struct hc_context *context;
    atomic_ullong busy; /* ticks spent in tasks; written by the owner only */
    _Alignas(64) pthread_mutex_t lock;
    pthread_cond_t work; /* worker: there may be something to do */
    pthread_cond_t done; /* waiters: something ended */
    struct hc_queued *first, *last, *spare;
    uint64_t submitted, completed; /* queued tasks */
    uint64_t awaited;              /* least number completed that anyone waits for */
    uint64_t releases;             /* inline tasks whose end someone waited for */
    aclError error;                /* that sticks: nobody has been told of it yet */
    aclError failure;              /* the latest, also when it has been told */
    char failure_text[HC_STREAM_TEXT_BYTES];
    atomic_uint failures; /* how many there were: the number of the latest */
    atomic_uint past;     /* number of the latest that has been told: what is launched now is not behind it */
    pthread_t worker;
    bool has_worker, stop, worker_gone;
    bool dozing;         /* the worker looks by itself soon: nobody need wake it */
    uint32_t taken_over; /* tasks since the worker's last one that waiters ran in its place */
    uint64_t dozed_at;   /* number submitted when the worker dozed off last */
    bool aborted;        /* the error is of before an abort: it drops nothing that is launched later */
    atomic_bool abort;   /* blocking tasks give up */
    atomic_bool parked;  /* the running task waits for something else and touches no memory */
    uint32_t priority, flags;
    uint64_t failure_mode;
    uint32_t overflow, custom_tag, cache_op_info;
    uint32_t res_limit[HC_RES_TYPES];
    struct hc_graph *graph;   /* while captured; a reference */
    atomic_ullong subscriber; /* thread that processes its callbacks, 0 if none */
};

extern struct hc_pool hc_stream_pool;

static inline struct hc_stream *hc_stream_ok(aclrtStream handle) {
    return HC_LIKELY(hc_handle_ok(&hc_stream_pool, handle)) ? handle : NULL;
}
struct hc_stream *hc_stream_create(struct hc_context *context, uint32_t priority, uint32_t flags);
/* Wait for its tasks (or drop them, if `force`), end the worker, free the stream. The caller holds `pins`
 * pins. */
aclError hc_stream_destroy(struct hc_stream *stream, bool force, uint32_t pins);
void hc_streams_destroy_of(struct hc_context *context);
/* All streams of a device, or of all devices if NULL. */
void hc_streams_destroy(struct hc_device *device);

/* context.c. NULL stands for the current context's default stream; NULL result with a text if there is none.
 */
struct hc_stream *hc_stream_find(aclrtStream handle, const char *function);

/* Queue a task for the worker; consumes it. */
aclError hc_stream_submit(struct hc_stream *stream, const struct hc_task *task);
/* The caller's inline task has failed: keep its code and this thread's text for the next synchronise. The
 * caller still owns the stream. */
void hc_stream_fail(struct hc_stream *stream, aclError code, const char *name);
/* An inline task is over but someone cared: pass the stream on. */
void hc_stream_release(struct hc_stream *stream);
/* Wait for all that was submitted before, at most timeout_ms (-1: for ever); give and forget the sticky
 * error. */
aclError hc_stream_synchronize(struct hc_stream *stream, int64_t timeout_ms, const char *function);
/* The error of this thread's latest synchronise, once; its text must still be the thread's. */
aclError hc_synchronize_failed(void);
/* The result of a synchronise of several streams, or of an event, for hc_synchronize_failed; returns it. */
aclError hc_synchronized(aclError code);
/* The error that sticks, with its text; 0 if there is none or the stream is gone. Nobody counts as told. */
aclError hc_stream_error(struct hc_stream *stream);
/* For a task of the stream: what it is behind, if that failed. `past` is hc_stream_past of when it was
 * launched; the error may have been told since. The text becomes this thread's. */
aclError hc_stream_failure_since(struct hc_stream *stream, unsigned past);
static inline unsigned hc_stream_past(const struct hc_stream *stream) { return atomic_load(&stream->past); }
/* Somebody has been told of failure `number` of the stream that had this id: it sticks no longer. */
void hc_stream_told(struct hc_stream *stream, int32_t id, unsigned number);
/* Release a task that has run (0), or that never will for the error `dropped` with this thread's text. */
void hc_task_release(const struct hc_task *task, aclError dropped);
/* Every synchronise of the device fails from now on, with its abandoned_text. */
void hc_streams_abandon(struct hc_device *device, aclError code);
/* Wait until what the stream was given has ended; its errors stay with it. */
void hc_stream_wait(struct hc_stream *stream);
/* Wait until the streams of a device (NULL: all) have done what is queued; errors stay with their streams. A
 * stream whose task this thread is running is left out. */
void hc_streams_wait(const struct hc_device *device);
/* Before the end of the process: let streams finish what they can finish soon. */
void hc_streams_settle(void);
bool hc_stream_idle(struct hc_stream *stream);
/* From now on the graph takes what is launched; nothing if it does already. */
aclError hc_stream_capture(struct hc_stream *stream, struct hc_graph *graph, const char *function);
/* Only if it is this graph that takes it. */
void hc_stream_end_capture(struct hc_stream *stream, struct hc_graph *graph);
/* Whose captured tasks are; a reference, NULL if none. */
struct hc_graph *hc_stream_graph(struct hc_stream *stream);
static inline bool hc_stream_captured(struct hc_stream *stream) {
    return (atomic_load(&stream->state) & HC_STREAM_CAPTURED) != 0;
}
/* An error if it is captured: there is nothing to wait for, and what a client would read is not there. */
aclError hc_stream_check_captured(struct hc_stream *stream, const char *function);
/* Of an interrupt: drop what all streams have and let waiting tasks give up; or begin anew. */
void hc_streams_interrupt(bool drop);
/* Drop queued tasks and make blocking ones give up; the stream stays usable, its error is `reason`. True if
 * it became idle in time. */
bool hc_stream_abort(struct hc_stream *stream, aclError reason, int64_t timeout_ms);
/* Let no task start until resumed; false if the running one does not end in time. */
bool hc_stream_pause(struct hc_stream *stream, int64_t timeout_ms);
void hc_stream_resume(struct hc_stream *stream);

/* task.c. The stream whose task this thread is running, NULL if none. */
struct hc_stream *hc_stream_running(void);
/* Run a task in this thread for a stream that it owns: statistics, trace, busy time. */
aclError hc_stream_run(struct hc_stream *stream, const struct hc_task *task);
/* The same without the stream: `stream` is the number that is shown, -1 for none. */
aclError hc_task_run(int32_t device, int32_t stream, const struct hc_task *task);
/* Who is told when a stream is aborted, so that its task looks at hc_abort_requested: the events, which stand
 * above. Before main. */
void hc_stream_on_abort(void (*aborted)(void));
void hc_stream_after_fork(void);
/* client_queue.c: whether this is the thread that torch_npu's queue launches from. */
bool hc_client_queue_thread(void);
/* client_queue.c: called where a client asks for the text of an error. */
void hc_client_queue_failed(void);
/* Whether this thread is the one that watches torch_npu's collectives. */
bool hc_client_watches(void);
