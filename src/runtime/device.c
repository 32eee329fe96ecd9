// SPDX-License-Identifier: Apache-2.0
/* Which devices there are. Devices are made together and never freed: a pointer
 * to one is good for the life of the process, so contexts, streams and regions hold it without counting. */
#include "hc_device.h"

#include <stdlib.h>

#include "hc_error.h"
#include "hc_memory.h"
#include "hc_option.h"
#include "hc_stream.h"

static pthread_mutex_t g_lock = PTHREAD_MUTEX_INITIALIZER;
static struct hc_device *g_devices;
static atomic_int g_count = -1; /* until they are made */

/* Needs the lock. Options are read when devices are first needed and are then fixed for the process; while
 * they are wrong there are no devices. */
static int create(void) {
    int32_t ids[HC_MAX_DEVICES], count = 0;
    HC_TRY(hc_visible_devices(hc_device_physical_count(), ids, &count));
    g_devices = calloc((size_t)count + 1, sizeof *g_devices);
    HC_CHECK(g_devices != NULL, ACL_ERROR_RT_RESOURCE_ALLOC_FAIL, "out of host memory for %d devices", count);
    for (int32_t i = 0; i < count; i++) {
        g_devices[i].id = i;
        g_devices[i].physical = ids[i];
        pthread_mutex_init(&g_devices[i].rate_lock, NULL);
    }
    atomic_store_explicit(&g_count, count, memory_order_release);
    return 0;
}

int32_t hc_device_count(void) {
    const int32_t count = atomic_load_explicit(&g_count, memory_order_acquire);
    if (HC_LIKELY(count >= 0)) return count;
    pthread_mutex_lock(&g_lock);
    if (atomic_load(&g_count) < 0) create();
    pthread_mutex_unlock(&g_lock);
    return atomic_load(&g_count);
}

struct hc_device *hc_device_get(int64_t id) {
    return id >= 0 && id < hc_device_count() ? &g_devices[id] : NULL;
}

int32_t hc_device_physical_id(int32_t id) {
    const struct hc_device *device = hc_device_get(id);
    return device != NULL ? device->physical : -1;
}

/* Names the variable that limits the ids. */
int hc_device_fail(const char *function, int64_t id) {
    const int32_t count = hc_device_count();
    if (count < 0) return hc_error_peek();
    const char *list = hc_option_raw(HC_OPT_VISIBLE_DEVICES);
    HC_CHECK(list == NULL || count > 0, ACL_ERROR_RT_INVALID_DEVICEID,
             "%s: there is no device %lld: %s is empty, so this process sees no device", function,
             (long long)id, hc_option_env_name(HC_OPT_VISIBLE_DEVICES));
    HC_CHECK(list == NULL, ACL_ERROR_RT_INVALID_DEVICEID,
             "%s: there is no device %lld: %s is %s, so this process sees devices 0 to %d", function,
             (long long)id, hc_option_env_name(HC_OPT_VISIBLE_DEVICES), list, count - 1);
    return hc_fail(ACL_ERROR_RT_INVALID_DEVICEID,
                   "%s: there is no device %lld: %s is %d, so devices are 0 to %d", function, (long long)id,
                   hc_option_env_name(HC_OPT_NUM_DEVICES), count, count - 1);
}

/* The child may use devices of its own from an empty state. */
void hc_device_after_fork(void) {
    pthread_mutex_init(&g_lock, NULL);
    hc_device_memory_after_fork();
    for (int32_t i = 0; i < atomic_load(&g_count); i++) {
        struct hc_device *d = &g_devices[i];
        *d = (struct hc_device){.id = i, .physical = d->physical};
        pthread_mutex_init(&d->rate_lock, NULL);
    }
}

/* Works before aclInit: frameworks ask at import. A wrong list is no list without devices. */
aclError aclrtGetDeviceCount(uint32_t *count) {
    HC_CHECK(count != NULL, ACL_ERROR_RT_PARAM_INVALID, "aclrtGetDeviceCount: count is null");
    const int32_t have = hc_device_count();
    if (have < 0) return ACL_ERROR_RT_NO_DEVICE; /* its text is set */
    *count = (uint32_t)have;
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

/* In the interface's words: the user's id is the place in ASCEND_RT_VISIBLE_DEVICES, the logical one what
 * stands there, which outside of containers is the physical one. */
aclError aclrtGetLogicDevIdByUserDevId(const int32_t userDevid, int32_t *const logicDevId) {
    HC_CHECK(logicDevId != NULL, ACL_ERROR_RT_PARAM_INVALID,
             "aclrtGetLogicDevIdByUserDevId: logicDevId is null");
    const struct hc_device *device = hc_device_get(userDevid);
    if (device == NULL) return hc_device_fail("aclrtGetLogicDevIdByUserDevId", userDevid);
    *logicDevId = device->physical;
    return ACL_SUCCESS;
}
