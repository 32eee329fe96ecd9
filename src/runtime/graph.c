// SPDX-License-Identifier: Apache-2.0
/* Capturing a stream into a graph. A capture must run nothing while work is submitted, which inline streams
 * do not offer; it is refused, and asking whether one is going on is answered.
 *
 * The code is 200006 and not 207000 (ACL_ERROR_RT_...): torch_npu takes the latter for a missing driver
 * feature, warns and goes on. */
#include "hc_error.h"
#include "hc_stream.h"

/* The one text of all of them. */
#define REFUSE(function)                                                                                     \
    return hc_fail(ACL_ERROR_FEATURE_UNSUPPORTED, "%s: capturing graphs is not supported on virtual NPUs",   \
                   #function)

/* Nothing is ever captured; clients ask before each allocation. */
aclError aclmdlRICaptureGetInfo(aclrtStream stream, aclmdlRICaptureStatus *status, aclmdlRI *modelRI) {
    HC_CHECK(status != NULL, ACL_ERROR_RT_PARAM_INVALID, "aclmdlRICaptureGetInfo: status is null");
    if (hc_stream_find(stream, "aclmdlRICaptureGetInfo") == NULL) return hc_error_peek();
    *status = ACL_MODEL_RI_CAPTURE_STATUS_NONE;
    if (modelRI != NULL) *modelRI = NULL;
    return ACL_SUCCESS;
}

/* Nothing is captured, so the mode of a thread does not matter; it is exchanged, as the interface says. */
aclError aclmdlRICaptureThreadExchangeMode(aclmdlRICaptureMode *mode) {
    static _Thread_local aclmdlRICaptureMode current = ACL_MODEL_RI_CAPTURE_MODE_GLOBAL;
    HC_CHECK(mode != NULL && (unsigned)*mode <= ACL_MODEL_RI_CAPTURE_MODE_RELAXED, ACL_ERROR_RT_PARAM_INVALID,
             "aclmdlRICaptureThreadExchangeMode: mode is null or unknown");
    const aclmdlRICaptureMode before = current;
    current = *mode;
    *mode = before;
    return ACL_SUCCESS;
}

aclError aclmdlRICaptureBegin(aclrtStream stream, aclmdlRICaptureMode mode) {
    (void)stream, (void)mode;
    REFUSE(aclmdlRICaptureBegin);
}
aclError aclmdlRICaptureEnd(aclrtStream stream, aclmdlRI *modelRI) {
    (void)stream, (void)modelRI;
    REFUSE(aclmdlRICaptureEnd);
}
aclError aclmdlRICaptureToModelRIBegin(aclrtStream stream, aclmdlRI modelRI, aclmdlRICaptureMode mode) {
    (void)stream, (void)modelRI, (void)mode;
    REFUSE(aclmdlRICaptureToModelRIBegin);
}
aclError aclmdlRICaptureTaskGrpBegin(aclrtStream stream) {
    (void)stream;
    REFUSE(aclmdlRICaptureTaskGrpBegin);
}
aclError aclmdlRICaptureTaskGrpEnd(aclrtStream stream, aclrtTaskGrp *handle) {
    (void)stream, (void)handle;
    REFUSE(aclmdlRICaptureTaskGrpEnd);
}
aclError aclmdlRICaptureTaskUpdateBegin(aclrtStream stream, aclrtTaskGrp handle) {
    (void)stream, (void)handle;
    REFUSE(aclmdlRICaptureTaskUpdateBegin);
}
aclError aclmdlRICaptureTaskUpdateEnd(aclrtStream stream) {
    (void)stream;
    REFUSE(aclmdlRICaptureTaskUpdateEnd);
}
aclError aclmdlRIExecuteAsync(aclmdlRI modelRI, aclrtStream stream) {
    (void)modelRI, (void)stream;
    REFUSE(aclmdlRIExecuteAsync);
}
aclError aclmdlRIDestroy(aclmdlRI modelRI) {
    (void)modelRI;
    REFUSE(aclmdlRIDestroy);
}
aclError aclmdlRIGetId(aclmdlRI modelRI, uint32_t *modelRIId) {
    (void)modelRI, (void)modelRIId;
    REFUSE(aclmdlRIGetId);
}
aclError aclmdlRIDebugJsonPrint(aclmdlRI modelRI, const char *path, uint32_t flags) {
    (void)modelRI, (void)path, (void)flags;
    REFUSE(aclmdlRIDebugJsonPrint);
}
