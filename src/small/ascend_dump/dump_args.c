// SPDX-License-Identifier: Apache-2.0
/* Dumping the arguments of operators by name: there are no such operators here. */
#include "acl/acl.h"
#include "hc_error.h"

aclError aclopStartDumpArgs(uint32_t dumpType, const char *path) {
    return hc_fail(ACL_ERROR_FEATURE_UNSUPPORTED,
                   "aclopStartDumpArgs: type %u to %s: dumping is not supported on virtual NPUs", dumpType,
                   path != NULL ? path : "null");
}

aclError aclopStopDumpArgs(uint32_t dumpType) {
    return hc_fail(ACL_ERROR_DUMP_NOT_RUN, "aclopStopDumpArgs: no dump of type %u runs", dumpType);
}
