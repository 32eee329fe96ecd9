// SPDX-License-Identifier: Apache-2.0
/* What a device's memory may grow to, and who has how much of it. Two limits: the device's capacity, for this
 * process, and the host's memory, for all devices and processes (budget.c). */
#include "hc_budget.h"
#include "hc_device.h"
#include "hc_error.h"
#include "hc_memory.h"
#include "hc_option.h"

static pthread_mutex_t g_lock = PTHREAD_MUTEX_INITIALIZER;
static atomic_ullong g_capacity; /* 0: not asked for yet */
/* Who sets a capacity means it, and may plan with more than the host has. */
static bool g_planned; /* valid with the capacity */

/* The same for all devices. Without the option each may have all that there is, as a program may use one. */
uint64_t hc_device_capacity(void) {
    uint64_t capacity = atomic_load_explicit(&g_capacity, memory_order_acquire);
    if (HC_LIKELY(capacity != 0)) return capacity;
    pthread_mutex_lock(&g_lock);
    capacity = atomic_load(&g_capacity);
    if (capacity == 0) {
        g_planned = hc_option_is_set(HC_OPT_DEVICE_MEMORY);
        capacity = g_planned ? hc_option_bytes(HC_OPT_DEVICE_MEMORY) : hc_budget_capacity();
        atomic_store_explicit(&g_capacity, capacity, memory_order_release);
    }
    pthread_mutex_unlock(&g_lock);
    return capacity;
}

/* Lock-free: `bytes` fits or nothing changes. The peak may lag for an instant behind a concurrent release,
 * never exceed. */
static bool enter(struct hc_device *device, size_t bytes, uint64_t capacity) {
    size_t used = atomic_load(&device->memory_used);
    do {
        if (bytes > capacity - used) return false;
    } while (!atomic_compare_exchange_weak(&device->memory_used, &used, used + bytes));
    size_t peak = atomic_load(&device->memory_peak);
    while (used + bytes > peak && !atomic_compare_exchange_weak(&device->memory_peak, &peak, used + bytes)) {
    }
    return true;
}

/* The first words are what frameworks look for; the figures are what the user needs. */
int hc_device_charge(struct hc_device *device, size_t bytes, const char *function) {
    const uint64_t capacity = hc_device_capacity();
    uint64_t left = 0;
    HC_CHECK(enter(device, bytes, capacity), ACL_ERROR_RT_MEMORY_ALLOCATION,
             "%s: out of memory on device %d: asked for %zu bytes, %llu of %llu are free "
             "(MINDSPEED_DEVICE_MEMORY)",
             function, device->id, bytes, (unsigned long long)(capacity - atomic_load(&device->memory_used)),
             (unsigned long long)capacity);
    if (HC_LIKELY(hc_budget_take(device, bytes, g_planned, &left))) return ACL_SUCCESS;
    atomic_fetch_sub(&device->memory_used, bytes);
    return hc_fail(
        ACL_ERROR_RT_MEMORY_ALLOCATION,
        "%s: out of memory on device %d: asked for %zu bytes, but the host can give %llu more to all "
        "devices of all processes (mindspeed smi shows who holds memory)",
        function, device->id, bytes, (unsigned long long)left);
}

void hc_device_release(struct hc_device *device, size_t bytes) {
    atomic_fetch_sub(&device->memory_used, bytes);
    hc_budget_give(device, bytes);
}

/* Of the capacity, and not more than the host can give. */
uint64_t hc_device_free(const struct hc_device *device) {
    return hc_min_size(hc_device_capacity() - atomic_load(&device->memory_used), hc_budget_left());
}

void hc_device_memory_after_fork(void) {
    pthread_mutex_init(&g_lock, NULL);
    hc_budget_after_fork();
}
