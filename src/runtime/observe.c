// SPDX-License-Identifier: Apache-2.0
/* The slow path of the launch point, taken only while somebody observes: the fast one tests one word
 * (hc_observe.h) and comes here when it is not zero. */
#include "hc_observe.h"

#include "hc_clock.h"

atomic_uint hc_observers;
static _Atomic(void (*)(const struct hc_observation *)) g_told[HC_OBSERVERS];

void hc_observe(enum hc_observer which, void (*told)(const struct hc_observation *)) {
    atomic_store(&g_told[which], told);
    if (told != NULL) atomic_fetch_or(&hc_observers, 1u << which);
    else atomic_fetch_and(&hc_observers, ~(1u << which));
}

/* The description is made before the run, as a task may change what it describes (the shape of an output). */
aclError hc_observe_task(int32_t device, int32_t stream, const struct hc_task *task) {
    struct hc_task_info info;
    info.bytes = info.flops = 0;
    info.shapes[0] = info.roles[0] = '\0';
    if (task->describe != NULL) task->describe(task->arg, &info);
    struct hc_observation o = {device, stream, task, &info, .begin_ns = hc_now_ns()};
    o.code = hc_task_call(task);
    o.end_ns = hc_now_ns();
    for (int i = 0; i < HC_OBSERVERS; i++) {
        void (*told)(const struct hc_observation *) = atomic_load(&g_told[i]);
        if (told != NULL) told(&o);
    }
    return o.code;
}
