// SPDX-License-Identifier: Apache-2.0
/* What attaches to the launch point: statistics and trace. Off, they cost one branch. */
#pragma once
#include <stdatomic.h>

#include "hc_launch.h"

enum hc_observer { HC_OBSERVE_STATS = 1, HC_OBSERVE_TRACE = 2 };
extern atomic_uint hc_observers;

static inline bool hc_observing(void) {
    return atomic_load_explicit(&hc_observers, memory_order_relaxed) != 0;
}

/* Run the task by `run`, and tell the observers. `stream` is -1 for work outside all streams. */
aclError hc_observe_task(int32_t device, int32_t stream, const struct hc_task *task,
                         aclError (*run)(const struct hc_task *task));

/* trace.c. Open MINDSPEED_TRACE if it is set and not open yet; the same for a pattern (hc_trace_file.h);
 * close and complete the file. */
aclError hc_trace_start(void);
aclError hc_trace_open(const char *pattern);
void hc_trace_stop(void);
void hc_trace_add(int32_t device, int32_t stream, const struct hc_task *task, const struct hc_task_info *info,
                  uint64_t begin_ns, uint64_t end_ns, aclError code);
void hc_trace_after_fork(void);
/* stats.c */
void hc_stats_add(const struct hc_task *task, const struct hc_task_info *info, uint64_t nanoseconds);
void hc_stats_after_fork(void);
