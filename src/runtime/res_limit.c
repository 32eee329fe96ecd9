// SPDX-License-Identifier: Apache-2.0
/* How many cores operators may use: of a device, of a stream, and in a thread that took over a stream's. The
 * numbers are the virtual device's; they are kept and given back, threads of the host are set by
 * MINDSPEED_NUM_THREADS. */
#include "hc_error.h"
#include "hc_stream.h"

static _Thread_local struct hc_stream *g_used; /* by aclrtUseStreamResInCurrentThread */

/* For getters with a value that is always good: they check the resource only. */
static aclError check(const char *function, aclrtDevResLimitType type, uint32_t value) {
    HC_CHECK((unsigned)type < HC_RES_TYPES, ACL_ERROR_RT_PARAM_INVALID, "%s: there is no resource %d",
             function, (int)type);
    HC_CHECK(value >= 1 && value <= hc_device_cores((int)type), ACL_ERROR_RT_PARAM_INVALID,
             "%s: value is %u, the device has 1 to %u cores of type %d", function, value,
             hc_device_cores((int)type), (int)type);
    return ACL_SUCCESS;
}

/* Without a limit: all cores. */
static uint32_t of_device(const struct hc_device *device, int type) {
    const uint32_t limit = atomic_load(&device->res_limit[type]);
    return limit != 0 ? limit : hc_device_cores(type);
}

/* Without a limit of its own: the device's. */
static uint32_t of_stream(const struct hc_stream *s, int type) {
    return s->res_limit[type] != 0 ? s->res_limit[type] : of_device(s->device, type);
}

/* Holds for streams without a limit of their own, until reset. */
aclError aclrtSetDeviceResLimit(int32_t deviceId, aclrtDevResLimitType type, uint32_t value) {
    struct hc_device *device = hc_device_get(deviceId);
    if (device == NULL) return hc_device_fail("aclrtSetDeviceResLimit", deviceId);
    HC_TRY(check("aclrtSetDeviceResLimit", type, value));
    atomic_store(&device->res_limit[type], value);
    return ACL_SUCCESS;
}

aclError aclrtGetDeviceResLimit(int32_t deviceId, aclrtDevResLimitType type, uint32_t *value) {
    const struct hc_device *device = hc_device_get(deviceId);
    if (device == NULL) return hc_device_fail("aclrtGetDeviceResLimit", deviceId);
    HC_CHECK(value != NULL, ACL_ERROR_RT_PARAM_INVALID, "aclrtGetDeviceResLimit: value is null");
    HC_TRY(check("aclrtGetDeviceResLimit", type, 1));
    *value = of_device(device, (int)type);
    return ACL_SUCCESS;
}

aclError aclrtResetDeviceResLimit(int32_t deviceId) {
    struct hc_device *device = hc_device_get(deviceId);
    if (device == NULL) return hc_device_fail("aclrtResetDeviceResLimit", deviceId);
    for (int i = 0; i < HC_RES_TYPES; i++) atomic_store(&device->res_limit[i], 0);
    return ACL_SUCCESS;
}

/* Kept to be asked for again; they limit nothing: threads follow MINDSPEED_NUM_THREADS. */
aclError aclrtSetStreamResLimit(aclrtStream stream, aclrtDevResLimitType type, uint32_t value) {
    struct hc_stream *s = hc_stream_find(stream, "aclrtSetStreamResLimit");
    if (s == NULL) return hc_error_peek();
    HC_TRY(check("aclrtSetStreamResLimit", type, value));
    s->res_limit[type] = value;
    return ACL_SUCCESS;
}

aclError aclrtGetStreamResLimit(aclrtStream stream, aclrtDevResLimitType type, uint32_t *value) {
    const struct hc_stream *s = hc_stream_find(stream, "aclrtGetStreamResLimit");
    if (s == NULL) return hc_error_peek();
    HC_CHECK(value != NULL, ACL_ERROR_RT_PARAM_INVALID, "aclrtGetStreamResLimit: value is null");
    HC_TRY(check("aclrtGetStreamResLimit", type, 1));
    *value = of_stream(s, (int)type);
    return ACL_SUCCESS;
}

aclError aclrtResetStreamResLimit(aclrtStream stream) {
    struct hc_stream *s = hc_stream_find(stream, "aclrtResetStreamResLimit");
    if (s == NULL) return hc_error_peek();
    for (int i = 0; i < HC_RES_TYPES; i++) s->res_limit[i] = 0;
    return ACL_SUCCESS;
}

/* Until the thread stops using them; the stream may be destroyed meanwhile, then the device's count again. */
aclError aclrtUseStreamResInCurrentThread(aclrtStream stream) {
    struct hc_stream *s = hc_stream_find(stream, "aclrtUseStreamResInCurrentThread");
    if (s == NULL) return hc_error_peek();
    g_used = s;
    return ACL_SUCCESS;
}

aclError aclrtUnuseStreamResInCurrentThread(aclrtStream stream) {
    const struct hc_stream *s = hc_stream_find(stream, "aclrtUnuseStreamResInCurrentThread");
    if (s == NULL) return hc_error_peek();
    HC_CHECK(g_used == s, ACL_ERROR_RT_PARAM_INVALID,
             "aclrtUnuseStreamResInCurrentThread: this thread does not use stream %d", s->id);
    g_used = NULL;
    return ACL_SUCCESS;
}

/* What an operator launched by this thread may count on. */
aclError aclrtGetResInCurrentThread(aclrtDevResLimitType type, uint32_t *value) {
    HC_CHECK(value != NULL, ACL_ERROR_RT_PARAM_INVALID, "aclrtGetResInCurrentThread: value is null");
    HC_TRY(check("aclrtGetResInCurrentThread", type, 1));
    const struct hc_stream *s = hc_stream_ok(g_used);
    const struct hc_context *c = hc_context_current("aclrtGetResInCurrentThread");
    if (c == NULL) return ACL_ERROR_RT_CONTEXT_NULL;
    *value = s != NULL ? of_stream(s, (int)type) : of_device(c->device, (int)type);
    return ACL_SUCCESS;
}
