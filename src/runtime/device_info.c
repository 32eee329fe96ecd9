// SPDX-License-Identifier: Apache-2.0
/* What a device says about itself: the figures of the SoC that MINDSPEED_SOC names stand for the default
 * one's. */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "hc_clock.h"
#include "hc_device.h"
#include "hc_error.h"
#include "hc_option.h"
#include "hc_stream.h"

/* The figures of the default SoC. Clients size grids and choose variants by them; the kernels here ask
 * the host instead (hc_num_threads). */
enum { CUBE_CORES = 24, VECTOR_CORES = 48, AICPU_CORES = 6, WARP = 32, VECTOR_THREADS = 2048 };
static const int64_t L2_BYTES = (int64_t)192 << 20, UNIFIED_BUFFER_BYTES = 192 << 10;

/* Clients choose operator variants by it. */
const char *aclrtGetSocName(void) { return hc_option_text(HC_OPT_SOC); }

uint32_t hc_device_cores(int type) { return type == ACL_RT_DEV_RES_CUBE_CORE ? CUBE_CORES : VECTOR_CORES; }

/* What has no meaning on a virtual device has no value, rather than an invented one. */
static bool attribute(const struct hc_device *device, int attr, int64_t *value) {
    switch (attr) {
    case ACL_DEV_ATTR_AICPU_CORE_NUM: *value = AICPU_CORES; return true;
    case ACL_DEV_ATTR_AICORE_CORE_NUM:
    case ACL_DEV_ATTR_CUBE_CORE_NUM: *value = CUBE_CORES; return true;
    case ACL_DEV_ATTR_VECTOR_CORE_NUM: *value = VECTOR_CORES; return true;
    case ACL_DEV_ATTR_WARP_SIZE: *value = WARP; return true;
    case ACL_DEV_ATTR_MAX_THREAD_PER_VECTOR_CORE:
    case ACL_DEV_ATTR_MAX_THREADS_PER_BLOCK:
    case ACL_DEV_ATTR_MAX_BLOCK_DIM_X: *value = VECTOR_THREADS; return true;
    case ACL_DEV_ATTR_UBUF_PER_VECTOR_CORE: *value = UNIFIED_BUFFER_BYTES; return true;
    case ACL_DEV_ATTR_TOTAL_GLOBAL_MEM_SIZE: *value = (int64_t)hc_device_capacity(); return true;
    case ACL_DEV_ATTR_L2_CACHE_SIZE: *value = L2_BYTES; return true;
    case ACL_DEV_ATTR_PHY_CHIP_ID: *value = device->physical; return true;
    case ACL_DEV_ATTR_SMP_ID:
    case ACL_DEV_ATTR_SUPER_POD_DEVICE_ID:
    case ACL_DEV_ATTR_SUPER_POD_SERVER_ID:
    case ACL_DEV_ATTR_SUPER_POD_ID:
    case ACL_DEV_ATTR_CUST_OP_PRIVILEGE: *value = 0; return true;
    case ACL_DEV_ATTR_IS_VIRTUAL: *value = 1; return true;
    default: return false;
    }
}

aclError aclrtGetDeviceInfo(uint32_t deviceId, aclrtDevAttr attr, int64_t *value) {
    const struct hc_device *device = hc_device_get(deviceId);
    if (device == NULL) return hc_device_fail("aclrtGetDeviceInfo", deviceId);
    HC_CHECK(value != NULL, ACL_ERROR_RT_PARAM_INVALID, "aclrtGetDeviceInfo: value is null");
    HC_CHECK(attribute(device, (int)attr, value), ACL_ERROR_FEATURE_UNSUPPORTED,
             "aclrtGetDeviceInfo: attribute %d has no value on a virtual device", (int)attr);
    return ACL_SUCCESS;
}

/* The older form of the same question, with numbers of its own. */
aclError aclGetDeviceCapability(uint32_t deviceId, aclDeviceInfo deviceInfo, int64_t *value) {
    if (hc_device_get(deviceId) == NULL) return hc_device_fail("aclGetDeviceCapability", deviceId);
    HC_CHECK(value != NULL, ACL_ERROR_INVALID_PARAM, "aclGetDeviceCapability: value is null");
    switch (deviceInfo) {
    case ACL_DEVICE_INFO_AI_CORE_NUM: *value = CUBE_CORES; return ACL_SUCCESS;
    case ACL_DEVICE_INFO_VECTOR_CORE_NUM: *value = VECTOR_CORES; return ACL_SUCCESS;
    case ACL_DEVICE_INFO_L2_SIZE: *value = L2_BYTES; return ACL_SUCCESS;
    default:
        return hc_fail(ACL_ERROR_INVALID_PARAM, "aclGetDeviceCapability: there is no capability %d",
                       (int)deviceInfo);
    }
}

/* The same device of the same host has the same id in every process: the host's id and the device's
 * physical number. */
aclError aclrtDeviceGetUuid(int32_t deviceId, aclrtUuid *uuid) {
    const struct hc_device *device = hc_device_get(deviceId);
    if (device == NULL) return hc_device_fail("aclrtDeviceGetUuid", deviceId);
    HC_CHECK(uuid != NULL, ACL_ERROR_RT_PARAM_INVALID, "aclrtDeviceGetUuid: uuid is null");
    char text[64] = "";
    FILE *file = fopen("/etc/machine-id", "re");
    if (file != NULL) {
        if (fgets(text, sizeof text, file) == NULL) text[0] = '\0';
        fclose(file);
    }
    if (text[0] == '\0') gethostname(text, sizeof text - 1);
    uint64_t hash = 14695981039346656037u; /* FNV-1a */
    for (const char *c = text; *c != '\0'; c++) hash = (hash ^ (unsigned char)*c) * 1099511628211u;
    const uint64_t words[2] = {hash, 0x4e50550000000000u | (uint32_t)device->physical};
    memcpy(uuid->bytes, words, sizeof words);
    return ACL_SUCCESS;
}

struct busy {
    const struct hc_device *device;
    uint64_t ticks;
};

/* For hc_handle_each. */
static void add_busy(void *object, void *ctx) {
    const struct hc_stream *s = object;
    struct busy *b = ctx;
    if (s->device == b->device) b->ticks += atomic_load(&s->busy);
}

/* Per cent of the time since the last call (or since the first use) during which a task ran. */
aclError aclrtGetDeviceUtilizationRate(int32_t deviceId, aclrtUtilizationInfo *utilizationInfo) {
    struct hc_device *device = hc_device_get(deviceId);
    if (device == NULL) return hc_device_fail("aclrtGetDeviceUtilizationRate", deviceId);
    HC_CHECK(utilizationInfo != NULL, ACL_ERROR_RT_PARAM_INVALID,
             "aclrtGetDeviceUtilizationRate: utilizationInfo is null");
    pthread_mutex_lock(&device->rate_lock);
    struct busy now = {device, atomic_load(&device->retired_busy)};
    hc_handle_each(&hc_stream_pool, add_busy, &now);
    const uint64_t time = hc_ticks();
    const uint64_t busy = now.ticks - device->rate_busy, passed = time - device->rate_time;
    device->rate_busy = now.ticks;
    device->rate_time = time;
    pthread_mutex_unlock(&device->rate_lock);
    const int32_t rate =
        passed > 0 ? (int32_t)hc_min_size(100, (size_t)((double)busy * 100.0 / (double)passed + 0.5)) : 0;
    const double used = (double)atomic_load(&device->memory_used) * 100.0 / (double)hc_device_capacity();
    utilizationInfo->cubeUtilization = rate;
    utilizationInfo->vectorUtilization = rate;
    utilizationInfo->aicpuUtilization = 0;
    utilizationInfo->memoryUtilization = (int32_t)(used + 0.5);
    return ACL_SUCCESS;
}

/* The program runs on the host, the operators do too, but clients must not know. */
aclError aclrtGetRunMode(aclrtRunMode *runMode) {
    HC_CHECK(runMode != NULL, ACL_ERROR_RT_PARAM_INVALID, "aclrtGetRunMode: runMode is null");
    *runMode = ACL_HOST;
    return ACL_SUCCESS;
}

/* The id that other processes know this one by; without containers it is the process id. */
aclError aclrtDeviceGetBareTgid(int32_t *pid) {
    HC_CHECK(pid != NULL, ACL_ERROR_RT_PARAM_INVALID, "aclrtDeviceGetBareTgid: pid is null");
    *pid = getpid();
    return ACL_SUCCESS;
}
