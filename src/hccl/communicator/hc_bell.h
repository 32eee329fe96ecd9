// SPDX-License-Identifier: Apache-2.0
/* A counter that others wait for, in memory shared by threads or processes: a futex that knows whether anyone
 * sleeps on it, so that ringing costs a system call only then. */
#pragma once
#include <limits.h>
#include <linux/futex.h>
#include <stdatomic.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "hc_util.h"

struct hc_bell {
    atomic_uint value, sleepers;
};

/* Counters wrap: "reached" means at most 2^31 behind. */
static inline bool hc_bell_reached(const struct hc_bell *bell, uint32_t want) {
    return (int32_t)(atomic_load_explicit(&bell->value, memory_order_acquire) - want) >= 0;
}

static inline void hc_bell_wake(struct hc_bell *bell) {
    if (atomic_load(&bell->sleepers) > 0)
        syscall(SYS_futex, &bell->value, FUTEX_WAKE, INT_MAX, NULL, NULL, 0);
}

/* The exchange and the addition are full barriers: the value is out before the sleepers are looked at. */
static inline void hc_bell_set(struct hc_bell *bell, uint32_t value) {
    atomic_exchange(&bell->value, value);
    hc_bell_wake(bell);
}
static inline void hc_bell_add(struct hc_bell *bell) {
    atomic_fetch_add(&bell->value, 1);
    hc_bell_wake(bell);
}

/* Sleep while the value is `seen`, at most `ms` milliseconds; may return early. */
static inline void hc_bell_sleep(struct hc_bell *bell, uint32_t seen, long ms) {
    const struct timespec limit = {ms / 1000, ms % 1000 * 1000000};
    atomic_fetch_add(&bell->sleepers, 1);
    if (atomic_load(&bell->value) == seen)
        syscall(SYS_futex, &bell->value, FUTEX_WAIT, seen, &limit, NULL, 0);
    atomic_fetch_sub(&bell->sleepers, 1);
}
