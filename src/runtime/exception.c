// SPDX-License-Identifier: Apache-2.0
/* The client's callback for errors of queued tasks. */
#include <stdatomic.h>

#include "hc_error.h"
#include "hc_runtime.h"
#include "hc_thread.h"

/* Valid during the callback only: it lies on the worker's stack. */
struct aclrtExceptionInfo {
    uint32_t code, device, stream, task, thread;
};

static _Atomic(aclrtExceptionInfoCallback) g_callback;
static atomic_uint g_task;

/* One callback per process; NULL removes it. It runs in the worker of the failed stream. */
aclError aclrtSetExceptionInfoCallback(aclrtExceptionInfoCallback callback) {
    atomic_store(&g_callback, callback);
    return ACL_SUCCESS;
}

/* In the thread that ran the task; the numbers are what the client prints. */
void hc_exception_report(aclError code, int32_t device, int32_t stream) {
    const aclrtExceptionInfoCallback callback = atomic_load(&g_callback);
    if (callback == NULL) return;
    struct aclrtExceptionInfo info = {(uint32_t)code, (uint32_t)device, (uint32_t)stream,
                                      atomic_fetch_add(&g_task, 1), (uint32_t)hc_thread_id()};
    callback(&info);
}

/* All ones for no info: what the interface documents. */
#define GETTER(function, member)                                                                             \
    uint32_t function(const aclrtExceptionInfo *info) { return info != NULL ? info->member : UINT32_MAX; }
GETTER(aclrtGetErrorCodeFromExceptionInfo, code)
GETTER(aclrtGetDeviceIdFromExceptionInfo, device)
GETTER(aclrtGetStreamIdFromExceptionInfo, stream)
GETTER(aclrtGetTaskIdFromExceptionInfo, task)
GETTER(aclrtGetThreadIdFromExceptionInfo, thread)
