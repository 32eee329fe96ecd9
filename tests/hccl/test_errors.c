// SPDX-License-Identifier: Apache-2.0
/* What several ranks get when something is wrong: all of them an error, at once, whose text names the ranks
 * and what they called; and afterwards they can go on. */
#include "harness.h"
#include "hc_error.h"
#include "hc_launch.h"
#include "hccl_ranks.h"

enum { N = 1000 };
/* A rank looks for errors of others every 50 ms; the rest is for a busy machine. */
static const double AT_ONCE = 15;

static float *g_send, *g_recv;

static int allocate(struct rank *self) {
    void *send, *recv;
    EXPECT_OK(aclrtMalloc(&send, N * 8 * sizeof(float), 0));
    EXPECT_OK(aclrtMalloc(&recv, N * 8 * sizeof(float), 0));
    g_send = send;
    g_recv = recv;
    for (int i = 0; i < N; i++) g_send[i] = 1;
    return 0;
}

/* A rank that calls late may find the communicator failed already: then the call itself returns the error. */
static char g_refused[1024];
static void note(HcclResult code) {
    if (code != HCCL_SUCCESS && g_refused[0] == '\0')
        snprintf(g_refused, sizeof g_refused, "%s", aclGetRecentErrMsg());
}

/* The error of the stream, or of the call before, comes soon and its text has all of the words. */
static int fails(struct rank *self, aclrtStream stream, double seconds, const char *const *words,
                 size_t count) {
    const double begin = seconds_now();
    const aclError code = aclrtSynchronizeStreamWithTimeout(stream, 20000);
    const double took = seconds_now() - begin;
    char text[1024];
    snprintf(text, sizeof text, "%s", code != 0 ? aclGetRecentErrMsg() : g_refused);
    EXPECT(text[0] != '\0', "no error");
    for (size_t i = 0; i < count; i++)
        EXPECT(words[i] == NULL || strstr(text, words[i]) != NULL, "no '%s' in '%s'", words[i], text);
    EXPECT(took < seconds, "took %.2f s", took);
    g_refused[0] = '\0';
    return 0;
}
#define FAILS(stream, seconds, ...)                                                                          \
    do {                                                                                                     \
        const char *const words_[] = {__VA_ARGS__};                                                          \
        if (fails(self, stream, seconds, words_, sizeof words_ / sizeof words_[0]) != 0) return 1;           \
    } while (0)
#define TRY(call)                                                                                            \
    do {                                                                                                     \
        if ((call) != 0) return 1;                                                                           \
    } while (0)

/* After a failure all ranks resume, and the communicator works as before. */
static int goes_on(struct rank *self) {
    HcclResult async = HCCL_SUCCESS;
    EXPECT_OK(HcclGetCommAsyncError(self->comm, &async));
    EXPECT(async != HCCL_SUCCESS, "the communicator has no error");
    EXPECT(HcclBarrier(self->comm, self->stream) == async, "a call of a broken communicator");
    EXPECT_OK(HcclCommResume(self->comm));
    EXPECT_OK(HcclGetCommAsyncError(self->comm, &async));
    EXPECT(async == HCCL_SUCCESS, "error %d after resuming", (int)async);
    for (int i = 0; i < N; i++) g_send[i] = 1;
    for (int round = 0; round < 3; round++) {
        EXPECT_OK(
            HcclAllReduce(g_send, g_recv, N, HCCL_DATA_TYPE_FP32, HCCL_REDUCE_SUM, self->comm, self->stream));
        EXPECT_OK(aclrtSynchronizeStream(self->stream));
        for (int i = 0; i < N; i++) EXPECT(g_recv[i] == (float)self->num_ranks, "[%d] is %f", i, g_recv[i]);
    }
    return 0;
}

/* Rank 1 differs from all others in one thing; everybody hears of it. */
#define MISMATCH(name, usual, odd, ...)                                                                      \
    static int name(struct rank *self) {                                                                     \
        HcclComm comm = self->comm;                                                                          \
        aclrtStream stream = self->stream;                                                                   \
        TRY(allocate(self));                                                                                 \
        note(self->rank == 1 ? odd : usual);                                                                 \
        FAILS(stream, AT_ONCE, "differs between ranks", "rank 1 called", __VA_ARGS__);                       \
        return goes_on(self);                                                                                \
    }                                                                                                        \
    TEST(mismatch_##name) {                                                                                  \
        CHECK(run_ranks(2, 60, name));                                                                       \
        CHECK(run_ranks(4, 60, name));                                                                       \
    }
#define FP32 HCCL_DATA_TYPE_FP32
#define SUM HCCL_REDUCE_SUM
MISMATCH(count, HcclAllReduce(g_send, g_recv, 100, FP32, SUM, comm, stream),
         HcclAllReduce(g_send, g_recv, 101, FP32, SUM, comm, stream), "HcclAllReduce (100 float32",
         "(101 float32")
MISMATCH(large_count, HcclAllReduce(g_send, g_recv, 8 * N, FP32, SUM, comm, stream),
         HcclAllReduce(g_send, g_recv, 101, FP32, SUM, comm, stream), "(8000 float32", "(101 float32")
MISMATCH(type, HcclAllReduce(g_send, g_recv, 100, FP32, SUM, comm, stream),
         HcclAllReduce(g_send, g_recv, 100, HCCL_DATA_TYPE_INT32, SUM, comm, stream), "100 float32",
         "100 int32")
MISMATCH(operation, HcclAllReduce(g_send, g_recv, 100, FP32, SUM, comm, stream),
         HcclAllReduce(g_send, g_recv, 100, FP32, HCCL_REDUCE_MAX, comm, stream), "sum", "max")
MISMATCH(root, HcclBroadcast(g_send, 100, FP32, 0, comm, stream),
         HcclBroadcast(g_send, 100, FP32, 1, comm, stream), "root 0", "root 1")
MISMATCH(root_of_reduce, HcclReduce(g_send, g_recv, 8 * N, FP32, SUM, 0, comm, stream),
         HcclReduce(g_send, g_recv, 8 * N, FP32, SUM, 1, comm, stream), "root 0", "root 1")
MISMATCH(kind, HcclAllGather(g_send, g_recv, 100, FP32, comm, stream), HcclBarrier(comm, stream),
         "HcclAllGather", "HcclBarrier")

/* Who is not part of the failure hears of it here. */
static void barrier_behind(struct rank *self) { note(HcclBarrier(self->comm, self->stream)); }

/* Two collectives in another order on rank 1. */
static int order(struct rank *self) {
    TRY(allocate(self));
    for (uint32_t i = 0; i < 2; i++) {
        if ((i == 0) == (self->rank == 1))
            note(HcclAllReduce(g_send, g_recv, 10, FP32, SUM, self->comm, self->stream));
        else note(HcclBroadcast(g_send, 20, FP32, 0, self->comm, self->stream));
    }
    FAILS(self->stream, AT_ONCE, "collective number 1", "differs", "rank 1 called HcclAllReduce",
          "HcclBroadcast");
    return goes_on(self);
}
TEST(mismatch_order) { CHECK(run_ranks(3, 60, order)); }

/* Slices that do not agree: who sends how much is known to both sides. */
static int slices(struct rank *self) {
    const uint32_t n = self->num_ranks;
    uint64_t sc[8], sd[8], rc[8], rd[8];
    TRY(allocate(self));
    for (uint32_t r = 0; r < n; r++) {
        sc[r] = rc[r] = 10;
        sd[r] = rd[r] = 10 * r;
    }
    if (self->rank == 1) sc[0] = 9;
    note(HcclAlltoAllV(g_send, sc, sd, FP32, g_recv, rc, rd, FP32, self->comm, self->stream));
    barrier_behind(self);
    FAILS(self->stream, AT_ONCE, "HcclAlltoAllV number 1",
          "rank 1 has 36 bytes for rank 0, which expects 40");
    TRY(goes_on(self));
    rc[1] = self->rank == 0 ? 11 : 10;
    const uint64_t own = self->rank == 1 ? 12 : 10;
    rc[self->rank] = own;
    for (uint32_t r = 0; r < n; r++) rd[r] = 20 * r;
    note(HcclAllGatherV(g_send, own, g_recv, rc, rd, FP32, self->comm, self->stream));
    barrier_behind(self);
    FAILS(self->stream, AT_ONCE, "HcclAllGatherV number 4", "rank 1 has 48 bytes for rank");
    return goes_on(self);
}
TEST(mismatch_slices) { CHECK(run_ranks(3, 60, slices)); }

/* Messages: the receiver wants another size or type than was sent. */
static int messages(struct rank *self) {
    TRY(allocate(self));
    for (int large = 0; large < 2; large++) {
        const uint64_t count = large ? 5000 : 50;
        if (self->rank == 0) note(HcclSend(g_send, count, FP32, 1, self->comm, self->stream));
        if (self->rank == 1) note(HcclRecv(g_recv, count - 1, FP32, 0, self->comm, self->stream));
        barrier_behind(self);
        FAILS(self->stream, AT_ONCE,
              large ? "rank 0 sends 20000 bytes of float32" : "rank 0 sends 200 bytes of float32",
              large ? "rank 1 receives 19996 bytes" : "rank 1 receives 196 bytes");
        TRY(goes_on(self));
    }
    return 0;
}
TEST(mismatch_messages) {
    CHECK(run_ranks(2, 60, messages));
    CHECK(run_ranks(3, 60, messages));
}

/* A wrong call is refused before anything happens: other calls are not disturbed. */
static int wrong_arguments(struct rank *self) {
    const uint64_t ones[8] = {1, 1, 1, 1, 1, 1, 1, 1}, places[8] = {0, 1, 2, 3, 4, 5, 6, 7};
    TRY(allocate(self));
    int no_stream = 0;
#define REFUSED(code, word, call)                                                                            \
    EXPECT((call) == (code), "%s", #call);                                                                   \
    EXPECT(strstr(aclGetRecentErrMsg(), word) != NULL, "%s", #call)
    REFUSED(HCCL_E_PARA, "13 is no data type",
            HcclAllReduce(g_send, g_recv, 10, 13, SUM, self->comm, self->stream));
    REFUSED(HCCL_E_PARA, "reduction 7", HcclAllReduce(g_send, g_recv, 10, FP32, 7, self->comm, self->stream));
    REFUSED(HCCL_E_PARA, "root 9", HcclBroadcast(g_send, 10, FP32, 9, self->comm, self->stream));
    REFUSED(HCCL_E_PARA, "root 3", HcclScatter(g_send, g_recv, 10, FP32, 3, self->comm, self->stream));
    REFUSED(HCCL_E_PTR, "recvBuf is null", HcclAllGather(g_send, NULL, 10, FP32, self->comm, self->stream));
    REFUSED(HCCL_E_PTR, "sendBuf is null",
            HcclReduce(NULL, g_recv, 10, FP32, SUM, 0, self->comm, self->stream));
    REFUSED(HCCL_E_PARA, "overlap",
            HcclAllReduce(g_send, g_send + 1, 10, FP32, SUM, self->comm, self->stream));
    REFUSED(HCCL_E_PARA, "overlap",
            HcclAlltoAll(g_send, 10, FP32, g_send, 10, FP32, self->comm, self->stream));
    REFUSED(HCCL_E_PARA, "too many",
            HcclReduceScatter(g_send, g_recv, UINT64_MAX / 4, FP32, SUM, self->comm, self->stream));
    REFUSED(HCCL_E_PARA, "recvCounts",
            HcclAllGatherV(g_send, 2, g_recv, ones, places, FP32, self->comm, self->stream));
    REFUSED(HCCL_E_PTR, "is null",
            HcclAllGatherV(g_send, 1, g_recv, NULL, places, FP32, self->comm, self->stream));
    REFUSED(HCCL_E_PARA, "rank 5", HcclSend(g_send, 10, FP32, 5, self->comm, self->stream));
    REFUSED(HCCL_E_PARA, "itself", HcclSend(g_send, 10, FP32, self->rank, self->comm, self->stream));
    REFUSED(HCCL_E_PARA, "is no stream", HcclBarrier(self->comm, &no_stream));
    REFUSED(HCCL_E_NOT_FOUND, "no communicator", HcclBarrier(&no_stream, self->stream));
    aclrtStream other_device;
    EXPECT_OK(aclrtSetDevice((int32_t)self->num_ranks));
    EXPECT_OK(aclrtCreateStream(&other_device));
    REFUSED(HCCL_E_PARA, "of device", HcclBarrier(self->comm, other_device));
    EXPECT_OK(aclrtDestroyStream(other_device));
    EXPECT_OK(aclrtSetDevice((int32_t)self->rank));
    EXPECT_OK(HcclAllReduce(g_send, g_recv, N, FP32, SUM, self->comm, self->stream));
    EXPECT_OK(aclrtSynchronizeStream(self->stream));
    for (int i = 0; i < N; i++) EXPECT(g_recv[i] == (float)self->num_ranks, "[%d] is %f", i, g_recv[i]);
    const HcclComm dead = self->comm;
    EXPECT_OK(HcclCommDestroy(self->comm));
    self->comm = NULL;
    REFUSED(HCCL_E_NOT_FOUND, "a destroyed one", HcclBarrier(dead, self->stream));
    REFUSED(HCCL_E_NOT_FOUND, "a destroyed one", HcclCommResume(dead));
    return 0;
}
TEST(wrong_arguments) { CHECK(run_ranks(3, 60, wrong_arguments)); }

enum way { DESTROY_STREAM, ABORT_DEVICE };

/* Rank 0 waits in a collective that rank 1 has not called, and gives it up. */
static int abort_by(struct rank *self, enum way way) {
    aclrtStream stream;
    TRY(allocate(self));
    EXPECT_OK(aclrtCreateStream(&stream));
    if (self->rank == 0) {
        EXPECT_OK(HcclAllReduce(g_send, g_recv, N, FP32, SUM, self->comm, stream));
        EXPECT_OK(HcclAllReduce(g_send, g_recv, N, FP32, SUM, self->comm, stream)); /* never starts */
        usleep(100000);
        const double begin = seconds_now();
        if (way == ABORT_DEVICE) EXPECT_OK(aclrtDeviceTaskAbort(0, 5000));
        if (way == DESTROY_STREAM) EXPECT_OK(aclrtDestroyStreamForce(stream));
        EXPECT(seconds_now() - begin < AT_ONCE, "took %.2f s", seconds_now() - begin);
        if (way != DESTROY_STREAM) FAILS(stream, AT_ONCE, "abort");
    }
    host_barrier(self);
    if (self->rank != 0) {
        note(HcclAllReduce(g_send, g_recv, N, FP32, SUM, self->comm, stream));
        FAILS(stream, AT_ONCE, "rank 0 reports", "HcclAllReduce", "abort");
    }
    TRY(goes_on(self));
    if (way != DESTROY_STREAM || self->rank != 0) EXPECT_OK(aclrtDestroyStream(stream));
    return 0;
}
static int destroy_stream(struct rank *self) { return abort_by(self, DESTROY_STREAM); }
static int abort_device(struct rank *self) { return abort_by(self, ABORT_DEVICE); }
TEST(stream_is_destroyed) { CHECK(run_ranks(3, 60, destroy_stream)); }
TEST(device_is_aborted) { CHECK(run_ranks(2, 60, abort_device)); }

static aclError fail_late(void *arg) {
    (void)arg;
    return hc_fail(ACL_ERROR_INTERNAL_ERROR, "only the data can tell");
}

/* A collective behind a failed task on a stream that stops is dropped: the others are told, and what failed.
 */
static int dropped(struct rank *self) {
    TRY(allocate(self));
    if (self->rank == 1) {
        EXPECT_OK(aclrtSetStreamFailureMode(self->stream, ACL_STOP_ON_FAILURE));
        EXPECT_OK(hc_launch(
            self->stream,
            &(struct hc_task){.name = "OperatorThatFails", .kind = HC_TASK_OPERATOR, .run = fail_late}));
    }
    note(HcclAllReduce(g_send, g_recv, N, FP32, SUM, self->comm, self->stream));
    if (self->rank == 1) FAILS(self->stream, AT_ONCE, "OperatorThatFails");
    else FAILS(self->stream, AT_ONCE, "rank 1 reports", "HcclAllReduce", "was dropped", "OperatorThatFails");
    return goes_on(self);
}
TEST(collective_is_dropped) { CHECK(run_ranks(3, 60, dropped)); }

/* A rank that is done destroys its communicator while others are still in the same collective: fine. One that
 * is not: the others hear of it. */
static int early_destroy(struct rank *self) {
    TRY(allocate(self));
    EXPECT_OK(HcclAllReduce(g_send, g_recv, 8 * N, FP32, SUM, self->comm, self->stream));
    if (self->rank == 1) EXPECT_OK(HcclCommDestroy(self->comm)); /* its call still runs */
    EXPECT_OK(aclrtSynchronizeStream(self->stream));
    for (int i = 0; i < N; i++) EXPECT(g_recv[i] == (float)self->num_ranks, "[%d] is %f", i, g_recv[i]);
    if (self->rank != 1) {
        note(HcclBroadcast(g_send, N, FP32, 0, self->comm, self->stream));
        FAILS(self->stream, AT_ONCE, "HcclBroadcast number 2", "rank 1", "has left the communicator");
    } else {
        self->comm = NULL;
    }
    return 0;
}
TEST(rank_destroys_early) { CHECK(run_ranks(3, 60, early_destroy)); }

/* Two ranks are late, each in another way; the one that waits says who, and what they do instead. */
static int late(struct rank *self) {
    TRY(allocate(self));
    char name[HCCL_COMM_NAME_BYTES];
    EXPECT_OK(HcclGetCommName(self->comm, name));
    EXPECT_OK(HcclBarrier(self->comm, self->stream));
    if (self->rank == 2) {
        usleep(1000000); /* not the first whose time is over */
        EXPECT_OK(HcclRecv(g_recv, 10, FP32, 0, self->comm, self->stream));
    }
    if (self->rank == 0 || self->rank == 3) {
        const double begin = seconds_now();
        EXPECT_OK(HcclAllReduce(g_send, g_recv, 321, FP32, SUM, self->comm, self->stream));
        if (self->rank == 0)
            FAILS(self->stream, 2 + AT_ONCE, name, "HcclAllReduce number 2 (321 float32)",
                  "HCCL_EXEC_TIMEOUT", "timed out after 2 s", "rank 1 (process",
                  "is in none, its last was HcclBarrier number 1", "rank 2 (process",
                  "waits in a receive from rank 0");
        else FAILS(self->stream, 2 + AT_ONCE, "HcclAllReduce number 2", "rank 1 (process");
        EXPECT(seconds_now() - begin > 1.5, "after %.2f s already", seconds_now() - begin);
    } else {
        if (self->rank == 2) FAILS(self->stream, AT_ONCE, "HcclRecv of communicator", name, "reports");
    }
    host_barrier(self);
    if (self->rank == 1) {
        HcclResult async = HCCL_SUCCESS; /* it never waited, but it is told */
        EXPECT_OK(HcclGetCommAsyncError(self->comm, &async));
        EXPECT(async == HCCL_E_TIMEOUT, "error %d", (int)async);
    }
    return goes_on(self);
}
TEST(late_ranks_are_named) {
    setenv("HCCL_EXEC_TIMEOUT", "2", 1);
    const bool good = run_ranks(4, 60, late);
    unsetenv("HCCL_EXEC_TIMEOUT");
    CHECK(good);
}

/* Suspended communicators refuse calls, and resume with all they had. */
static int suspend(struct rank *self) {
    TRY(allocate(self));
    EXPECT_OK(HcclCommSuspend(self->comm));
    EXPECT(HcclBarrier(self->comm, self->stream) == HCCL_E_SUSPENDING, "not refused");
    EXPECT_OK(HcclCommResume(self->comm));
    EXPECT_OK(HcclAllReduce(g_send, g_recv, N, FP32, SUM, self->comm, self->stream));
    EXPECT_OK(aclrtSynchronizeStream(self->stream));
    EXPECT(g_recv[N - 1] == (float)self->num_ranks, "%f", g_recv[N - 1]);
    return 0;
}
TEST(suspend_and_resume) { CHECK(run_ranks(2, 60, suspend)); }

/* Resuming while calls of before are still queued: they end, and none of them meets a call made afterwards.
 */
static int resume_with_queue(struct rank *self) {
    aclrtStream streams[3];
    TRY(allocate(self));
    for (int i = 0; i < 3; i++) EXPECT_OK(aclrtCreateStream(&streams[i]));
    if (self->rank != 1) {
        /* Until the first error, should this rank be that slow. */
        for (int i = 0; i < 60; i++)
            if (HcclAllReduce(g_send, g_recv, 100, FP32, SUM, self->comm, streams[i % 3]) != 0) break;
    } else {
        usleep(100000);
        note(HcclBroadcast(g_send, 100, FP32, 0, self->comm, streams[0]));
        FAILS(streams[0], AT_ONCE, "differs");
    }
    HcclResult async = HCCL_SUCCESS;
    for (double begin = seconds_now(); async == HCCL_SUCCESS && seconds_now() - begin < AT_ONCE; usleep(1000))
        EXPECT_OK(HcclGetCommAsyncError(self->comm, &async));
    TRY(goes_on(self));
    for (int i = 0; i < 3; i++) {
        aclrtSynchronizeStream(streams[i]); /* the failure of before */
        EXPECT_OK(aclrtDestroyStream(streams[i]));
    }
    EXPECT_OK(HcclAllReduce(g_send, g_recv, N, FP32, SUM, self->comm, self->stream));
    EXPECT_OK(aclrtSynchronizeStream(self->stream));
    EXPECT(g_recv[N - 1] == (float)self->num_ranks, "%f", g_recv[N - 1]);
    return 0;
}
TEST(resume_with_calls_queued) {
    for (int round = 0; round < 5; round++) CHECK(run_ranks(3, 60, resume_with_queue));
}

/* Only some ranks come to the creation of a part; the others are named. */
static int part_without_ranks(struct rank *self) {
    uint32_t ranks[] = {0, 1, 2};
    HcclComm part = NULL;
    const HcclResult code = self->rank == 1
                                ? HCCL_SUCCESS
                                : HcclCreateSubCommConfig(&self->comm, 3, ranks, 7, self->rank, NULL, &part);
    if (self->rank != 1) {
        EXPECT(code == HCCL_E_TIMEOUT, "code %d", (int)code);
        EXPECT(strstr(aclGetRecentErrMsg(), "rank(s) 1 of 3 did not come"), "text");
    }
    return 0;
}
TEST(part_whose_ranks_do_not_come) {
    setenv("HCCL_CONNECT_TIMEOUT", "2", 1);
    const bool good = run_ranks(3, 60, part_without_ranks);
    unsetenv("HCCL_CONNECT_TIMEOUT");
    CHECK(good);
}
