// SPDX-License-Identifier: Apache-2.0
/* Dumping operator data to files is a feature of the hardware's stack; refused when asked for. */
#include "acl/acl.h"
#include "hc_error.h"

static aclError refuse(const char *function) {
    return hc_fail(ACL_ERROR_FEATURE_UNSUPPORTED,
                   "%s: dumping operator data is not supported on virtual NPUs; "
                   "MINDSPEED_TRACE=file.json records what runs",
                   function);
}

aclError aclmdlInitDump(void) { return refuse("aclmdlInitDump"); }

aclError aclmdlSetDump(const char *dumpCfgPath) {
    (void)dumpCfgPath;
    return refuse("aclmdlSetDump");
}

aclError aclmdlFinalizeDump(void) { return refuse("aclmdlFinalizeDump"); }
