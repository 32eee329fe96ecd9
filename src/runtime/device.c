// SPDX-License-Identifier: Apache-2.0
/* Which devices there are, and the memory each has. Devices are made together and never freed: a pointer
 * to one is good for the life of the process, so contexts, streams and regions hold it without counting. */
#include "hc_device.h"

#include <stdlib.h>

#include "hc_error.h"
#include "hc_memory.h"
#include "hc_option.h"
#include "hc_stream.h"

static pthread_once_t g_once = PTHREAD_ONCE_INIT;
static struct hc_device *g_devices;
static int32_t g_count;
static uint64_t g_capacity;

/* Options are read when devices are first needed and are then fixed for the process. */
static void create(void) {
    const int32_t count = (int32_t)hc_option_int(HC_OPT_NUM_DEVICES, 1, HC_MAX_DEVICES);
    g_devices = calloc((size_t)count, sizeof *g_devices);
    if (g_devices == NULL) return;
    for (int32_t i = 0; i < count; i++) {
        g_devices[i].id = i;
        pthread_mutex_init(&g_devices[i].rate_lock, NULL);
    }
    g_capacity = hc_option_bytes(HC_OPT_DEVICE_MEMORY);
    g_count = count;
}

int32_t hc_device_count(void) {
    pthread_once(&g_once, create);
    return g_count;
}

struct hc_device *hc_device_get(int64_t id) {
    return id >= 0 && id < hc_device_count() ? &g_devices[id] : NULL;
}

uint64_t hc_device_capacity(void) {
    pthread_once(&g_once, create);
    return g_capacity;
}

int hc_device_fail(const char *function, int64_t id) {
    return hc_fail(ACL_ERROR_RT_INVALID_DEVICEID,
                   "%s: there is no device %lld: %s is %d, so devices are 0 to %d", function, (long long)id,
                   hc_option_env_name(HC_OPT_NUM_DEVICES), hc_device_count(), hc_device_count() - 1);
}

/* Lock-free: `bytes` fits or nothing changes. The peak may lag for an instant behind a concurrent release,
 * never exceed. */
bool hc_device_charge(struct hc_device *device, size_t bytes) {
    size_t used = atomic_load(&device->memory_used);
    do {
        if (bytes > g_capacity - used) return false;
    } while (!atomic_compare_exchange_weak(&device->memory_used, &used, used + bytes));
    size_t peak = atomic_load(&device->memory_peak);
    while (used + bytes > peak && !atomic_compare_exchange_weak(&device->memory_peak, &peak, used + bytes)) {
    }
    return true;
}

void hc_device_release(struct hc_device *device, size_t bytes) {
    atomic_fetch_sub(&device->memory_used, bytes);
}

/* The child may use devices of its own from an empty state. */
void hc_device_after_fork(void) {
    for (int32_t i = 0; i < g_count; i++) {
        struct hc_device *d = &g_devices[i];
        *d = (struct hc_device){.id = i};
        pthread_mutex_init(&d->rate_lock, NULL);
    }
}

/* Works before aclInit: frameworks ask at import. */
aclError aclrtGetDeviceCount(uint32_t *count) {
    HC_CHECK(count != NULL, ACL_ERROR_RT_PARAM_INVALID, "aclrtGetDeviceCount: count is null");
    *count = (uint32_t)hc_device_count();
    return ACL_SUCCESS;
}

/* Streams first: their tasks use the memory. */
aclError aclrtResetDevice(int32_t deviceId) {
    struct hc_device *device = hc_device_get(deviceId);
    if (device == NULL) return hc_device_fail("aclrtResetDevice", deviceId);
    hc_contexts_destroy(device);
    hc_streams_destroy(device);
    hc_memory_free_all(device);
    for (int i = 0; i < HC_RES_TYPES; i++) atomic_store(&device->res_limit[i], 0);
    return ACL_SUCCESS;
}

/* All virtual devices share the host's memory. */
aclError aclrtDeviceCanAccessPeer(int32_t *canAccessPeer, int32_t deviceId, int32_t peerDeviceId) {
    HC_CHECK(canAccessPeer != NULL, ACL_ERROR_RT_PARAM_INVALID,
             "aclrtDeviceCanAccessPeer: canAccessPeer is null");
    if (hc_device_get(deviceId) == NULL) return hc_device_fail("aclrtDeviceCanAccessPeer", deviceId);
    if (hc_device_get(peerDeviceId) == NULL) return hc_device_fail("aclrtDeviceCanAccessPeer", peerDeviceId);
    *canAccessPeer = deviceId != peerDeviceId;
    return ACL_SUCCESS;
}

/* Nothing to enable: all virtual devices lie in one address space. */
aclError aclrtDeviceEnablePeerAccess(int32_t peerDeviceId, uint32_t flags) {
    HC_CHECK(flags == 0, ACL_ERROR_RT_PARAM_INVALID, "aclrtDeviceEnablePeerAccess: flags is %u, must be 0",
             flags);
    if (hc_device_get(peerDeviceId) == NULL)
        return hc_device_fail("aclrtDeviceEnablePeerAccess", peerDeviceId);
    return ACL_SUCCESS;
}

aclError aclrtGetLogicDevIdByUserDevId(const int32_t userDevid, int32_t *const logicDevId) {
    HC_CHECK(logicDevId != NULL, ACL_ERROR_RT_PARAM_INVALID,
             "aclrtGetLogicDevIdByUserDevId: logicDevId is null");
    if (hc_device_get(userDevid) == NULL) return hc_device_fail("aclrtGetLogicDevIdByUserDevId", userDevid);
    *logicDevId = userDevid;
    return ACL_SUCCESS;
}
