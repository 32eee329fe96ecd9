// SPDX-License-Identifier: Apache-2.0
/* Collectives and point-to-point calls of one rank: contents, stream order, bad arguments. */
#include "harness.h"
#include "hccl/hccl.h"

enum { N = 1000 };

struct fixture {
    HcclComm comm;
    aclrtStream stream;
    float *send, *recv;
};

static bool make_fixture(struct fixture *f) {
    static bool ready;
    HcclRootInfo info;
    void *send, *recv;
    if (!ready) ready = aclInit(NULL) == 0;
    if (!ready || aclrtSetDevice(0) != 0 || aclrtCreateStream(&f->stream) != 0) return false;
    if (aclrtMalloc(&send, N * sizeof(float), 0) != 0 || aclrtMalloc(&recv, N * sizeof(float), 0) != 0)
        return false;
    f->send = send;
    f->recv = recv;
    for (int i = 0; i < N; i++) {
        f->send[i] = (float)i;
        f->recv[i] = -1;
    }
    if (HcclGetRootInfo(&info) != HCCL_SUCCESS) return false;
    return HcclCommInitRootInfo(1, &info, 0, &f->comm) == HCCL_SUCCESS;
}

static void drop_fixture(struct fixture *f) {
    HcclCommDestroy(f->comm);
    aclrtDestroyStream(f->stream);
    aclrtFree(f->send);
    aclrtFree(f->recv);
}

static bool received(const struct fixture *f, int count) {
    if (aclrtSynchronizeStream(f->stream) != 0) return false;
    for (int i = 0; i < N; i++) {
        if (f->recv[i] != (i < count ? (float)i : -1.0F)) return false;
    }
    return true;
}

/* Each test runs `call` in a fresh fixture `f` and expects the first `count` elements to have arrived. */
#define TEST_ARRIVES(name, count, call)                                                                      \
    TEST(name) {                                                                                             \
        struct fixture f;                                                                                    \
        CHECK(make_fixture(&f));                                                                             \
        CHECK_EQ(call, HCCL_SUCCESS);                                                                        \
        CHECK(received(&f, count));                                                                          \
        drop_fixture(&f);                                                                                    \
    }
#define FP32 HCCL_DATA_TYPE_FP32
TEST_ARRIVES(all_reduce, N, HcclAllReduce(f.send, f.recv, N, FP32, HCCL_REDUCE_SUM, f.comm, f.stream))
TEST_ARRIVES(all_reduce_bytes, 500,
             HcclAllReduce(f.send, f.recv, 1000, HCCL_DATA_TYPE_BFP16, HCCL_REDUCE_MAX, f.comm, f.stream))
TEST_ARRIVES(all_reduce_nothing, 0, HcclAllReduce(NULL, NULL, 0, FP32, HCCL_REDUCE_SUM, f.comm, f.stream))
TEST_ARRIVES(reduce, N, HcclReduce(f.send, f.recv, N, FP32, HCCL_REDUCE_MIN, 0, f.comm, f.stream))
TEST_ARRIVES(all_gather, 3, HcclAllGather(f.send, f.recv, 3, FP32, f.comm, f.stream))
TEST_ARRIVES(reduce_scatter, N,
             HcclReduceScatter(f.send, f.recv, N, FP32, HCCL_REDUCE_PROD, f.comm, f.stream))
TEST_ARRIVES(scatter, N, HcclScatter(f.send, f.recv, N, FP32, 0, f.comm, f.stream))
TEST_ARRIVES(all_to_all, N, HcclAlltoAll(f.send, N, FP32, f.recv, N, FP32, f.comm, f.stream))
TEST_ARRIVES(all_to_all_two_types, N,
             HcclAlltoAll(f.send, N, FP32, f.recv, N / 2, HCCL_DATA_TYPE_INT64, f.comm, f.stream))
static const uint64_t HUNDRED[] = {100}, ZERO[] = {0};
TEST_ARRIVES(all_to_all_v, 100,
             HcclAlltoAllV(f.send, HUNDRED, ZERO, FP32, f.recv, HUNDRED, ZERO, FP32, f.comm, f.stream))
TEST_ARRIVES(all_to_all_vc, 100, HcclAlltoAllVC(f.send, HUNDRED, FP32, f.recv, FP32, f.comm, f.stream))
TEST_ARRIVES(all_gather_v, 100, HcclAllGatherV(f.send, 100, f.recv, HUNDRED, ZERO, FP32, f.comm, f.stream))
TEST_ARRIVES(reduce_scatter_v, 100,
             HcclReduceScatterV(f.send, HUNDRED, ZERO, f.recv, 100, FP32, HCCL_REDUCE_SUM, f.comm, f.stream))
TEST_ARRIVES(barrier, 0, HcclBarrier(f.comm, f.stream))

TEST(displacements) {
    struct fixture f;
    CHECK(make_fixture(&f));
    CHECK_EQ(HcclAlltoAllV(f.send, ZERO + 0, ZERO, FP32, NULL, ZERO, ZERO, FP32, f.comm, f.stream),
             HCCL_SUCCESS);
    CHECK_EQ(HcclAlltoAllV(f.send, HUNDRED, HUNDRED, FP32, f.recv, HUNDRED, HUNDRED, FP32, f.comm, f.stream),
             HCCL_SUCCESS);
    CHECK_EQ(aclrtSynchronizeStream(f.stream), 0);
    for (int i = 0; i < N; i++) CHECK_EQ(f.recv[i], i >= 100 && i < 200 ? i : -1);
    drop_fixture(&f);
}

TEST(in_place_and_broadcast) {
    struct fixture f;
    CHECK(make_fixture(&f));
    CHECK_EQ(HcclAllReduce(f.send, f.send, N, FP32, HCCL_REDUCE_SUM, f.comm, f.stream), HCCL_SUCCESS);
    CHECK_EQ(HcclBroadcast(f.send, N, FP32, 0, f.comm, f.stream), HCCL_SUCCESS);
    CHECK_EQ(aclrtSynchronizeStream(f.stream), 0);
    for (int i = 0; i < N; i++) CHECK_EQ(f.send[i], i);
    drop_fixture(&f);
}

/* A collective waits for what was queued before it, and what is queued after it waits for the collective. */
TEST(stream_order) {
    struct fixture f;
    CHECK(make_fixture(&f));
    for (int round = 0; round < 100; round++) {
        CHECK_EQ(aclrtMemsetAsync(f.send, N * sizeof(float), round, N * sizeof(float), f.stream), 0);
        CHECK_EQ(HcclAllReduce(f.send, f.recv, N, FP32, HCCL_REDUCE_SUM, f.comm, f.stream), HCCL_SUCCESS);
        CHECK_EQ(aclrtMemsetAsync(f.send, N * sizeof(float), 0xff, N * sizeof(float), f.stream), 0);
        CHECK_EQ(aclrtSynchronizeStream(f.stream), 0);
        CHECK_EQ(((const unsigned char *)f.recv)[N * sizeof(float) - 1], round);
    }
    drop_fixture(&f);
}

TEST(bad_arguments) {
    struct fixture f;
    int no_stream = 0;
    CHECK(make_fixture(&f));
    CHECK_EQ(HcclAllReduce(f.send, f.recv, N, 13, HCCL_REDUCE_SUM, f.comm, f.stream), HCCL_E_PARA);
    CHECK(strstr(aclGetRecentErrMsg(), "HcclAllReduce: 13 is no data type") != NULL);
    CHECK_EQ(HcclAllReduce(f.send, f.recv, N, FP32, 9, f.comm, f.stream), HCCL_E_PARA);
    CHECK_EQ(HcclAllReduce(NULL, f.recv, N, FP32, HCCL_REDUCE_SUM, f.comm, f.stream), HCCL_E_PTR);
    CHECK_EQ(HcclAllReduce(f.send, f.recv, UINT64_MAX, FP32, HCCL_REDUCE_SUM, f.comm, f.stream), HCCL_E_PARA);
    CHECK_EQ(HcclBroadcast(f.send, N, FP32, 1, f.comm, f.stream), HCCL_E_PARA);
    CHECK_EQ(HcclAlltoAll(f.send, 10, FP32, f.recv, 11, FP32, f.comm, f.stream), HCCL_E_PARA);
    CHECK_EQ(HcclAllGatherV(f.send, 10, f.recv, NULL, ZERO, FP32, f.comm, f.stream), HCCL_E_PTR);
    CHECK_EQ(HcclBarrier(f.comm, &no_stream), HCCL_E_PARA);
    CHECK_EQ(HcclBarrier(&no_stream, f.stream), HCCL_E_NOT_FOUND);
    CHECK(received(&f, 0));
    drop_fixture(&f);
}

/* Sizes that are no memory, though they fit into 64 bits, and sums of slices that do not. */
TEST(sizes_beyond_all_memory) {
    struct fixture f;
    CHECK(make_fixture(&f));
    const HcclDataType INT8 = HCCL_DATA_TYPE_INT8;
    const HcclReduceOp SUM = HCCL_REDUCE_SUM;
    const uint64_t half = 1ull << 63, half_of[1] = {half}, one_of[1] = {1}, last_of[1] = {UINT64_MAX - 1};
    CHECK_EQ(HcclAllReduce(f.send, f.recv, half, INT8, SUM, f.comm, f.stream), HCCL_E_PARA);
    CHECK(strstr(aclGetRecentErrMsg(), "HcclAllReduce: 9223372036854775808 elements of 1 bytes") != NULL);
    CHECK_EQ(HcclAllReduce(f.send, f.recv, half - 1, INT8, SUM, f.comm, f.stream), HCCL_E_PARA);
    CHECK(strstr(aclGetRecentErrMsg(), "overlap") != NULL);
    char *high = (char *)(UINTPTR_MAX - 10);
    CHECK_EQ(HcclAllReduce(high, f.recv, 11, INT8, SUM, f.comm, f.stream), HCCL_E_PARA);
    CHECK(strstr(aclGetRecentErrMsg(), "sendBuf, 11 bytes at 0xfffffffffffffff5, ends behind") != NULL);
    CHECK_EQ(HcclBroadcast(f.send, UINT64_MAX, INT8, 0, f.comm, f.stream), HCCL_E_PARA);
    CHECK_EQ(HcclAllGather(f.send, f.recv, half, INT8, f.comm, f.stream), HCCL_E_PARA);
    CHECK_EQ(HcclScatter(f.send, f.recv, half, INT8, 0, f.comm, f.stream), HCCL_E_PARA);
    CHECK_EQ(HcclAllGatherV(f.send, half, f.recv, half_of, ZERO, INT8, f.comm, f.stream), HCCL_E_PARA);
    CHECK_EQ(HcclAllGatherV(f.send, 1, f.recv, one_of, last_of, INT8, f.comm, f.stream), HCCL_E_PARA);
    CHECK_EQ(HcclAlltoAllVC(f.send, half_of, INT8, f.recv, INT8, f.comm, f.stream), HCCL_E_PARA);
    HcclSendRecvItem items[] = {{HCCL_SEND, f.send, half, INT8, 0}, {HCCL_RECV, f.recv, half, INT8, 0}};
    CHECK_EQ(HcclBatchSendRecv(items, 2, f.comm, f.stream), HCCL_E_PARA);
    items[0].count = items[1].count = 11;
    items[0].buf = high;
    CHECK_EQ(HcclBatchSendRecv(items, 2, f.comm, f.stream), HCCL_E_PARA);
    CHECK(received(&f, 0));
    drop_fixture(&f);
}

TEST(suspended_comm_refuses_work) {
    struct fixture f;
    CHECK(make_fixture(&f));
    CHECK_EQ(HcclCommSuspend(f.comm), HCCL_SUCCESS);
    CHECK_EQ(HcclBarrier(f.comm, f.stream), HCCL_E_SUSPENDING);
    CHECK_EQ(HcclCommResume(f.comm), HCCL_SUCCESS);
    CHECK_EQ(HcclBarrier(f.comm, f.stream), HCCL_SUCCESS);
    drop_fixture(&f);
}

TEST(batch_send_recv_to_self) {
    struct fixture f;
    CHECK(make_fixture(&f));
    HcclSendRecvItem items[] = {{HCCL_RECV, f.recv, 10, FP32, 0},
                                {HCCL_RECV, f.recv + 10, 20, FP32, 0},
                                {HCCL_SEND, f.send, 10, FP32, 0},
                                {HCCL_SEND, f.send + 10, 20, FP32, 0}};
    CHECK_EQ(HcclBatchSendRecv(items, 4, f.comm, f.stream), HCCL_SUCCESS);
    CHECK(received(&f, 30));
    CHECK_EQ(HcclBatchSendRecv(items, 3, f.comm, f.stream), HCCL_E_PARA); /* a receive without its send */
    items[3].count = 21;
    CHECK_EQ(HcclBatchSendRecv(items, 4, f.comm, f.stream), HCCL_E_PARA);
    items[3].remoteRank = 1;
    CHECK_EQ(HcclBatchSendRecv(items, 4, f.comm, f.stream), HCCL_E_PARA);
    drop_fixture(&f);
}

TEST(group_send_recv_to_self) {
    struct fixture f;
    CHECK(make_fixture(&f));
    CHECK_EQ(HcclSend(f.send, N, FP32, 0, f.comm, f.stream), HCCL_E_PARA); /* would wait for ever */
    CHECK_EQ(HcclGroupStart(), HCCL_SUCCESS);
    CHECK_EQ(HcclGroupStart(), HCCL_SUCCESS);
    CHECK_EQ(HcclSend(f.send, N, FP32, 0, f.comm, f.stream), HCCL_SUCCESS);
    CHECK_EQ(HcclGroupEnd(), HCCL_SUCCESS);
    CHECK_EQ(HcclRecv(f.recv, N, FP32, 0, f.comm, f.stream), HCCL_SUCCESS);
    CHECK(received(&f, 0));
    CHECK_EQ(HcclGroupEnd(), HCCL_SUCCESS);
    CHECK(received(&f, N));
    CHECK_EQ(HcclGroupEnd(), HCCL_E_PARA);
    drop_fixture(&f);
}
