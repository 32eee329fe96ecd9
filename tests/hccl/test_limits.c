// SPDX-License-Identifier: Apache-2.0
/* What communicators take: memory of the board, open files, names at the place where ranks meet. */
#include <sys/resource.h>

#include "harness.h"
#include "hc_util.h"
#include "hccl_config.h"
#include "hccl_ranks.h"

enum { LARGE = 100000 };
#define FP32 HCCL_DATA_TYPE_FP32

static float *floats(size_t count) {
    void *p = NULL;
    return aclrtMalloc(&p, count * sizeof(float), 0) == 0 ? p : NULL;
}

/* Bytes of all boards that this process maps: mapped, and really there (in the page cache, whoever touched
 * them). */
static int measure(size_t *mapped, size_t *there) {
    FILE *file = fopen("/proc/self/maps", "r");
    char line[512];
    *mapped = *there = 0;
    while (file != NULL && fgets(line, sizeof line, file) != NULL) {
        unsigned long begin, end;
        if (strstr(line, "/memfd:hccl ") == NULL || sscanf(line, "%lx-%lx", &begin, &end) != 2) continue;
        const size_t pages = (end - begin) / 4096;
        unsigned char *in = malloc(pages);
        if (in == NULL || mincore((void *)begin, end - begin, in) != 0) return 1;
        for (size_t i = 0; i < pages; i++) *there += (size_t)(in[i] & 1) * 4096;
        *mapped += end - begin;
        free(in);
    }
    if (file != NULL) fclose(file);
    return 0;
}

/* Every kind of traffic, between all pairs. */
static int use_all(struct rank *self) {
    const uint32_t n = self->num_ranks;
    float *a = floats(LARGE), *b = floats(LARGE);
    HcclSendRecvItem items[128];
    EXPECT(a && b, "memory");
    for (int round = 0; round < 20; round++) {
        EXPECT_OK(HcclAllReduce(a, b, 1000, FP32, HCCL_REDUCE_SUM, self->comm, self->stream));
        EXPECT_OK(HcclAllReduce(a, b, LARGE, FP32, HCCL_REDUCE_SUM, self->comm, self->stream));
        EXPECT_OK(HcclAlltoAll(a, 100, FP32, b, 100, FP32, self->comm, self->stream));
        for (uint32_t p = 0; p < n; p++) {
            items[2 * p] = (HcclSendRecvItem){HCCL_SEND, a + 1000 * p, round % 2 ? 1000 : 100, FP32, p};
            items[2 * p + 1] = (HcclSendRecvItem){HCCL_RECV, b + 1000 * p, round % 2 ? 1000 : 100, FP32, p};
        }
        EXPECT_OK(HcclBatchSendRecv(items, 2 * n, self->comm, self->stream));
    }
    EXPECT_OK(aclrtSynchronizeStream(self->stream));
    return 0;
}

static size_t g_limit;
static int board_memory(struct rank *self) {
    size_t mapped, before, after;
    EXPECT(measure(&mapped, &before) == 0, "cannot measure");
    host_barrier(self);
    if (use_all(self) != 0) return 1;
    host_barrier(self);
    EXPECT(measure(&mapped, &after) == 0, "cannot measure");
    if (self->rank == 0)
        printf("board of %u ranks: %zu KiB mapped, %zu KiB after creation, %zu KiB after use\n",
               self->num_ranks, mapped >> 10, before >> 10, after >> 10);
    fflush(stdout);
    EXPECT(before > 0 && after >= before && after <= mapped, "not measured");
    EXPECT(mapped <= g_limit, "%zu bytes are mapped, %zu allowed", mapped, g_limit);
    return 0;
}
static bool board_of(uint32_t num_ranks, const char *megabytes, size_t limit) {
    g_limit = limit;
    if (megabytes != NULL) setenv("HCCL_BUFFSIZE", megabytes, 1);
    const bool good = run_ranks(num_ranks, 200, board_memory);
    unsetenv("HCCL_BUFFSIZE");
    return good;
}
TEST(memory_of_a_communicator_is_bounded) {
    setenv("MINDSPEED_NUM_DEVICES", "32", 1);
    /* Every rank maps all of every other, and sanitizers leave little room. */
    setenv("MINDSPEED_DEVICE_MEMORY", "1G", 1);
    const bool good = board_of(2, NULL, 200 << 20) && board_of(8, NULL, 200 << 20) &&
                      board_of(32, NULL, 200 << 20) && board_of(2, "1", 1 << 20) &&
                      board_of(8, "1", 1 << 20) && board_of(16, "4", 4 << 20);
    unsetenv("MINDSPEED_NUM_DEVICES");
    unsetenv("MINDSPEED_DEVICE_MEMORY");
    CHECK(good);
}

/* Slots have a least size: where they do not fit, no rank goes on with more memory than was allowed. */
static int too_little(struct rank *self) {
    uint32_t all[16];
    for (uint32_t r = 0; r < 16; r++) all[r] = r;
    HcclCommConfig config;
    init_config(&config, sizeof config);
    config.hcclBufferSize = 1;
    HcclComm part = NULL;
    const HcclResult status = HcclCreateSubCommConfig(&self->comm, 16, all, 7, self->rank, &config, &part);
    EXPECT(status == HCCL_E_PARA && part == NULL, "status %d", status);
    const char *text = aclGetRecentErrMsg();
    EXPECT(text && strstr(text, "HCCL_BUFFSIZE is 1 MB, wanted at least 3 MB for 16 ranks"), "%s", text);
    return 0;
}
TEST(too_small_buffers_are_refused) {
    setenv("MINDSPEED_NUM_DEVICES", "16", 1);
    setenv("MINDSPEED_DEVICE_MEMORY", "1G", 1);
    const bool good = run_ranks(16, 100, too_little);
    unsetenv("MINDSPEED_NUM_DEVICES");
    unsetenv("MINDSPEED_DEVICE_MEMORY");
    CHECK(good);
}

/* Many communicators share what they know of a process: 1024 open files are the usual limit. */
static int many(struct rank *self) {
    enum { COMMS = 120 };
    uint32_t all[] = {0, 1, 2, 3};
    HcclComm comms[COMMS];
    float *a = floats(100);
    EXPECT(a, "memory");
    const struct rlimit limit = {128, 128};
    EXPECT_OK(setrlimit(RLIMIT_NOFILE, &limit));
    for (uint32_t i = 0; i < COMMS; i++)
        EXPECT_OK(HcclCreateSubCommConfig(&self->comm, self->num_ranks, all, i, self->rank, NULL, &comms[i]));
    for (uint32_t i = 0; i < COMMS; i++) {
        a[0] = (float)(self->rank + i);
        EXPECT_OK(HcclAllReduce(a, a, 1, FP32, HCCL_REDUCE_MAX, comms[i], self->stream));
        EXPECT_OK(aclrtSynchronizeStream(self->stream));
        EXPECT(a[0] == (float)(self->num_ranks - 1 + i), "%f", a[0]);
    }
    for (uint32_t i = 0; i < COMMS; i++) EXPECT_OK(HcclCommDestroy(comms[i]));
    return 0;
}
TEST(many_communicators) { CHECK(run_ranks(4, 100, many)); }

/* A process that made many root infos still answers for parts of the first communicator. */
static int many_infos(struct rank *self) {
    uint32_t all[] = {0, 1};
    HcclComm part;
    for (int i = 0; i < 300 && self->rank == 0; i++) {
        HcclRootInfo info;
        EXPECT_OK(HcclGetRootInfo(&info));
    }
    host_barrier(self);
    EXPECT_OK(HcclCreateSubCommConfig(&self->comm, 2, all, 1, self->rank, NULL, &part));
    EXPECT_OK(HcclCommDestroy(part));
    return 0;
}
TEST(many_root_infos) { CHECK(run_ranks(2, 60, many_infos)); }
