// SPDX-License-Identifier: Apache-2.0
/* The driver's own interface. Only what frameworks ask before they profile: with an API version below 7.25.5
 * torch_npu reads the system's clock instead of the device's counter, which is the same as ours
 * (CLOCK_MONOTONIC). */
#include "hc_util.h"

enum { API_VERSION = 0x071900, ERROR_INVALID_VALUE = 3, ERROR_NOT_SUPPORTED = 0xfffe };

HC_API int32_t halGetAPIVersion(int32_t *version);
HC_API int32_t halGetDeviceInfo(uint32_t device, int32_t module, int32_t info, int64_t *value);

int32_t halGetAPIVersion(int32_t *version) {
    if (version == NULL) return ERROR_INVALID_VALUE;
    *version = API_VERSION;
    return 0;
}

/* A virtual device has no modules to ask. */
int32_t halGetDeviceInfo(uint32_t device, int32_t module, int32_t info, int64_t *value) {
    (void)device, (void)module, (void)info, (void)value;
    return ERROR_NOT_SUPPORTED;
}
