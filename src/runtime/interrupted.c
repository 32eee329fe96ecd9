// SPDX-License-Identifier: Apache-2.0
#include "hc_interrupted.h"

#include <stdatomic.h>

#include "hc_runtime.h"
#include "hc_thread.h"

static atomic_bool g_drops, g_cuts, g_dropped;
static atomic_int g_thread;

bool hc_interrupt_drops(void) { return HC_UNLIKELY(atomic_load_explicit(&g_drops, memory_order_relaxed)); }
bool hc_interrupt_here(void) { return hc_interrupt_drops() && hc_thread_id() == atomic_load(&g_thread); }
bool hc_interrupted(void) { return atomic_load(&g_dropped); }
bool hc_results_unwanted(void) { return HC_UNLIKELY(atomic_load_explicit(&g_cuts, memory_order_relaxed)); }

bool hc_interrupt_drop(pid_t thread) {
    atomic_store(&g_thread, thread);
    atomic_store(&g_dropped, true);
    return !atomic_exchange(&g_drops, true);
}

void hc_interrupt_cut(void) { atomic_store(&g_cuts, true); }

bool hc_interrupt_over(void) {
    atomic_store(&g_cuts, false);
    return atomic_exchange(&g_drops, false);
}
