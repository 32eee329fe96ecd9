// SPDX-License-Identifier: Apache-2.0
#include <pthread.h>

#include "runtime_test.h"

static void *device_of_thread(void *arg) {
    (void)arg;
    int32_t id = -1;
    if (aclrtGetDevice(&id) != ACL_ERROR_RT_CONTEXT_NULL) return (void *)1; /* each thread has its own */
    if (aclrtSetDevice(5) != ACL_SUCCESS || aclrtGetDevice(&id) != ACL_SUCCESS || id != 5) return (void *)2;
    return NULL;
}

TEST(current_device_is_per_thread) {
    use_device(1);
    pthread_t t;
    void *result = (void *)3;
    int32_t id = -1;
    CHECK_EQ(pthread_create(&t, NULL, device_of_thread, NULL), 0);
    pthread_join(t, &result);
    CHECK_EQ((intptr_t)result, 0);
    CHECK_OK(aclrtGetDevice(&id));
    CHECK_EQ(id, 1);
    CHECK_OK(aclrtSetDevice(0));
}

TEST(contexts) {
    use_device(0);
    aclrtContext primary, own, now;
    int32_t active = -1;
    CHECK_OK(aclrtGetCurrentContext(&primary));
    CHECK_OK(aclrtCreateContext(&own, 6));
    CHECK_OK(aclrtGetCurrentContext(&now));
    CHECK(now == own);
    CHECK_EQ(hc_stream_device(NULL), 6);
    CHECK_OK(aclrtGetPrimaryCtxState(6, NULL, &active));
    CHECK_EQ(active, 0);
    CHECK_OK(aclrtDestroyContext(own));
    CHECK_FAILS(aclrtGetCurrentContext(&now), ACL_ERROR_RT_CONTEXT_NULL, "no current device");
    CHECK_FAILS(aclrtSetCurrentContext(own), ACL_ERROR_RT_INVALID_HANDLE, "no live context");
    CHECK_OK(aclrtSetCurrentContext(primary));
    CHECK_FAILS(aclrtDestroyContext(primary), ACL_ERROR_RT_PARAM_INVALID, "aclrtResetDevice");
    CHECK_OK(aclrtGetPrimaryCtxState(0, NULL, &active));
    CHECK_EQ(active, 1);
}

TEST(what_a_device_says_of_itself) {
    use_device(0);
    int64_t value = 0;
    aclrtUuid a, b;
    int32_t can = -1;
    CHECK(strncmp(aclrtGetSocName(), "Ascend", 6) == 0);
    CHECK_OK(aclrtGetDeviceInfo(0, ACL_DEV_ATTR_TOTAL_GLOBAL_MEM_SIZE, &value));
    CHECK(value > 0);
    CHECK_OK(aclrtGetDeviceInfo(0, ACL_DEV_ATTR_VECTOR_CORE_NUM, &value));
    CHECK_EQ(value, 48);
    CHECK_FAILS(aclrtGetDeviceInfo(0, 9999, &value), ACL_ERROR_FEATURE_UNSUPPORTED, "9999");
    CHECK_OK(aclGetDeviceCapability(0, ACL_DEVICE_INFO_AI_CORE_NUM, &value));
    CHECK_EQ(value, 24);
    CHECK_OK(aclrtDeviceGetUuid(0, &a));
    CHECK_OK(aclrtDeviceGetUuid(1, &b));
    CHECK(memcmp(&a, &b, sizeof a) != 0);
    CHECK_OK(aclrtDeviceGetUuid(0, &b));
    CHECK(memcmp(&a, &b, sizeof a) == 0);
    CHECK_OK(aclrtDeviceCanAccessPeer(&can, 0, 1));
    CHECK_EQ(can, 1);
    CHECK_OK(aclrtDeviceEnablePeerAccess(1, 0));
    CHECK_FAILS(aclrtDeviceEnablePeerAccess(-1, 0), ACL_ERROR_RT_INVALID_DEVICEID, "no device -1");
}

static aclError busy(void *arg) {
    (void)arg;
    sleep_ms(60);
    return ACL_SUCCESS;
}

TEST(utilisation_is_the_busy_share) {
    use_device(7);
    aclrtUtilizationInfo info;
    CHECK_OK(aclrtGetDeviceUtilizationRate(7, &info));
    sleep_ms(60);
    CHECK_OK(aclrtGetDeviceUtilizationRate(7, &info));
    CHECK_EQ(info.cubeUtilization, 0);
    CHECK_OK(hc_launch(NULL, &(struct hc_task){.name = "busy", .run = busy}));
    CHECK_OK(aclrtGetDeviceUtilizationRate(7, &info));
    CHECK_MSG(info.vectorUtilization > 50, "%d", info.vectorUtilization);
    CHECK_OK(hc_launch(NULL, &(struct hc_task){.name = "busy", .run = busy}));
    sleep_ms(60);
    CHECK_OK(aclrtGetDeviceUtilizationRate(7, &info));
    CHECK_MSG(info.vectorUtilization > 5 && info.vectorUtilization < 95, "%d", info.vectorUtilization);
    CHECK_OK(aclrtSetDevice(0));
}

TEST(last_error) {
    use_device(0);
    aclrtGetLastError(ACL_RT_THREAD_LEVEL);
    CHECK_EQ(aclrtPeekAtLastError(ACL_RT_THREAD_LEVEL), 0);
    CHECK_EQ(aclrtSetDevice(12345), ACL_ERROR_RT_INVALID_DEVICEID);
    CHECK_EQ(aclrtPeekAtLastError(ACL_RT_THREAD_LEVEL), ACL_ERROR_RT_INVALID_DEVICEID);
    CHECK_EQ(aclrtGetLastError(ACL_RT_THREAD_LEVEL), ACL_ERROR_RT_INVALID_DEVICEID);
    CHECK_EQ(aclrtGetLastError(ACL_RT_THREAD_LEVEL), 0);
    aclrtErrorInfo info;
    CHECK_OK(aclrtGetErrorVerbose(0, &info));
    CHECK_EQ(info.errorType, ACL_RT_NO_ERROR);
    aclrtMemUceInfo uce[2];
    size_t count = 5;
    CHECK_OK(aclrtGetMemUceInfo(0, uce, 2, &count));
    CHECK_EQ(count, 0);
}

TEST(device_limits) {
    use_device(0);
    uint32_t value = 0;
    CHECK_OK(aclrtSetDeviceResLimit(0, ACL_RT_DEV_RES_VECTOR_CORE, 10));
    CHECK_OK(aclrtGetDeviceResLimit(0, ACL_RT_DEV_RES_VECTOR_CORE, &value));
    CHECK_EQ(value, 10);
    CHECK_OK(aclrtResetDeviceResLimit(0));
    CHECK_OK(aclrtGetDeviceResLimit(0, ACL_RT_DEV_RES_VECTOR_CORE, &value));
    CHECK_EQ(value, 48);
}
