// SPDX-License-Identifier: Apache-2.0
/* Links of a chosen speed (MINDSPEED_HCCL_LINK): an operation takes what such a link would, asleep. */
#include <sys/resource.h>

#include "harness.h"
#include "hccl_config.h"
#include "hccl_ranks.h"

/* 4 ranks; 0.1 GB/s and 2 ms a message: an all-reduce of 1 MiB has 6 steps and sends 1.5 MiB. */
enum { RANKS = 4, COUNT = 1 << 18, BYTES = COUNT * 4 };
#define FP32 HCCL_DATA_TYPE_FP32
static const double STEP = 2e-3, MIB = BYTES / 0.1e9;

/* Time beyond this is no property of the link: the machine may be busy, a factor of the model is not. */
static const double SLACK = 1.0;

static float *floats(size_t count) {
    void *p = NULL;
    return aclrtMalloc(&p, count * sizeof(float), 0) == 0 ? p : NULL;
}

static double cpu_seconds(void) {
    struct rusage u;
    getrusage(RUSAGE_SELF, &u);
    return (double)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) +
           (double)(u.ru_utime.tv_usec + u.ru_stime.tv_usec) * 1e-6;
}

/* From before the call until its stream is done; the ranks begin together. */
#define TAKES(wanted, call)                                                                                  \
    do {                                                                                                     \
        host_barrier(self);                                                                                  \
        const double begin = seconds_now(), link = (wanted);                                                 \
        EXPECT_OK(call);                                                                                     \
        EXPECT_OK(aclrtSynchronizeStream(self->stream));                                                     \
        const double took = seconds_now() - begin;                                                           \
        EXPECT(took >= link && took < link + SLACK, "took %.3f s, the link %.3f", took, link);               \
    } while (0)

static int each_kind(struct rank *self) {
    const uint32_t n = self->num_ranks, r = self->rank;
    float *a = floats(RANKS * COUNT), *b = floats(RANKS * COUNT);
    EXPECT(a && b, "memory");
    for (int i = 0; i < COUNT; i++) a[i] = 1;
    TAKES(6 * STEP + 1.5 * MIB, HcclAllReduce(a, b, COUNT, FP32, HCCL_REDUCE_SUM, self->comm, self->stream));
    EXPECT(b[0] == RANKS && b[COUNT - 1] == RANKS, "%f", b[0]);
    TAKES(3 * STEP + 3 * MIB, HcclAllGather(a, b, COUNT, FP32, self->comm, self->stream));
    TAKES(3 * STEP + 3 * MIB,
          HcclReduceScatter(a, b, COUNT, FP32, HCCL_REDUCE_SUM, self->comm, self->stream));
    TAKES(3 * STEP + 3 * MIB, HcclAlltoAll(a, COUNT, FP32, b, COUNT, FP32, self->comm, self->stream));
    TAKES(2 * STEP + MIB, HcclBroadcast(a, COUNT, FP32, 1, self->comm, self->stream));
    TAKES(2 * STEP + MIB, HcclReduce(a, b, COUNT, FP32, HCCL_REDUCE_SUM, 0, self->comm, self->stream));
    TAKES(3 * STEP + 3 * MIB, HcclScatter(a, b, COUNT, FP32, 0, self->comm, self->stream));
    TAKES(2 * STEP, HcclBarrier(self->comm, self->stream));
    HcclSendRecvItem ring[] = {{HCCL_SEND, a, COUNT, FP32, (r + 1) % n},
                               {HCCL_RECV, b, COUNT, FP32, (r + n - 1) % n}};
    TAKES(STEP + MIB, HcclBatchSendRecv(ring, 2, self->comm, self->stream));
    return 0;
}

TEST(each_kind_takes_what_the_link_does) {
    setenv("MINDSPEED_HCCL_LINK", "0.1,2000", 1);
    CHECK(run_ranks(RANKS, 60, each_kind));
}

/* A second of link costs the cores next to nothing, and another stream works meanwhile. */
static int beside(struct rank *self) {
    const double seconds = 1.0, cpu = cpu_seconds(), begin = seconds_now();
    aclrtStream other;
    float *a = floats(COUNT), *b = floats(COUNT);
    EXPECT(a && b, "memory");
    EXPECT_OK(aclrtCreateStream(&other));
    EXPECT_OK(HcclBarrier(self->comm, self->stream));
    EXPECT_OK(aclrtMemcpyAsync(b, BYTES, a, BYTES, ACL_MEMCPY_DEVICE_TO_DEVICE, other));
    EXPECT_OK(aclrtSynchronizeStream(other));
    const double beside_it = seconds_now() - begin;
    EXPECT_OK(aclrtSynchronizeStream(self->stream));
    EXPECT(seconds_now() - begin >= seconds, "the link was not waited for");
    EXPECT(beside_it < seconds, "%f s for a copy in another stream", beside_it);
    EXPECT(cpu_seconds() - cpu < seconds / 2, "%f s of CPU for %f of link", cpu_seconds() - cpu, seconds);
    EXPECT_OK(aclrtDestroyStream(other));
    return 0;
}

TEST(cores_are_free_meanwhile) {
    setenv("MINDSPEED_HCCL_LINK", "1,1000000", 1);
    CHECK(run_ranks(2, 60, beside));
}

/* A part of the group, as "tp" and as "dp": only the first has a link. */
static int named(struct rank *self) {
    static const char *const LABELS[] = {"tp", "dp"};
    uint32_t ranks[] = {0, 1};
    for (int i = 0; i < 2; i++) {
        HcclCommConfig config;
        HcclComm part = NULL;
        init_config(&config, sizeof config);
        snprintf(config.hcclUdi, sizeof config.hcclUdi, "%s", LABELS[i]);
        EXPECT_OK(
            HcclCreateSubCommConfig(&self->comm, 2, ranks, (uint64_t)i + 1, self->rank, &config, &part));
        host_barrier(self);
        const double begin = seconds_now();
        EXPECT_OK(HcclBarrier(part, self->stream));
        EXPECT_OK(aclrtSynchronizeStream(self->stream));
        const double took = seconds_now() - begin;
        EXPECT(i == 0 ? took >= 3 : took < 3, "%s took %f s", LABELS[i], took);
        EXPECT_OK(HcclCommDestroy(part));
    }
    return 0;
}

TEST(a_group_by_its_name) {
    setenv("MINDSPEED_HCCL_LINK", "tp=1,3000000", 1);
    CHECK(run_ranks(2, 60, named));
}
