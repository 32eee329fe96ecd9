// SPDX-License-Identifier: Apache-2.0
/* Hooks by which clients report to the vendor's profiler. It is not there, so it asks for nothing and what is
 * reported has no reader; see MINDSPEED_TRACE instead. Clients ask for clock and hash before they report, so
 * those are real. */
#include <string.h>

#include "hc_clock.h"

HC_API int32_t MsprofRegisterCallback(uint32_t module, void *handle);
HC_API int32_t MsprofReportApi(uint32_t aging, const void *api);
HC_API int32_t MsprofReportCompactInfo(uint32_t aging, const void *data, uint32_t length);
HC_API int32_t MsprofReportAdditionalInfo(uint32_t aging, const void *data, uint32_t length);
HC_API uint64_t MsprofGetHashId(const char *text, size_t length);
HC_API uint64_t MsprofSysCycleTime(void);

int32_t MsprofRegisterCallback(uint32_t module, void *handle) {
    (void)module, (void)handle;
    return 0;
}

int32_t MsprofReportApi(uint32_t aging, const void *api) {
    (void)aging, (void)api;
    return 0;
}

int32_t MsprofReportCompactInfo(uint32_t aging, const void *data, uint32_t length) {
    (void)aging, (void)data, (void)length;
    return 0;
}

int32_t MsprofReportAdditionalInfo(uint32_t aging, const void *data, uint32_t length) {
    (void)aging, (void)data, (void)length;
    return 0;
}

/* FNV-1a. */
uint64_t MsprofGetHashId(const char *text, size_t length) {
    uint64_t hash = 14695981039346656037u;
    for (size_t i = 0; text != NULL && i < length; i++)
        hash = (hash ^ (unsigned char)text[i]) * 1099511628211u;
    return hash;
}

uint64_t MsprofSysCycleTime(void) { return hc_now_ns(); }
