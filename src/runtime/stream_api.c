// SPDX-License-Identifier: Apache-2.0
/* Streams as clients see them: arguments are checked here, what happens is in stream.c. */
#include <stdio.h>
#include <string.h>

#include "hc_error.h"
#include "hc_stream.h"

/* NULL stands for the default stream wherever a stream is an argument, except where it is to be destroyed. */
static struct hc_stream *find(aclrtStream handle, const char *function) {
    return hc_stream_find(handle, function);
}

/* Priorities are kept and given back; the host schedules its threads itself. 0 is the highest. */
static aclError create(aclrtStream *stream, uint32_t priority, uint32_t flag, const char *function) {
    HC_CHECK(stream != NULL, ACL_ERROR_RT_PARAM_INVALID, "%s: stream is null", function);
    HC_CHECK(priority <= HC_STREAM_LEAST_PRIORITY, ACL_ERROR_RT_PARAM_INVALID,
             "%s: priority is %u, must be 0 to %d", function, priority, HC_STREAM_LEAST_PRIORITY);
    struct hc_context *c = hc_context_current(function);
    if (c == NULL) return ACL_ERROR_RT_CONTEXT_NULL;
    struct hc_stream *s = hc_stream_create(c, priority, flag);
    if (s == NULL) return hc_error_peek();
    *stream = s;
    return ACL_SUCCESS;
}

aclError aclrtCreateStream(aclrtStream *stream) { return create(stream, 0, 0, "aclrtCreateStream"); }

aclError aclrtCreateStreamWithConfig(aclrtStream *stream, uint32_t priority, uint32_t flag) {
    return create(stream, priority, flag, "aclrtCreateStreamWithConfig");
}

/* The default stream belongs to its context: destroying it would leave the context without one. */
static aclError destroy(aclrtStream handle, bool force, const char *function) {
    if (handle == NULL || hc_stream_ok(handle) == NULL)
        return hc_handle_fail(&hc_stream_pool, handle, function);
    const struct hc_stream *s = handle;
    HC_CHECK(s->context->default_stream != s, ACL_ERROR_RT_PARAM_INVALID,
             "%s: stream %d is the default stream of its context, which ends with the context", function,
             s->id);
    return hc_stream_destroy(handle, force, 0);
}

aclError aclrtDestroyStream(aclrtStream stream) { return destroy(stream, false, "aclrtDestroyStream"); }

aclError aclrtDestroyStreamForce(aclrtStream stream) {
    return destroy(stream, true, "aclrtDestroyStreamForce");
}

/* Blocks until what was submitted before is done, however much is submitted meanwhile. The error of an
 * asynchronous task comes back here, once. */
static aclError synchronize(aclrtStream handle, int64_t timeout, const char *function) {
    HC_CHECK(timeout >= -1, ACL_ERROR_RT_PARAM_INVALID, "%s: timeout is %lld ms, must be -1 (none) or more",
             function, (long long)timeout);
    struct hc_stream *s = find(handle, function);
    return s != NULL ? hc_stream_synchronize(s, timeout, function) : hc_error_peek();
}

aclError aclrtSynchronizeStream(aclrtStream stream) {
    return synchronize(stream, -1, "aclrtSynchronizeStream");
}

aclError aclrtSynchronizeStreamWithTimeout(aclrtStream stream, int32_t timeout) {
    return synchronize(stream, timeout, "aclrtSynchronizeStreamWithTimeout");
}

/* Never blocks. A stream whose work failed says so here too, as "complete" would have the client use results
 * that are missing; the error stays for the synchronise. */
aclError aclrtStreamQuery(aclrtStream stream, aclrtStreamStatus *status) {
    HC_CHECK(status != NULL, ACL_ERROR_RT_PARAM_INVALID, "aclrtStreamQuery: status is null");
    struct hc_stream *s = find(stream, "aclrtStreamQuery");
    if (s == NULL) return hc_error_peek();
    *status = hc_stream_idle(s) ? ACL_STREAM_STATUS_COMPLETE : ACL_STREAM_STATUS_NOT_READY;
    return (atomic_load(&s->state) & HC_STREAM_FAILED) != 0 ? hc_stream_error(s) : ACL_SUCCESS;
}

/* Unique in the process; the trace and the names of threads show the same number. */
aclError aclrtStreamGetId(aclrtStream stream, int32_t *streamId) {
    HC_CHECK(streamId != NULL, ACL_ERROR_RT_PARAM_INVALID, "aclrtStreamGetId: streamId is null");
    const struct hc_stream *s = find(stream, "aclrtStreamGetId");
    if (s == NULL) return hc_error_peek();
    *streamId = s->id;
    return ACL_SUCCESS;
}

struct sync_all {
    const struct hc_device *device;
    int64_t timeout;
    const char *function;
    aclError code;
    char text[2 * HC_STREAM_TEXT_BYTES];
};

/* The first code wins, but every stream is waited for, and every failure told: nobody will hear of it again.
 */
static void synchronize_one(void *object, void *ctx) {
    struct hc_stream *s = object;
    struct sync_all *all = ctx;
    if (s->device != all->device) return;
    const aclError code = hc_stream_synchronize(s, all->timeout, all->function);
    if (code == 0 || strstr(all->text, hc_error_text()) != NULL) return;
    const size_t used = strlen(all->text);
    snprintf(all->text + used, sizeof all->text - used, "%s%s", used > 0 ? "; " : "", hc_error_text());
    if (all->code == 0) all->code = code;
}

/* All streams of the current device, of all contexts. The time-out is for each stream. */
static aclError synchronize_device(int64_t timeout, const char *function) {
    HC_CHECK(timeout >= -1, ACL_ERROR_RT_PARAM_INVALID, "%s: timeout is %lld ms, must be -1 (none) or more",
             function, (long long)timeout);
    struct hc_context *c = hc_context_current(function);
    if (c == NULL) return ACL_ERROR_RT_CONTEXT_NULL;
    struct sync_all all = {c->device, timeout, function, ACL_SUCCESS, ""};
    hc_handle_each(&hc_stream_pool, synchronize_one, &all);
    return hc_synchronized(all.code != 0 ? hc_fail(all.code, "%s", all.text) : ACL_SUCCESS);
}

aclError aclrtSynchronizeDevice(void) { return synchronize_device(-1, "aclrtSynchronizeDevice"); }

aclError aclrtSynchronizeDeviceWithTimeout(int32_t timeout) {
    return synchronize_device(timeout, "aclrtSynchronizeDeviceWithTimeout");
}

struct abort_all {
    const struct hc_device *device;
    int64_t timeout;
    bool over;
};

/* Idle streams have nothing to abort and get no error, but those that have one begin anew as well. */
static void abort_one(void *object, void *ctx) {
    struct hc_stream *s = object;
    struct abort_all *all = ctx;
    if (s->device == all->device && (!hc_stream_idle(s) || hc_stream_error(s) != 0))
        all->over = hc_stream_abort(s, ACL_ERROR_RT_DEVICE_TASK_ABORT, all->timeout) && all->over;
}

/* timeout: milliseconds, 0 for no limit. By the code of what it dropped torch_npu tells a device that was
 * stopped from one that failed. */
aclError aclrtDeviceTaskAbort(int32_t deviceId, uint32_t timeout) {
    enum { NO_LIMIT_MS = 1000 * 60 * 60 };
    struct hc_device *device = hc_device_get(deviceId);
    if (device == NULL) return hc_device_fail("aclrtDeviceTaskAbort", deviceId);
    struct abort_all all = {device, timeout > 0 ? timeout : NO_LIMIT_MS, true};
    hc_handle_each(&hc_stream_pool, abort_one, &all);
    HC_CHECK(all.over, ACL_ERROR_RT_TASK_TIMEOUT,
             "aclrtDeviceTaskAbort: a task of device %d still runs after %u ms", deviceId, timeout);
    return ACL_SUCCESS;
}

/* Under the lock, since the worker reads it after each failed task. */
aclError aclrtSetStreamFailureMode(aclrtStream stream, uint64_t mode) {
    HC_CHECK(mode == ACL_CONTINUE_ON_FAILURE || mode == ACL_STOP_ON_FAILURE, ACL_ERROR_RT_PARAM_INVALID,
             "aclrtSetStreamFailureMode: mode is %llu, must be 0 (continue) or 1 (stop)",
             (unsigned long long)mode);
    struct hc_stream *s = find(stream, "aclrtSetStreamFailureMode");
    if (s == NULL) return hc_error_peek();
    pthread_mutex_lock(&s->lock);
    s->failure_mode = mode;
    pthread_mutex_unlock(&s->lock);
    return ACL_SUCCESS;
}

/* Kept and given back: arithmetic here has infinities and NaN, which show an overflow by themselves. */
aclError aclrtSetStreamOverflowSwitch(aclrtStream stream, uint32_t flag) {
    HC_CHECK(flag <= 1, ACL_ERROR_RT_PARAM_INVALID,
             "aclrtSetStreamOverflowSwitch: flag is %u, must be 0 or 1", flag);
    struct hc_stream *s = find(stream, "aclrtSetStreamOverflowSwitch");
    if (s == NULL) return hc_error_peek();
    s->overflow = flag;
    return ACL_SUCCESS;
}

aclError aclrtGetStreamOverflowSwitch(aclrtStream stream, uint32_t *flag) {
    HC_CHECK(flag != NULL, ACL_ERROR_RT_PARAM_INVALID, "aclrtGetStreamOverflowSwitch: flag is null");
    const struct hc_stream *s = find(stream, "aclrtGetStreamOverflowSwitch");
    if (s == NULL) return hc_error_peek();
    *flag = s->overflow;
    return ACL_SUCCESS;
}

/* The union member that counts depends on the attribute. */
aclError aclrtSetStreamAttribute(aclrtStream stream, aclrtStreamAttr stmAttrType,
                                 aclrtStreamAttrValue *value) {
    static const char FUNCTION[] = "aclrtSetStreamAttribute";
    HC_CHECK(value != NULL, ACL_ERROR_RT_PARAM_INVALID, "%s: value is null", FUNCTION);
    struct hc_stream *s = find(stream, FUNCTION);
    if (s == NULL) return hc_error_peek();
    switch (stmAttrType) {
    case ACL_STREAM_ATTR_FAILURE_MODE: return aclrtSetStreamFailureMode(stream, value->failureMode);
    case ACL_STREAM_ATTR_FLOAT_OVERFLOW_CHECK:
        return aclrtSetStreamOverflowSwitch(stream, value->overflowSwitch);
    case ACL_STREAM_ATTR_USER_CUSTOM_TAG: s->custom_tag = value->userCustomTag; return ACL_SUCCESS;
    case ACL_STREAM_ATTR_CACHE_OP_INFO: s->cache_op_info = value->cacheOpInfoSwitch; return ACL_SUCCESS;
    case ACL_STREAM_ATTR_PRIORITY:
        HC_CHECK(value->streamPriority <= HC_STREAM_LEAST_PRIORITY, ACL_ERROR_RT_PARAM_INVALID,
                 "%s: priority is %u, must be 0 to %d", FUNCTION, value->streamPriority,
                 HC_STREAM_LEAST_PRIORITY);
        s->priority = value->streamPriority;
        return ACL_SUCCESS;
    default:
        return hc_fail(ACL_ERROR_RT_PARAM_INVALID, "%s: there is no attribute %d", FUNCTION,
                       (int)stmAttrType);
    }
}

aclError aclrtDeviceGetStreamPriorityRange(int32_t *leastPriority, int32_t *greatestPriority) {
    if (leastPriority != NULL) *leastPriority = HC_STREAM_LEAST_PRIORITY;
    if (greatestPriority != NULL) *greatestPriority = 0;
    return ACL_SUCCESS;
}
