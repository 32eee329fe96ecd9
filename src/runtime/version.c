// SPDX-License-Identifier: Apache-2.0
/* The version that is presented. Clients switch features by it, so it is one constant (hc_version.h) and
 * not the version of this project. */
#include "hc_version.h"

#include <stdio.h>
#include <string.h>

#include "acl/acl.h"
#include "hc_error.h"

_Static_assert(sizeof HC_CANN_VERSION <= ACL_PKG_VERSION_MAX_SIZE, "version text");

HC_API aclError aclsysGetCANNVersion(aclCANNPackageName name, aclCANNPackageVersion *version);

/* The driver has a version of its own; every other package has CANN's. */
aclError aclsysGetCANNVersion(aclCANNPackageName name, aclCANNPackageVersion *version) {
    HC_CHECK(version != NULL, ACL_ERROR_INVALID_PARAM, "aclsysGetCANNVersion: version is null");
    HC_CHECK((unsigned)name <= ACL_PKG_NAME_DRIVER, ACL_ERROR_INVALID_PARAM,
             "aclsysGetCANNVersion: there is no package %d", (int)name);
    memset(version, 0, sizeof *version);
    if (name == ACL_PKG_NAME_DRIVER) {
        snprintf(version->version, sizeof version->version, "%s", HC_DRIVER_VERSION);
        return ACL_SUCCESS;
    }
    snprintf(version->version, sizeof version->version, "%s", HC_CANN_VERSION);
    int major = 0, minor = 0, patch = 0;
    sscanf(HC_CANN_VERSION, "%d.%d.%d", &major, &minor, &patch);
    snprintf(version->majorVersion, sizeof version->majorVersion, "%d", major);
    snprintf(version->minorVersion, sizeof version->minorVersion, "%d", minor);
    snprintf(version->releaseVersion, sizeof version->releaseVersion, "%d", patch);
    return ACL_SUCCESS;
}

/* Every package has the same version; versionStr has room for ACL_PKG_VERSION_MAX_SIZE bytes. */
aclError aclsysGetVersionStr(char *pkgName, char *versionStr) {
    static const char *const PACKAGES[] = {"runtime",  "opbase",      "hccl",       "hcomm",
                                           "ops_math", "ops_nn",      "ops_cv",     "ops_transformer",
                                           "metadef",  "ge-executor", "ge-compiler"};
    HC_CHECK(pkgName != NULL && versionStr != NULL, ACL_ERROR_INVALID_PARAM,
             "aclsysGetVersionStr: null argument");
    for (size_t i = 0; i < HC_ARRAY_SIZE(PACKAGES); i++) {
        if (strcmp(pkgName, PACKAGES[i]) != 0) continue;
        strcpy(versionStr, HC_CANN_VERSION);
        return ACL_SUCCESS;
    }
    return hc_fail(ACL_ERROR_INVALID_PARAM, "aclsysGetVersionStr: package %s is not installed", pkgName);
}
