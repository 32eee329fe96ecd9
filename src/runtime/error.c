// SPDX-License-Identifier: Apache-2.0
/* Error text and codes of this thread, and the recovery interface: virtual devices have no memory faults to
 * repair. */
#include <string.h>

#include "hc_device.h"
#include "hc_error.h"
#include "hc_stream.h"

/* The text stays until the thread's next error: callers ask more than once. */
const char *aclGetRecentErrMsg(void) {
    hc_client_queue_failed();
    return hc_error_text();
}

/* Forgets the code; the text stays. */
aclError aclrtGetLastError(aclrtLastErrLevel level) {
    HC_CHECK(level == ACL_RT_THREAD_LEVEL, ACL_ERROR_RT_PARAM_INVALID,
             "aclrtGetLastError: there is no level %d", (int)level);
    return hc_error_take();
}

/* Keeps the code. */
aclError aclrtPeekAtLastError(aclrtLastErrLevel level) {
    HC_CHECK(level == ACL_RT_THREAD_LEVEL, ACL_ERROR_RT_PARAM_INVALID,
             "aclrtPeekAtLastError: there is no level %d", (int)level);
    return hc_error_peek();
}

/* What kind of fault stopped the device: none, ever. */
aclError aclrtGetErrorVerbose(int32_t deviceId, aclrtErrorInfo *errorInfo) {
    if (hc_device_get(deviceId) == NULL) return hc_device_fail("aclrtGetErrorVerbose", deviceId);
    HC_CHECK(errorInfo != NULL, ACL_ERROR_RT_PARAM_INVALID, "aclrtGetErrorVerbose: errorInfo is null");
    memset(errorInfo, 0, sizeof *errorInfo);
    errorInfo->errorType = ACL_RT_NO_ERROR;
    return ACL_SUCCESS;
}

/* There is no fault, so only "no error" can be repaired. */
aclError aclrtRepairError(int32_t deviceId, const aclrtErrorInfo *errorInfo) {
    if (hc_device_get(deviceId) == NULL) return hc_device_fail("aclrtRepairError", deviceId);
    HC_CHECK(errorInfo != NULL, ACL_ERROR_RT_PARAM_INVALID, "aclrtRepairError: errorInfo is null");
    HC_CHECK(errorInfo->errorType == ACL_RT_NO_ERROR, ACL_ERROR_FEATURE_UNSUPPORTED,
             "aclrtRepairError: device %d has no error of type %d", deviceId, (int)errorInfo->errorType);
    return ACL_SUCCESS;
}

/* Uncorrectable memory errors are the host's to report; a virtual device has none. */
aclError aclrtGetMemUceInfo(int32_t deviceId, aclrtMemUceInfo *memUceInfoArray, size_t arraySize,
                            size_t *retSize) {
    if (hc_device_get(deviceId) == NULL) return hc_device_fail("aclrtGetMemUceInfo", deviceId);
    HC_CHECK(memUceInfoArray != NULL && retSize != NULL && arraySize > 0, ACL_ERROR_RT_PARAM_INVALID,
             "aclrtGetMemUceInfo: null argument, or arraySize is 0");
    *retSize = 0;
    return ACL_SUCCESS;
}

/* Host memory with an uncorrectable error ends the process by SIGBUS, so there never is any to repair. */
aclError aclrtMemUceRepair(int32_t deviceId, aclrtMemUceInfo *memUceInfoArray, size_t arraySize) {
    if (hc_device_get(deviceId) == NULL) return hc_device_fail("aclrtMemUceRepair", deviceId);
    HC_CHECK(arraySize == 0 || memUceInfoArray != NULL, ACL_ERROR_RT_PARAM_INVALID,
             "aclrtMemUceRepair: memUceInfoArray is null");
    HC_CHECK(arraySize == 0, ACL_ERROR_FEATURE_UNSUPPORTED,
             "aclrtMemUceRepair: device %d has no faulty memory", deviceId);
    return ACL_SUCCESS;
}
