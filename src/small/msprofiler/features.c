// SPDX-License-Identifier: Apache-2.0
/* Options of the vendor's profiler: none of its hardware counters exist here, which is what is answered. */
#include "acl/acl.h"
#include "hc_error.h"
#include "hc_launch.h"

HC_API aclError aclprofGetSupportedFeatures(size_t *size, void **data);
HC_API aclError aclprofGetSupportedFeaturesV2(size_t *size, void **data);
HC_API aclError aclprofSetConfig(aclprofConfigType type, const char *config, size_t length);
HC_API aclError aclprofMarkEx(const char *message, size_t length, aclrtStream stream);

static aclError no_features(size_t *size, void **data) {
    if (size != NULL) *size = 0;
    if (data != NULL) *data = NULL;
    return ACL_ERROR_PROF_MODULES_UNSUPPORTED;
}

aclError aclprofGetSupportedFeatures(size_t *size, void **data) { return no_features(size, data); }
aclError aclprofGetSupportedFeaturesV2(size_t *size, void **data) { return no_features(size, data); }

aclError aclprofSetConfig(aclprofConfigType type, const char *config, size_t length) {
    (void)config, (void)length;
    HC_CHECK((int)type > ACL_PROF_ARGS_MIN && type < ACL_PROF_ARGS_MAX, ACL_ERROR_INVALID_PARAM,
             "aclprofSetConfig: there is no option %d", (int)type);
    return ACL_ERROR_PROF_MODULES_UNSUPPORTED;
}

/* A point in the stream; its text would have to live as long as the process, so the trace shows that there is
 * one. */
aclError aclprofMarkEx(const char *message, size_t length, aclrtStream stream) {
    HC_CHECK(message != NULL && length > 0, ACL_ERROR_INVALID_PARAM, "aclprofMarkEx: no message");
    return hc_launch(stream, &(struct hc_task){.name = "mark", .kind = HC_TASK_CONTROL});
}
