// SPDX-License-Identifier: Apache-2.0
/* What attaches to the launch point: statistics and trace, which it is handed. Off, they cost one branch. */
#pragma once
#include <stdatomic.h>

#include "hc_launch.h"

enum hc_observer { HC_OBSERVE_STATS, HC_OBSERVE_TRACE, HC_OBSERVERS };

/* A task that has run. */
struct hc_observation {
    int32_t device, stream; /* stream is -1 for work outside all streams */
    const struct hc_task *task;
    const struct hc_task_info *info;
    uint64_t begin_ns, end_ns;
    aclError code;
};

/* Call `told` behind each task from now on; NULL: no longer. At any time, from any thread: a task that runs
 * meanwhile may still be told. */
void hc_observe(enum hc_observer which, void (*told)(const struct hc_observation *observation));

extern atomic_uint hc_observers; /* a bit for each that is to be told */
static inline bool hc_observing(void) {
    return atomic_load_explicit(&hc_observers, memory_order_relaxed) != 0;
}
static inline bool hc_is_told(enum hc_observer which) {
    return (atomic_load(&hc_observers) & 1u << which) != 0;
}
/* Run the task, and tell the observers. */
aclError hc_observe_task(int32_t device, int32_t stream, const struct hc_task *task);
/* Run it, and nothing else. */
static inline aclError hc_task_call(const struct hc_task *task) {
    return task->run != NULL ? task->run(task->arg) : 0;
}

/* trace.c. Open MINDSPEED_TRACE if it is set and not open yet; the same for a pattern (hc_trace_file.h);
 * close and complete the file. */
aclError hc_trace_start(void);
aclError hc_trace_open(const char *pattern);
void hc_trace_stop(void);
void hc_trace_after_fork(void);
/* stats.c */
void hc_stats_after_fork(void);
