// SPDX-License-Identifier: Apache-2.0
#include <errno.h>
#include <signal.h>

#include "runtime_test.h"

enum { MB = 1 << 20 };

static size_t free_bytes(void) {
    size_t free = 0, total = 0;
    aclrtGetMemInfo(ACL_HBM_MEM, &free, &total);
    return free;
}

TEST(capacity_is_accounted_exactly) {
    use_device(0);
    size_t free, total;
    void *a, *b;
    CHECK_OK(aclrtGetMemInfo(ACL_HBM_MEM, &free, &total));
    CHECK_OK(aclrtMalloc(&a, 4 * MB, ACL_MEM_MALLOC_HUGE_FIRST));
    CHECK_EQ(free_bytes(), free - 4 * MB);
    CHECK_OK(aclrtMallocAlign32(&b, 100, ACL_MEM_MALLOC_NORMAL_ONLY));
    CHECK_EQ(free_bytes(), free - 4 * MB - 512);
    CHECK_EQ((uintptr_t)a % (2 * MB), 0);
    CHECK_EQ((uintptr_t)b % 512, 0);
    memset(a, 1, 4 * MB);
    memset(b, 1, 100);
    CHECK_OK(aclrtFree(a));
    CHECK_OK(aclrtFree(b));
    CHECK_EQ(free_bytes(), free);
    CHECK_OK(aclrtGetMemInfo(ACL_DDR_MEM, &free, &total));
    CHECK_EQ(total, 0);
}

TEST(out_of_memory_then_go_on) {
    use_device(2);
    void *p[80];
    size_t free, total, got = 0;
    CHECK_OK(aclrtGetMemInfo(ACL_HBM_MEM, &free, &total));
    aclError code = ACL_SUCCESS;
    while (got < 80 &&
           (code = aclrtMalloc(&p[got], (size_t)64 * MB, ACL_MEM_MALLOC_HUGE_FIRST)) == ACL_SUCCESS)
        got++;
    CHECK_EQ(code, ACL_ERROR_RT_MEMORY_ALLOCATION);
    CHECK_EQ(got, total / (64 * MB));
    CHECK_MSG(strstr(aclGetRecentErrMsg(), "out of memory on device 2") != NULL, "%s", aclGetRecentErrMsg());
    CHECK_OK(aclrtFree(p[--got]));
    CHECK_OK(aclrtMalloc(&p[got], (size_t)64 * MB, ACL_MEM_MALLOC_HUGE_FIRST));
    got++;
    while (got > 0) CHECK_OK(aclrtFree(p[--got]));
    CHECK_EQ(free_bytes(), free);
    CHECK_FAILS(aclrtMalloc(&p[0], SIZE_MAX - 5, ACL_MEM_MALLOC_HUGE_FIRST), ACL_ERROR_RT_MEMORY_ALLOCATION,
                "out of memory");
    CHECK_OK(aclrtSetDevice(0));
}

TEST(bad_frees_are_errors) {
    use_device(0);
    void *p, *host;
    int on_stack;
    CHECK_OK(aclrtMalloc(&p, MB, ACL_MEM_MALLOC_HUGE_FIRST));
    CHECK_FAILS(aclrtFree((char *)p + 512), ACL_ERROR_RT_PARAM_INVALID, "512 bytes inside");
    CHECK_OK(aclrtFree(p));
    CHECK_FAILS(aclrtFree(p), ACL_ERROR_RT_PARAM_INVALID, "freed already");
    CHECK_FAILS(aclrtFree(&on_stack), ACL_ERROR_RT_PARAM_INVALID, "no device memory");
    CHECK_FAILS(aclrtFree(NULL), ACL_ERROR_RT_PARAM_INVALID, "null");
    CHECK_FAILS(aclrtMalloc(NULL, 1, 0), ACL_ERROR_RT_PARAM_INVALID, "null");
    CHECK_FAILS(aclrtMalloc(&p, 0, 0), ACL_ERROR_RT_PARAM_INVALID, "size is 0");
    CHECK_FAILS(aclrtMalloc(&p, 1, 77), ACL_ERROR_RT_PARAM_INVALID, "policy");
    CHECK_OK(aclrtMallocHost(&host, 100));
    CHECK_FAILS(aclrtFree(host), ACL_ERROR_RT_PARAM_INVALID, "pinned host memory");
    CHECK_FAILS(aclrtFreeHost((char *)host + 1), ACL_ERROR_RT_PARAM_INVALID, "not the start");
    CHECK_OK(aclrtFreeHost(host));
    CHECK_FAILS(aclrtFreeHost(host), ACL_ERROR_RT_PARAM_INVALID, "freed already");
}

TEST(pointer_attributes) {
    use_device(3);
    void *p, *host;
    int on_stack;
    aclrtPtrAttributes at;
    CHECK_OK(aclrtMalloc(&p, 8 * MB, ACL_MEM_MALLOC_HUGE_FIRST));
    CHECK_OK(aclrtMallocHostWithCfg(&host, 5000, NULL));
    CHECK_OK(aclrtPointerGetAttributes((char *)p + 8 * MB - 1, &at));
    CHECK(at.location.type == ACL_MEM_LOCATION_TYPE_DEVICE && at.location.id == 3 && at.pageSize == 2 * MB);
    CHECK_OK(aclrtPointerGetAttributes((char *)host + 4999, &at));
    CHECK_EQ(at.location.type, ACL_MEM_LOCATION_TYPE_HOST);
    CHECK_OK(aclrtPointerGetAttributes((char *)host + 5000, &at));
    CHECK_EQ(at.location.type, ACL_MEM_LOCATION_TYPE_UNREGISTERED);
    CHECK_OK(aclrtPointerGetAttributes(&on_stack, &at));
    CHECK_EQ(at.location.type, ACL_MEM_LOCATION_TYPE_UNREGISTERED);
    CHECK_OK(aclrtFree(p));
    CHECK_OK(aclrtFreeHost(host));
    CHECK_OK(aclrtSetDevice(0));
}

TEST(registered_host_memory) {
    use_device(0);
    static char mine[8192];
    void *device = NULL;
    aclrtPtrAttributes at;
    CHECK_OK(aclrtHostRegister(mine, sizeof mine, ACL_HOST_REGISTER_MAPPED, &device));
    CHECK(device == mine);
    CHECK_FAILS(aclrtHostRegisterV2(mine + 100, 10, ACL_HOST_REG_MAPPED),
                ACL_ERROR_HOST_MEMORY_ALREADY_REGISTERED, "overlaps");
    CHECK_OK(aclrtPointerGetAttributes(mine + 5, &at));
    CHECK_EQ(at.location.type, ACL_MEM_LOCATION_TYPE_HOST);
    CHECK_OK(aclrtHostUnregister(mine));
    CHECK_FAILS(aclrtHostUnregister(mine), ACL_ERROR_HOST_MEMORY_NOT_REGISTERED, "not the start");
}

/* torch_npu's tensors in host memory: pages inside of what aclrtMallocHost gave, at a device's address. */
TEST(registered_part_of_host_memory) {
    use_device(0);
    char *host = NULL;
    void *device = NULL;
    CHECK_OK(aclrtMallocHost((void **)&host, 3 * 4096));
    CHECK_OK(aclrtHostRegister(host + 4096, 2 * 4096, ACL_HOST_REGISTER_MAPPED, &device));
    CHECK(device == host + 4096);
    CHECK_OK(aclrtMemset(device, 2 * 4096, 7, 2 * 4096));
    CHECK_EQ(host[4096], 7);
    CHECK_EQ(host[3 * 4096 - 1], 7);
    CHECK_OK(aclrtHostUnregister(device));
    CHECK_FAILS(aclrtHostRegister(host + 4096, 3 * 4096, ACL_HOST_REGISTER_MAPPED, &device),
                ACL_ERROR_HOST_MEMORY_ALREADY_REGISTERED, "overlaps");
    CHECK_OK(aclrtFreeHost(host));
    CHECK_FAILS(aclrtHostUnregister(host), ACL_ERROR_HOST_MEMORY_NOT_REGISTERED, "not the start");
}

/* Ends behind the address space: sums with such sizes wrapped around, and the table took the region. */
TEST(impossible_host_memory) {
    use_device(0);
    char here[64];
    void *device;
    const uint64_t sizes[] = {UINT64_MAX, UINT64_MAX - 63, 1ull << 63, (uint64_t)-(uintptr_t)here};
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        CHECK_FAILS(aclrtHostRegister(here, sizes[i], ACL_HOST_REGISTER_MAPPED, &device),
                    ACL_ERROR_RT_PARAM_INVALID, "end behind the address space");
        CHECK_FAILS(aclrtMemcpy(here, sizes[i], here + 1, sizes[i], ACL_MEMCPY_HOST_TO_HOST),
                    ACL_ERROR_RT_PARAM_INVALID, "ends behind the address space");
        CHECK_FAILS(aclrtMemset(here, sizes[i], 0, sizes[i]), ACL_ERROR_RT_PARAM_INVALID,
                    "ends behind the address space");
        CHECK(aclrtMallocHost(&device, sizes[i]) != ACL_SUCCESS);
    }
}

TEST(usage_and_reset) {
    use_device(4);
    aclrtMemUsageInfo info;
    size_t count = 0;
    void *p;
    aclrtStream s;
    const size_t before = free_bytes();
    CHECK_OK(aclrtMalloc(&p, 2 * MB, ACL_MEM_MALLOC_HUGE_FIRST));
    CHECK_OK(aclrtCreateStream(&s));
    CHECK_OK(aclrtGetMemUsageInfo(4, &info, 1, &count));
    CHECK(count == 1 && info.curMemSize == 2 * MB && info.memPeakSize >= 2 * MB);
    CHECK_OK(aclrtResetDevice(4));
    CHECK_FAILS(aclrtFree(p), ACL_ERROR_RT_PARAM_INVALID, "freed already");
    CHECK_EQ(aclrtDestroyStream(s), ACL_ERROR_RT_INVALID_HANDLE);
    int32_t id;
    CHECK_OK(aclrtSetDevice(4));
    CHECK_OK(aclrtGetDevice(&id));
    CHECK_EQ(free_bytes(), before);
    CHECK_OK(aclrtSetDevice(0));
}
