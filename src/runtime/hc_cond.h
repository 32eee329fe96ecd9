// SPDX-License-Identifier: Apache-2.0
/* Conditions whose timed waits go by CLOCK_MONOTONIC (hc_deadline), so that setting the time of day cannot
 * end a wait. pthread_cond_clockwait would do with any condition, but came with glibc 2.30, and wheels run
 * on 2.28. */
#pragma once
#include <pthread.h>
#include <time.h>

static inline void hc_cond_init(pthread_cond_t *cond) {
    pthread_condattr_t monotonic;
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_cond_init(cond, &monotonic);
    pthread_condattr_destroy(&monotonic);
}
