// SPDX-License-Identifier: Apache-2.0
/* Statistics of the launch point, per task name. Off by default: they read the clock and the shapes of every
 * task. */
#pragma once
#include "hc_util.h"

struct hc_stat {
    const char *name;
    int kind; /* enum hc_task_kind */
    uint64_t count, nanoseconds, bytes, flops;
};

HC_SHARED void hc_stats_enable(bool on);
HC_SHARED void hc_stats_reset(void);
/* Copy at most `room` entries, the longest time first; returns how many there are. */
HC_SHARED size_t hc_stats_read(struct hc_stat *out, size_t room);
