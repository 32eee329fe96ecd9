// SPDX-License-Identifier: Apache-2.0
/* Contexts, and the current one of each thread. A device has one primary context, which aclrtSetDevice
 * makes current; further ones are made by aclrtCreateContext. A thread's current context is a handle like
 * any other: it is looked at through hc_handle_ok, as another thread may have destroyed it. */
#include <stdio.h>
#include <string.h>

#include "hc_device.h"
#include "hc_error.h"
#include "hc_runtime.h"
#include "hc_stream.h"

struct hc_pool hc_context_pool = HC_POOL("context", 64, 65536);
static _Thread_local struct hc_context *g_current;
static atomic_int g_default_device = -1;
static pthread_mutex_t g_primary_lock = PTHREAD_MUTEX_INITIALIZER;

static char g_refusal[512]; /* guarded by g_primary_lock */

/* A client may call on behind an aclInit that failed, and its next error would hide the reason. */
void hc_set_refusal(const char *text) {
    pthread_mutex_lock(&g_primary_lock);
    snprintf(g_refusal, sizeof g_refusal, "%s", text);
    pthread_mutex_unlock(&g_primary_lock);
}

/* Set by aclInit from the client's configuration file. */
void hc_set_default_device(int32_t id) { atomic_store(&g_default_device, id); }

/* A context owns its default stream, which lives and dies with it. */
static struct hc_context *create(struct hc_device *device, bool primary) {
    struct hc_context *c = hc_handle_new(&hc_context_pool);
    if (c == NULL) return NULL;
    c->device = device;
    c->primary = primary;
    c->default_stream = hc_stream_create(c, 0, 0);
    if (c->default_stream == NULL) {
        hc_handle_free(&hc_context_pool, c);
        return NULL;
    }
    hc_handle_publish(&c->handle);
    return c;
}

/* Made by whoever uses the device first. Double-checked: aclrtSetDevice is called for every operator by
 * some clients. */
static struct hc_context *primary_of(struct hc_device *device) {
    struct hc_context *c = atomic_load(&device->primary);
    if (c != NULL) return c;
    pthread_mutex_lock(&g_primary_lock);
    c = atomic_load(&device->primary);
    if (c == NULL) {
        c = create(device, true);
        atomic_store(&device->primary, c);
    }
    pthread_mutex_unlock(&g_primary_lock);
    return c;
}

/* This thread has no device: repeats why, as clients tend to drop the first message. */
static void fail_without_device(const char *function) {
    char refusal[sizeof g_refusal];
    pthread_mutex_lock(&g_primary_lock);
    memcpy(refusal, g_refusal, sizeof refusal);
    pthread_mutex_unlock(&g_primary_lock);
    if (refusal[0] != '\0')
        hc_fail(ACL_ERROR_RT_CONTEXT_NULL, "%s: there is no device, aclInit failed: %s", function, refusal);
    else
        hc_fail(ACL_ERROR_RT_CONTEXT_NULL,
                "%s: this thread has no current device%s: call aclrtSetDevice first", function,
                hc_was_forked() ? " (forked from a process that uses NPUs)" : "");
}

struct hc_context *hc_context_peek(void) {
    return hc_handle_ok(&hc_context_pool, g_current) ? g_current : NULL;
}

/* A thread's context may have died with a reset of its device: then the thread has none, and says so. */
struct hc_context *hc_context_current(const char *function) {
    if (HC_LIKELY(hc_handle_ok(&hc_context_pool, g_current))) return g_current;
    struct hc_device *device = hc_device_get(atomic_load(&g_default_device));
    if (device == NULL) {
        fail_without_device(function);
        return NULL;
    }
    return g_current = primary_of(device);
}

/* Null is the context's default stream, which is made with the context. */
struct hc_stream *hc_stream_find(aclrtStream handle, const char *function) {
    if (handle == NULL) {
        struct hc_context *c = hc_context_current(function);
        return c != NULL ? c->default_stream : NULL;
    }
    struct hc_stream *s = hc_stream_ok(handle);
    if (s == NULL) hc_handle_fail(&hc_stream_pool, handle, function);
    return s;
}

/* Threads that have the context as their current one find out at their next call. */
static void destroy(struct hc_context *c) {
    if (!hc_handle_retire(&c->handle)) return;
    if (c->primary) {
        struct hc_context *expected = c;
        atomic_compare_exchange_strong(&c->device->primary, &expected, NULL);
    }
    hc_streams_destroy_of(c);
    hc_handle_free(&hc_context_pool, c);
}

static void destroy_if_of(void *object, void *device) {
    struct hc_context *c = object;
    if (device == NULL || c->device == device) destroy(c);
}

void hc_contexts_destroy(struct hc_device *device) {
    hc_handle_each(&hc_context_pool, destroy_if_of, device);
}

/* Only the forking thread exists in the child, so its current context is the only one to forget. */
void hc_context_after_fork(void) {
    hc_pool_reset(&hc_context_pool);
    pthread_mutex_init(&g_primary_lock, NULL);
    g_current = NULL;
    atomic_store(&g_default_device, -1);
}

/* Cheap when repeated; does not reserve anything on the device. */
aclError aclrtSetDevice(int32_t deviceId) {
    struct hc_device *device = hc_device_get(deviceId);
    if (device == NULL) return hc_device_fail("aclrtSetDevice", deviceId);
    struct hc_context *c = primary_of(device);
    if (c == NULL) return hc_error_peek();
    g_current = c;
    return ACL_SUCCESS;
}

/* An error when the thread has no device, unless a default one was configured. */
aclError aclrtGetDevice(int32_t *deviceId) {
    HC_CHECK(deviceId != NULL, ACL_ERROR_RT_PARAM_INVALID, "aclrtGetDevice: deviceId is null");
    const struct hc_context *c = hc_context_current("aclrtGetDevice");
    if (c == NULL) return ACL_ERROR_RT_CONTEXT_NULL;
    *deviceId = c->device->id;
    return ACL_SUCCESS;
}

/* The new context becomes the thread's current one. */
aclError aclrtCreateContext(aclrtContext *context, int32_t deviceId) {
    HC_CHECK(context != NULL, ACL_ERROR_RT_PARAM_INVALID, "aclrtCreateContext: context is null");
    struct hc_device *device = hc_device_get(deviceId);
    if (device == NULL) return hc_device_fail("aclrtCreateContext", deviceId);
    struct hc_context *c = create(device, false);
    if (c == NULL) return hc_error_peek();
    g_current = c;
    *context = c;
    return ACL_SUCCESS;
}

/* Its streams are ended with force. */
aclError aclrtDestroyContext(aclrtContext context) {
    if (!hc_handle_ok(&hc_context_pool, context))
        return hc_handle_fail(&hc_context_pool, context, "aclrtDestroyContext");
    HC_CHECK(!((struct hc_context *)context)->primary, ACL_ERROR_RT_PARAM_INVALID,
             "aclrtDestroyContext: %p is the context of aclrtSetDevice; aclrtResetDevice ends it", context);
    destroy(context);
    return ACL_SUCCESS;
}

/* Of this thread. A stale context is refused here, not at its first use. */
aclError aclrtSetCurrentContext(aclrtContext context) {
    if (!hc_handle_ok(&hc_context_pool, context)) {
        return hc_handle_fail(&hc_context_pool, context, "aclrtSetCurrentContext");
    }
    g_current = context;
    return ACL_SUCCESS;
}

aclError aclrtGetCurrentContext(aclrtContext *context) {
    HC_CHECK(context != NULL, ACL_ERROR_RT_PARAM_INVALID, "aclrtGetCurrentContext: context is null");
    struct hc_context *c = hc_context_current("aclrtGetCurrentContext");
    if (c == NULL) return ACL_ERROR_RT_CONTEXT_NULL;
    *context = c;
    return ACL_SUCCESS;
}

/* Whether the device is in use by this process; asking does not make it so. */
aclError aclrtGetPrimaryCtxState(int32_t deviceId, uint32_t *flags, int32_t *active) {
    const struct hc_device *device = hc_device_get(deviceId);
    if (device == NULL) return hc_device_fail("aclrtGetPrimaryCtxState", deviceId);
    if (flags != NULL) *flags = 0;
    if (active != NULL) *active = atomic_load(&device->primary) != NULL;
    return ACL_SUCCESS;
}
