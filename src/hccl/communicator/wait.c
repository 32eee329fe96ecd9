// SPDX-License-Identifier: Apache-2.0
/* Waiting for other ranks: first polling, then asleep.
 *
 * A rank that runs on a core of its own answers within microseconds, so polling wins; where ranks share cores
 * polling would keep the awaited one from running, so the core is yielded at once. After that the thread
 * sleeps, and looks every SLICE_MS whether the wait is still worth it. */
#include "hc_wait.h"

#include <sched.h>

#include "hc_clock.h"
#include "hc_failure.h"
#include "hc_launch.h"

enum { SLICE_MS = 50 };

static inline void relax(void) {
#if defined(__x86_64__)
    __builtin_ia32_pause();
#else
    __asm__ volatile("yield");
#endif
}

/* Reached: the value is `want` or beyond; changed: it is another one than `want`. */
static bool over(const struct hc_bell *bell, uint32_t want, bool change) {
    if (change) return atomic_load_explicit(&bell->value, memory_order_acquire) != want;
    return hc_bell_reached(bell, want);
}

/* Memory may be moved meanwhile (hc_stream_park). Trouble counts only if the wait is not over: the other
 * rank may have done its part and then ended. */
static HcclResult wait_asleep(struct hc_op *op, struct hc_bell *bell, uint32_t want, bool change) {
    HcclResult status = HCCL_SUCCESS;
    hc_stream_park(true);
    for (;;) {
        const uint32_t seen = atomic_load(&bell->value);
        if (over(bell, want, change)) break;
        hc_bell_sleep(bell, seen, SLICE_MS);
        if (over(bell, want, change)) break;
        status = hc_op_trouble(op);
        if (status != HCCL_SUCCESS && !over(bell, want, change)) break;
        status = HCCL_SUCCESS;
    }
    hc_stream_park(false);
    return status;
}

static HcclResult wait_for(struct hc_op *op, struct hc_bell *bell, uint32_t want, bool change) {
    for (uint32_t i = op->comm->spins; i > 0; i--) {
        if (over(bell, want, change)) return HCCL_SUCCESS;
        relax();
    }
    for (uint32_t i = op->comm->yields; i > 0; i--) {
        if (over(bell, want, change)) return HCCL_SUCCESS;
        sched_yield();
    }
    return over(bell, want, change) ? HCCL_SUCCESS : wait_asleep(op, bell, want, change);
}

HcclResult hc_wait(struct hc_op *op, struct hc_bell *bell, uint32_t want) {
    return wait_for(op, bell, want, false);
}

HcclResult hc_wait_change(struct hc_op *op, struct hc_bell *bell, uint32_t seen) {
    return wait_for(op, bell, seen, true);
}
