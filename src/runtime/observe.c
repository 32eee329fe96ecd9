// SPDX-License-Identifier: Apache-2.0
/* The slow path of the launch point, taken only while somebody observes: the fast one tests one word
 * (hc_observe.h) and comes here when it is not zero. */
#include "hc_observe.h"

#include "hc_clock.h"

atomic_uint hc_observers;

/* `observers` is read once: a trace that is switched on meanwhile starts with the next task. The
 * description is made before the run, as a task may change what it describes (the shape of an output). */
aclError hc_observe_task(int32_t device, int32_t stream, const struct hc_task *task,
                         aclError (*run)(const struct hc_task *task)) {
    const unsigned observers = atomic_load(&hc_observers);
    struct hc_task_info info;
    info.bytes = info.flops = 0;
    info.shapes[0] = '\0';
    if (task->describe != NULL) task->describe(task->arg, &info);
    const uint64_t begin = hc_now_ns();
    const aclError code = run(task);
    const uint64_t end = hc_now_ns();
    if (observers & HC_OBSERVE_STATS) hc_stats_add(task, &info, end - begin);
    if (observers & HC_OBSERVE_TRACE) hc_trace_add(device, stream, task, &info, begin, end, code);
    return code;
}
