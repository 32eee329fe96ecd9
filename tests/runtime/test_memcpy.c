// SPDX-License-Identifier: Apache-2.0
#include "hc_error.h"
#include "runtime_test.h"

enum { N = 4096 };

TEST(all_directions) {
    use_device(0);
    char from[N], to[N] = {0};
    void *a, *b, *pinned;
    for (int i = 0; i < N; i++) from[i] = (char)(i * 7);
    CHECK_OK(aclrtMalloc(&a, N, ACL_MEM_MALLOC_HUGE_FIRST));
    CHECK_OK(aclrtMalloc(&b, N, ACL_MEM_MALLOC_HUGE_FIRST));
    CHECK_OK(aclrtMallocHost(&pinned, N));
    CHECK_OK(aclrtMemcpy(a, N, from, N, ACL_MEMCPY_HOST_TO_DEVICE));
    CHECK_OK(aclrtMemcpyAsync(b, N, a, N, ACL_MEMCPY_DEVICE_TO_DEVICE, NULL));
    CHECK_OK(aclrtMemcpyAsyncWithCondition(pinned, N, b, N, ACL_MEMCPY_DEVICE_TO_HOST, NULL));
    CHECK_OK(aclrtSynchronizeStream(NULL));
    CHECK_OK(aclrtMemcpy(to, N, pinned, N, ACL_MEMCPY_HOST_TO_HOST));
    CHECK(memcmp(from, to, N) == 0);
    CHECK_OK(aclrtMemset(a, N, 0x5a, N));
    CHECK_OK(aclrtMemsetAsync(a, N, 0x11, 10, NULL));
    CHECK_OK(aclrtSynchronizeStream(NULL));
    CHECK_OK(aclrtMemcpy(to, N, a, N, ACL_MEMCPY_DEFAULT));
    CHECK(to[0] == 0x11 && to[9] == 0x11 && to[10] == 0x5a && to[N - 1] == 0x5a);
    CHECK_OK(aclrtMemcpy(to, 0, NULL, 0, ACL_MEMCPY_DEVICE_TO_HOST)); /* nothing is copied */
    CHECK_OK(aclrtFree(a));
    CHECK_OK(aclrtFree(b));
    CHECK_OK(aclrtFreeHost(pinned));
}

/* Its owner may free it as soon as the call is over, and no one synchronises before. */
TEST(a_long_transfer_of_memory_that_is_not_pinned_is_done_on_return) {
    use_device(0);
    enum { LONG = 8 << 20 };
    char *host = malloc(LONG), *back = malloc(LONG);
    void *p = NULL;
    CHECK_OK(aclrtMalloc(&p, LONG, ACL_MEM_MALLOC_HUGE_FIRST));
    for (size_t i = 0; i < LONG; i++) host[i] = (char)(i * 7);
    CHECK_OK(aclrtMemcpyAsync(p, LONG, host, LONG, ACL_MEMCPY_HOST_TO_DEVICE, NULL));
    memset(host, 0, LONG);
    CHECK_OK(aclrtMemcpyAsync(back, LONG, p, LONG, ACL_MEMCPY_DEVICE_TO_HOST, NULL));
    size_t wrong = 0;
    for (size_t i = 0; i < LONG; i++) wrong += back[i] != (char)(i * 7);
    CHECK(wrong == 0);
    CHECK_OK(aclrtFree(p));
    free(host), free(back);
}

/* In the order of its stream, wherever it runs. */
TEST(long_transfers_of_pinned_memory_keep_their_order) {
    use_device(0);
    enum { LONG = 8 << 20 };
    char *from = NULL, *back = NULL;
    void *p = NULL;
    CHECK_OK(aclrtMallocHost((void **)&from, LONG));
    CHECK_OK(aclrtMallocHost((void **)&back, LONG));
    CHECK_OK(aclrtMalloc(&p, LONG, ACL_MEM_MALLOC_HUGE_FIRST));
    for (size_t i = 0; i < LONG; i++) from[i] = (char)(i * 5);
    CHECK_OK(aclrtMemcpyAsync(p, LONG, from, LONG, ACL_MEMCPY_HOST_TO_DEVICE, NULL));
    CHECK_OK(aclrtMemsetAsync(p, LONG, 3, 1, NULL));
    CHECK_OK(aclrtMemcpyAsync(back, LONG, p, LONG, ACL_MEMCPY_DEVICE_TO_HOST, NULL));
    CHECK_OK(aclrtSynchronizeStream(NULL));
    size_t wrong = back[0] != 3;
    for (size_t i = 1; i < LONG; i++) wrong += back[i] != (char)(i * 5);
    CHECK(wrong == 0);
    CHECK_OK(aclrtFree(p));
    CHECK_OK(aclrtFreeHost(from));
    CHECK_OK(aclrtFreeHost(back));
}

TEST(bounds_are_checked_with_both_numbers) {
    use_device(0);
    char host[N];
    void *p;
    CHECK_OK(aclrtMalloc(&p, 1024, ACL_MEM_MALLOC_NORMAL_ONLY));
    CHECK_FAILS(aclrtMemcpy(p, 100, host, 101, ACL_MEMCPY_HOST_TO_DEVICE), ACL_ERROR_RT_PARAM_INVALID,
                "count 101 is more than destMax 100");
    CHECK_FAILS(aclrtMemcpyAsync(p, N, host, N, ACL_MEMCPY_HOST_TO_DEVICE, NULL), ACL_ERROR_RT_PARAM_INVALID,
                "1024 bytes left in its allocation, the copy needs 4096");
    CHECK_FAILS(aclrtMemcpy(host, N, (char *)p + 1000, 100, ACL_MEMCPY_DEVICE_TO_HOST),
                ACL_ERROR_RT_PARAM_INVALID, "24 bytes left");
    CHECK_FAILS(aclrtMemset(p, 10, 0, 11), ACL_ERROR_RT_PARAM_INVALID, "count 11 is more than maxCount 10");
    CHECK_FAILS(aclrtMemsetAsync(p, N, 0, N, NULL), ACL_ERROR_RT_PARAM_INVALID, "1024 bytes left");
    CHECK_FAILS(aclrtMemcpy(NULL, N, host, 1, ACL_MEMCPY_HOST_TO_DEVICE), ACL_ERROR_RT_PARAM_INVALID,
                "dst is null");
    CHECK_FAILS(aclrtMemcpy(host, N, host + 1, 1, ACL_MEMCPY_HOST_TO_DEVICE), ACL_ERROR_RT_PARAM_INVALID,
                "not device memory");
    CHECK_FAILS(aclrtMemcpy(p, 1, host, 1, 42), ACL_ERROR_RT_PARAM_INVALID, "kind 42");
    CHECK_OK(aclrtFree(p));
    CHECK_FAILS(aclrtMemcpy(p, 1, host, 1, ACL_MEMCPY_HOST_TO_DEVICE), ACL_ERROR_RT_PARAM_INVALID,
                "not device memory");
}

TEST(batch) {
    use_device(0);
    char host[3][64], back[3][64] = {{0}};
    void *p[3], *src[3] = {host[0], host[1], host[2]}, *dst[3] = {back[0], back[1], back[2]};
    size_t sizes[3] = {64, 64, 64}, max[3] = {64, 64, 64}, failed = 7, first = 0;
    memset(host, 3, sizeof host);
    for (int i = 0; i < 3; i++) CHECK_OK(aclrtMalloc(&p[i], 64, ACL_MEM_MALLOC_NORMAL_ONLY));
    aclrtMemcpyBatchAttr in = {.dstLoc = {0, ACL_MEM_LOCATION_TYPE_DEVICE},
                               .srcLoc = {0, ACL_MEM_LOCATION_TYPE_HOST}};
    aclrtMemcpyBatchAttr out = {.dstLoc = {0, ACL_MEM_LOCATION_TYPE_HOST},
                                .srcLoc = {0, ACL_MEM_LOCATION_TYPE_DEVICE}};
    CHECK_OK(aclrtMemcpyBatch(p, max, src, sizes, 3, &in, &first, 1, &failed));
    CHECK_EQ(failed, SIZE_MAX);
    CHECK_OK(aclrtMemcpyBatchAsync(dst, max, p, sizes, 3, &out, &first, 1, &failed, NULL));
    CHECK_OK(aclrtSynchronizeStream(NULL));
    CHECK(memcmp(host, back, sizeof host) == 0);
    max[1] = 10;
    CHECK_FAILS(aclrtMemcpyBatch(p, max, src, sizes, 3, &in, &first, 1, &failed), ACL_ERROR_RT_PARAM_INVALID,
                "destMax 10");
    CHECK_EQ(failed, 1);
    for (int i = 0; i < 3; i++) CHECK_OK(aclrtFree(p[i]));
}

TEST(values_and_cache_hints) {
    use_device(0);
    aclrtStream a, b;
    uint64_t *flag, seen = 0;
    CHECK_OK(aclrtMalloc((void **)&flag, 64, ACL_MEM_MALLOC_NORMAL_ONLY));
    CHECK_OK(aclrtCreateStream(&a));
    CHECK_OK(aclrtCreateStream(&b));
    CHECK_OK(aclrtValueWait(flag, 5, ACL_STREAM_WAIT_VALUE_EQ, b));
    CHECK_OK(aclrtMemcpyAsync(&seen, 8, flag, 8, ACL_MEMCPY_DEVICE_TO_HOST, b));
    sleep_ms(10);
    CHECK_EQ(seen, 0);
    CHECK_OK(aclrtValueWrite(flag, 5, 0, a));
    CHECK_OK(aclrtSynchronizeStream(b));
    CHECK_EQ(seen, 5);
    CHECK_OK(aclrtValueWait(flag, 99, ACL_STREAM_WAIT_VALUE_GEQ, b));
    CHECK_OK(aclrtDestroyStreamForce(b)); /* never written */
    CHECK_FAILS(aclrtValueWrite((char *)flag + 4, 1, 0, a), ACL_ERROR_RT_ADDR_UNALIGNED, "multiple of 8");
    CHECK_FAILS(aclrtValueWait(&seen, 1, 0, a), ACL_ERROR_RT_PARAM_INVALID, "not device memory");
    CHECK_OK(aclrtCmoAsync(flag, 64, ACL_RT_CMO_TYPE_PREFETCH, a));
    CHECK_FAILS(aclrtCmoAsync(flag, 1 << 20, ACL_RT_CMO_TYPE_PREFETCH, a), ACL_ERROR_RT_PARAM_INVALID,
                "not device memory");
    CHECK_OK(aclrtDestroyStream(a));
    CHECK_OK(aclrtFree(flag));
}

static aclError fail(void *arg) {
    (void)arg;
    return hc_fail(ACL_ERROR_RT_AICORE_EXCEPTION, "index 7 is out of range");
}

TEST(copy_right_behind_a_failed_synchronise_fails_alike) {
    use_device(0);
    char from[8] = "1234567", to[8] = "";
    CHECK_OK(hc_launch(NULL, &(struct hc_task){.name = "aclnnTest", .run = fail}));
    CHECK_FAILS(aclrtSynchronizeStream(NULL), ACL_ERROR_RT_AICORE_EXCEPTION, "aclnnTest: index 7");
    CHECK_FAILS(aclrtMemcpy(to, 8, from, 8, ACL_MEMCPY_HOST_TO_HOST), ACL_ERROR_RT_AICORE_EXCEPTION,
                "aclnnTest: index 7");
    CHECK_EQ(to[0], '\0');
    CHECK_OK(aclrtMemcpy(to, 8, from, 8, ACL_MEMCPY_HOST_TO_HOST));
    CHECK_EQ(to[0], '1');
    CHECK_OK(hc_launch(NULL, &(struct hc_task){.name = "aclnnTest", .run = fail}));
    CHECK_FAILS(aclrtSynchronizeStream(NULL), ACL_ERROR_RT_AICORE_EXCEPTION, "aclnnTest");
    CHECK_OK(aclrtSynchronizeStream(NULL));
    CHECK_OK(aclrtMemcpy(to, 8, from, 8, ACL_MEMCPY_HOST_TO_HOST));
}
