// SPDX-License-Identifier: Apache-2.0
/* Two clocks: nanoseconds shared by all processes (20 ns to read), and the CPU's counter (a few ns) whose
 * unit is unknown, for ratios on the launch path. */
#pragma once
#include <time.h>

#include "hc_util.h"

/* CLOCK_MONOTONIC: one origin for all processes of a machine, and never set back. Events that two processes
 * share compare such times. */
static inline uint64_t hc_now_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

/* Not serialising: neighbouring instructions may move across it, an error of a few ns that averages out. */
static inline uint64_t hc_ticks(void) {
#if defined(__x86_64__)
    return __builtin_ia32_rdtsc();
#else
    uint64_t ticks;
    __asm__ volatile("mrs %0, cntvct_el0" : "=r"(ticks));
    return ticks;
#endif
}

/* So far from now on CLOCK_MONOTONIC: for conditions of hc_cond_init. */
static inline struct timespec hc_deadline_ns(uint64_t ns) {
    const uint64_t at = hc_now_ns() + ns;
    return (struct timespec){(time_t)(at / 1000000000u), (long)(at % 1000000000u)};
}
static inline struct timespec hc_deadline(int64_t ms) { return hc_deadline_ns((uint64_t)ms * 1000000u); }
