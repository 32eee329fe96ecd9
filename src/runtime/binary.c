// SPDX-License-Identifier: Apache-2.0
/* Kernels compiled for the NPU's own instruction set cannot run on the host. The symbols exist because
 * torch_npu links them; the rt* ones have no published prototype and take no notice of their arguments. */
#include "acl/acl.h"
#include "hc_error.h"

static int refuse(const char *function) {
    return hc_fail(ACL_ERROR_FEATURE_UNSUPPORTED,
                   "%s: kernels compiled for the NPU cannot run on virtual NPUs", function);
}

aclError aclrtBinaryLoadFromData(const void *data, size_t length, const aclrtBinaryLoadOptions *options,
                                 aclrtBinHandle *binHandle) {
    (void)data, (void)length, (void)options, (void)binHandle;
    return refuse("aclrtBinaryLoadFromData");
}

aclError aclrtBinaryGetFunction(const aclrtBinHandle binHandle, const char *kernelName,
                                aclrtFuncHandle *funcHandle) {
    (void)binHandle, (void)kernelName, (void)funcHandle;
    return refuse("aclrtBinaryGetFunction");
}

aclError aclrtGetFunctionAddr(aclrtFuncHandle funcHandle, void **aicAddr, void **aivAddr) {
    (void)funcHandle, (void)aicAddr, (void)aivAddr;
    return refuse("aclrtGetFunctionAddr");
}

HC_API int rtDevBinaryRegister(void);
HC_API int rtFunctionRegister(void);
HC_API int rtKernelLaunch(void);
HC_API int rtGetC2cCtrlAddr(void);
int rtDevBinaryRegister(void) { return refuse("rtDevBinaryRegister"); }
int rtFunctionRegister(void) { return refuse("rtFunctionRegister"); }
int rtKernelLaunch(void) { return refuse("rtKernelLaunch"); }
int rtGetC2cCtrlAddr(void) { return refuse("rtGetC2cCtrlAddr"); }
