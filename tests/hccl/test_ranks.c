// SPDX-License-Identifier: Apache-2.0
/* Every collective between several ranks, small (in the posts) and large (mapped buffers). */
#include "harness.h"
#include "hccl_ranks.h"

enum { SMALL = 100, LARGE = 300001 };

static float *device_floats(size_t count) {
    void *p = NULL;
    return aclrtMalloc(&p, count * sizeof(float) + 4, 0) == 0 ? p : NULL;
}

/* What rank r has at i; small integers, so that sums are exact in any order. */
static float value(uint32_t r, size_t i) { return (float)((i * 7 + r * 13) % 101); }

static int all_reduce(struct rank *self, size_t count) {
    float *send = device_floats(count), *recv = device_floats(count);
    EXPECT(send && recv, "memory");
    for (size_t i = 0; i < count; i++) send[i] = value(self->rank, i);
    EXPECT_OK(
        HcclAllReduce(send, recv, count, HCCL_DATA_TYPE_FP32, HCCL_REDUCE_SUM, self->comm, self->stream));
    EXPECT_OK(
        HcclAllReduce(send, send, count, HCCL_DATA_TYPE_FP32, HCCL_REDUCE_MAX, self->comm, self->stream));
    EXPECT_OK(aclrtSynchronizeStream(self->stream));
    for (size_t i = 0; i < count; i++) {
        float sum = 0, max = 0;
        for (uint32_t r = 0; r < self->num_ranks; r++) {
            sum += value(r, i);
            max = value(r, i) > max ? value(r, i) : max;
        }
        EXPECT(recv[i] == sum, "[%zu] is %f, not %f", i, recv[i], sum);
        EXPECT(send[i] == max, "[%zu] is %f, not %f", i, send[i], max);
    }
    EXPECT_OK(aclrtFree(send));
    EXPECT_OK(aclrtFree(recv));
    return 0;
}

static int reduce_scatter(struct rank *self, size_t count) {
    const uint32_t n = self->num_ranks;
    float *send = device_floats(count * n), *recv = device_floats(count);
    EXPECT(send && recv, "memory");
    for (size_t i = 0; i < count * n; i++) send[i] = value(self->rank, i);
    EXPECT_OK(
        HcclReduceScatter(send, recv, count, HCCL_DATA_TYPE_FP32, HCCL_REDUCE_SUM, self->comm, self->stream));
    EXPECT_OK(HcclReduceScatter(send, send + self->rank * count, count, HCCL_DATA_TYPE_FP32, HCCL_REDUCE_SUM,
                                self->comm, self->stream));
    EXPECT_OK(aclrtSynchronizeStream(self->stream));
    for (size_t i = 0; i < count; i++) {
        float sum = 0;
        for (uint32_t r = 0; r < n; r++) sum += value(r, self->rank * count + i);
        EXPECT(recv[i] == sum && send[self->rank * count + i] == sum, "[%zu] is %f, not %f", i, recv[i], sum);
    }
    EXPECT_OK(aclrtFree(send));
    EXPECT_OK(aclrtFree(recv));
    return 0;
}

static int all_gather(struct rank *self, size_t count) {
    const uint32_t n = self->num_ranks;
    float *send = device_floats(count), *recv = device_floats(count * n);
    EXPECT(send && recv, "memory");
    for (size_t i = 0; i < count; i++) send[i] = value(self->rank, i);
    for (int in_place = 0; in_place < 2; in_place++) {
        if (in_place) memcpy(recv + self->rank * count, send, count * sizeof *send);
        EXPECT_OK(HcclAllGather(in_place ? recv + self->rank * count : send, recv, count, HCCL_DATA_TYPE_FP32,
                                self->comm, self->stream));
        EXPECT_OK(aclrtSynchronizeStream(self->stream));
        for (uint32_t r = 0; r < n; r++)
            for (size_t i = 0; i < count; i++)
                EXPECT(recv[r * count + i] == value(r, i), "[%zu] of %u is %f", i, r, recv[r * count + i]);
        EXPECT_OK(HcclBarrier(self->comm, self->stream));
        EXPECT_OK(aclrtSynchronizeStream(self->stream));
    }
    EXPECT_OK(aclrtFree(send));
    EXPECT_OK(aclrtFree(recv));
    return 0;
}

static int from_root(struct rank *self, size_t count) {
    const uint32_t n = self->num_ranks, root = n - 1;
    float *all = device_floats(count * n), *one = device_floats(count);
    EXPECT(all && one, "memory");
    for (size_t i = 0; i < count * n; i++) all[i] = value(self->rank, i);
    EXPECT_OK(HcclScatter(all, one, count, HCCL_DATA_TYPE_FP32, root, self->comm, self->stream));
    EXPECT_OK(HcclBroadcast(all, count, HCCL_DATA_TYPE_FP32, root, self->comm, self->stream));
    EXPECT_OK(aclrtSynchronizeStream(self->stream));
    for (size_t i = 0; i < count; i++) {
        EXPECT(one[i] == value(root, self->rank * count + i), "scatter [%zu] is %f", i, one[i]);
        EXPECT(all[i] == value(root, i), "broadcast [%zu] is %f", i, all[i]);
    }
    EXPECT_OK(aclrtFree(all));
    EXPECT_OK(aclrtFree(one));
    return 0;
}

static int reduce(struct rank *self, size_t count) {
    const uint32_t n = self->num_ranks, root = n / 2;
    float *send = device_floats(count), *recv = device_floats(count);
    EXPECT(send && recv, "memory");
    for (size_t i = 0; i < count; i++) send[i] = value(self->rank, i), recv[i] = -1;
    EXPECT_OK(
        HcclReduce(send, recv, count, HCCL_DATA_TYPE_FP32, HCCL_REDUCE_SUM, root, self->comm, self->stream));
    EXPECT_OK(aclrtSynchronizeStream(self->stream));
    for (size_t i = 0; i < count; i++) {
        float sum = 0;
        for (uint32_t r = 0; r < n; r++) sum += value(r, i);
        EXPECT(recv[i] == (self->rank == root ? sum : -1), "[%zu] is %f", i, recv[i]);
    }
    EXPECT_OK(aclrtFree(send));
    EXPECT_OK(aclrtFree(recv));
    return 0;
}

/* Rank r sends (r + peer) % 3 * count / 3 elements to each peer. */
static int all_to_all_v(struct rank *self, size_t count) {
    const uint32_t n = self->num_ranks;
    uint64_t sc[64], sd[64], rc[64], rd[64], s = 0, t = 0;
    for (uint32_t p = 0; p < n; p++) {
        sc[p] = (self->rank + 2 * p) % 3 * (count / 3);
        rc[p] = (p + 2 * self->rank) % 3 * (count / 3);
        sd[p] = s;
        rd[p] = t;
        s += sc[p];
        t += rc[p];
    }
    float *send = device_floats(s), *recv = device_floats(t);
    EXPECT(send && recv, "memory");
    for (uint32_t p = 0; p < n; p++)
        for (size_t i = 0; i < sc[p]; i++) send[sd[p] + i] = value(self->rank * 64 + p, i);
    EXPECT_OK(HcclAlltoAllV(send, sc, sd, HCCL_DATA_TYPE_FP32, recv, rc, rd, HCCL_DATA_TYPE_FP32, self->comm,
                            self->stream));
    EXPECT_OK(aclrtSynchronizeStream(self->stream));
    for (uint32_t p = 0; p < n; p++)
        for (size_t i = 0; i < rc[p]; i++)
            EXPECT(recv[rd[p] + i] == value(p * 64 + self->rank, i), "[%zu] of %u is %f", i, p,
                   recv[rd[p] + i]);
    EXPECT_OK(aclrtFree(send));
    EXPECT_OK(aclrtFree(recv));
    return 0;
}

/* Everyone sends to everyone, itself included, in one batch; then along the ring with plain calls. */
static int messages(struct rank *self, size_t count) {
    const uint32_t n = self->num_ranks;
    float *send = device_floats(count * n), *recv = device_floats(count * n);
    HcclSendRecvItem items[128];
    EXPECT(send && recv, "memory");
    for (uint32_t p = 0; p < n; p++) {
        for (size_t i = 0; i < count; i++) send[p * count + i] = value(self->rank * 64 + p, i);
        items[p] = (HcclSendRecvItem){HCCL_SEND, send + p * count, count, HCCL_DATA_TYPE_FP32, p};
        items[n + p] = (HcclSendRecvItem){HCCL_RECV, recv + p * count, count, HCCL_DATA_TYPE_FP32, p};
    }
    EXPECT_OK(HcclBatchSendRecv(items, 2 * n, self->comm, self->stream));
    EXPECT_OK(aclrtSynchronizeStream(self->stream));
    for (uint32_t p = 0; p < n; p++)
        for (size_t i = 0; i < count; i++)
            EXPECT(recv[p * count + i] == value(p * 64 + self->rank, i), "[%zu] of %u", i, p);
    const uint32_t next = (self->rank + 1) % n, last = (self->rank + n - 1) % n;
    if (self->rank % 2 == 0)
        EXPECT_OK(HcclSend(send, count, HCCL_DATA_TYPE_FP32, next, self->comm, self->stream));
    EXPECT_OK(HcclRecv(recv, count, HCCL_DATA_TYPE_FP32, last, self->comm, self->stream));
    if (self->rank % 2 == 1)
        EXPECT_OK(HcclSend(send, count, HCCL_DATA_TYPE_FP32, next, self->comm, self->stream));
    EXPECT_OK(aclrtSynchronizeStream(self->stream));
    for (size_t i = 0; i < count; i++) EXPECT(recv[i] == value(last * 64, i), "[%zu]", i);
    EXPECT_OK(aclrtFree(send));
    EXPECT_OK(aclrtFree(recv));
    return 0;
}

static int everything(struct rank *self) {
    static int (*const TESTS[])(struct rank *, size_t) = {all_reduce, reduce_scatter, all_gather, from_root,
                                                          reduce,     all_to_all_v,   messages};
    for (size_t t = 0; t < sizeof TESTS / sizeof TESTS[0]; t++) {
        if (TESTS[t](self, SMALL) != 0 || TESTS[t](self, LARGE) != 0 || TESTS[t](self, 1) != 0) return 1;
        if (TESTS[t](self, 0) != 0) return 1;
    }
    return 0;
}

TEST(two_ranks) { CHECK(run_ranks(2, 60, everything)); }
TEST(three_ranks) { CHECK(run_ranks(3, 60, everything)); }
TEST(eight_ranks) { CHECK(run_ranks(8, 120, everything)); }
