// SPDX-License-Identifier: Apache-2.0
/* What this thread runs, and the running of one task: the lowest part of the launch point, below the streams
 * whose tasks it runs. Nothing here takes a lock or calls a stream. */
#include "hc_admission.h"
#include "hc_clock.h"
#include "hc_error.h"
#include "hc_interrupted.h"
#include "hc_observe.h"
#include "hc_stream.h"

static _Thread_local struct hc_stream *g_running;
static _Thread_local aclError g_dropped;

struct hc_stream *hc_stream_running(void) { return g_running; }

/* A thread that runs no task waits for itself: it gives up when its program is interrupted. */
bool hc_abort_requested(void) {
    if (g_running == NULL) return hc_interrupt_here();
    return atomic_load_explicit(&g_running->abort, memory_order_relaxed);
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

static aclError run_admitted(int32_t device, int32_t stream, const struct hc_task *task) {
    size_t claimed = 0;
    HC_TRY(hc_admission_enter(device, task, &claimed));
    const aclError code = hc_observing() ? hc_observe_task(device, stream, task) : hc_task_call(task);
    hc_admission_leave(claimed);
    return code;
}

static inline aclError run(int32_t device, int32_t stream, const struct hc_task *task) {
    return HC_UNLIKELY(hc_observing() || hc_is_planning()) ? run_admitted(device, stream, task)
                                                           : hc_task_call(task);
}

aclError hc_task_run(int32_t device, int32_t stream, const struct hc_task *task) {
    return run(device, stream, task);
}

/* Busy time is counted in ticks of the CPU's counter, which cost a few nanoseconds; utilisation needs only
 * the ratio. */
aclError hc_stream_run(struct hc_stream *stream, const struct hc_task *task) {
    struct hc_stream *outer = g_running;
    g_running = stream;
    const uint64_t begin = hc_ticks();
    const aclError code = run(stream->device->id, stream->id, task);
    /* Only the owner of the stream writes this. */
    const uint64_t busy = atomic_load_explicit(&stream->busy, memory_order_relaxed);
    atomic_store_explicit(&stream->busy, busy + hc_ticks() - begin, memory_order_relaxed);
    g_running = outer;
    hc_task_release(task, 0);
    return code;
}
