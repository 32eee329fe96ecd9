// SPDX-License-Identifier: Apache-2.0
/* The launch point. The common case, an idle stream and a task that cannot block, is one compare-and-swap,
 * the task, and one more; everything else goes through the stream's lock (stream.c). */
#include "hc_launch.h"

#include "hc_admission.h"
#include "hc_clock.h"
#include "hc_error.h"
#include "hc_observe.h"
#include "hc_stream.h"

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
    const aclError code = hc_task_run(context != NULL ? context->device->id : -1, -1, task);
    hc_task_release(task, 0);
    return code;
}

aclError hc_launch_wait(aclrtStream handle) {
    struct hc_stream *stream = hc_stream_find(handle, "hc_launch_wait");
    if (stream == NULL) return hc_error_peek();
    HC_TRY(hc_stream_check_captured(stream, "hc_launch_wait"));
    hc_stream_wait(stream);
    return ACL_SUCCESS;
}

int32_t hc_stream_device(aclrtStream handle) {
    const struct hc_stream *stream = hc_stream_find(handle, "hc_stream_device");
    return stream != NULL ? stream->device->id : -1;
}
