// SPDX-License-Identifier: Apache-2.0
/* The launch point. The common case, an idle stream and a task that cannot block, is one compare-and-swap,
 * the task, and one more; everything else goes through the stream's lock (stream.c). */
#include "hc_launch.h"

#include "hc_admission.h"
#include "hc_clock.h"
#include "hc_error.h"
#include "hc_observe.h"
#include "hc_stream.h"

static _Thread_local struct hc_stream *g_running;
static _Thread_local aclError g_dropped;

struct hc_stream *hc_stream_running(void) { return g_running; }

/* In a thread that runs no task nothing can be aborted. */
bool hc_abort_requested(void) {
    return g_running != NULL && atomic_load_explicit(&g_running->abort, memory_order_relaxed);
}

aclError hc_dropped(void) { return g_dropped; }

/* A release may launch, and what it launches may run at once or be dropped. */
void hc_task_release(const struct hc_task *task, aclError dropped) {
    if (task->release == NULL) return;
    const aclError outer = g_dropped;
    g_dropped = dropped;
    task->release(task->arg);
    g_dropped = outer;
}

static inline aclError run_task(const struct hc_task *task) {
    return task->run != NULL ? task->run(task->arg) : 0;
}

static aclError run_admitted(int32_t device, int32_t stream, const struct hc_task *task) {
    size_t claimed = 0;
    HC_TRY(hc_admission_enter(device, task, &claimed));
    const aclError code = hc_observing() ? hc_observe_task(device, stream, task, run_task) : run_task(task);
    hc_admission_leave(claimed);
    return code;
}

/* Busy time is counted in ticks of the CPU's counter, which cost a few nanoseconds; utilisation needs only
 * the ratio. */
aclError hc_stream_run(struct hc_stream *stream, const struct hc_task *task) {
    struct hc_stream *outer = g_running;
    g_running = stream;
    const uint64_t begin = hc_ticks();
    const aclError code = HC_UNLIKELY(hc_observing() || hc_is_planning())
                              ? run_admitted(stream->device->id, stream->id, task)
                              : run_task(task);
    /* Only the owner of the stream writes this. */
    const uint64_t busy = atomic_load_explicit(&stream->busy, memory_order_relaxed);
    atomic_store_explicit(&stream->busy, busy + hc_ticks() - begin, memory_order_relaxed);
    g_running = outer;
    hc_task_release(task, 0);
    return code;
}

/* Fails to clear the word when someone queued behind the task or waits for it. An error of the task is the
 * stream's and not the launch's: clients end a queue of theirs whose launch fails (docs/streams.md). */
static aclError launch_inline(struct hc_stream *stream, const struct hc_task *task) {
    const aclError code = hc_stream_run(stream, task);
    if (HC_UNLIKELY(code != 0)) hc_stream_fail(stream, code, task->name);
    unsigned owned = HC_STREAM_OWNED;
    if (HC_UNLIKELY(!atomic_compare_exchange_strong_explicit(&stream->state, &owned, 0, memory_order_release,
                                                             memory_order_relaxed))) {
        hc_stream_release(stream);
    }
    return ACL_SUCCESS;
}

/* acquire here pairs with the release that ended the last inline task: tasks of one stream see each
 * other's writes even when two threads take turns in it. */
aclError hc_launch(aclrtStream handle, const struct hc_task *task) {
    struct hc_stream *stream = hc_stream_ok(handle);
    if (HC_UNLIKELY(stream == NULL)) {
        stream = hc_stream_find(handle, task->name);
        if (stream == NULL) {
            const aclError code = hc_error_peek();
            hc_task_release(task, code);
            return code;
        }
    }
    unsigned idle = 0;
    if (HC_LIKELY(!task->may_block) &&
        HC_LIKELY(atomic_compare_exchange_strong_explicit(&stream->state, &idle, HC_STREAM_OWNED,
                                                          memory_order_acquire, memory_order_relaxed))) {
        return launch_inline(stream, task);
    }
    return hc_stream_submit(stream, task);
}

/* Shown in the trace as a row of its own per device. */
aclError hc_run_unordered(const struct hc_task *task) {
    const struct hc_context *context = hc_context_peek();
    const aclError code = HC_UNLIKELY(hc_observing() || hc_is_planning())
                              ? run_admitted(context != NULL ? context->device->id : -1, -1, task)
                              : run_task(task);
    hc_task_release(task, 0);
    return code;
}

int32_t hc_stream_device(aclrtStream handle) {
    const struct hc_stream *stream = hc_stream_find(handle, "hc_stream_device");
    return stream != NULL ? stream->device->id : -1;
}
