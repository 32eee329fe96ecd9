// SPDX-License-Identifier: Apache-2.0
/* What goes wrong between ranks, and what the others are told, whatever connects them. */
#pragma once
#include <time.h>

#include "harness.h"
#include "hccl_ranks.h"

enum { COUNT = 1000 };

static inline float *floats(size_t count) {
    void *p = NULL;
    return aclrtMalloc(&p, count * sizeof(float), 0) == 0 ? p : NULL;
}

/* One all-reduce that works. */
static inline int agree(struct rank *self, float *buffer) {
    buffer[0] = (float)self->rank + 1;
    EXPECT_OK(
        HcclAllReduce(buffer, buffer, COUNT, HCCL_DATA_TYPE_FP32, HCCL_REDUCE_SUM, self->comm, self->stream));
    EXPECT_OK(aclrtSynchronizeStream(self->stream));
    const float n = (float)self->num_ranks;
    EXPECT(buffer[0] == n * (n + 1) / 2, "sum is %f", buffer[0]);
    return 0;
}

/* The stream fails within `limit` seconds with a text that has all of these, up to NULL. A rank whose part
 * was done before another one found the fault may hear of it by its next call only. */
static inline int fails_saying(struct rank *self, double limit, const char *const *texts) {
    const double start = seconds_now();
    int code = aclrtSynchronizeStream(self->stream);
    if (code == 0) code = HcclBarrier(self->comm, self->stream);
    if (code == 0) code = aclrtSynchronizeStream(self->stream);
    const double took = seconds_now() - start;
    const char *message = aclGetRecentErrMsg();
    EXPECT(code != 0, "no error");
    EXPECT(message != NULL, "no text");
    static char kept[2048];
    snprintf(kept, sizeof kept, "%s", message);
    if (self->rank == 0 && getenv("HC_TEST_SHOW") != NULL) fprintf(stderr, "%.2f s: %s\n", took, kept);
    for (; *texts != NULL; texts++) EXPECT(strstr(kept, *texts) != NULL, "no '%s' in '%s'", *texts, kept);
    EXPECT(took < limit, "took %f s: %s", took, kept);
    return 0;
}
#define SAYS(limit, ...) fails_saying(self, limit, (const char *const[]){__VA_ARGS__, NULL})

static inline int reduce_without(struct rank *self, uint32_t victim, int (*vanish)(struct rank *self),
                                 const char *text) {
    float *buffer = floats(COUNT);
    char who[40];
    EXPECT(buffer != NULL, "memory");
    if (agree(self, buffer)) return 1;
    if (self->rank == victim) return vanish(self);
    EXPECT_OK(
        HcclAllReduce(buffer, buffer, COUNT, HCCL_DATA_TYPE_FP32, HCCL_REDUCE_SUM, self->comm, self->stream));
    snprintf(who, sizeof who, "rank %u (process", victim);
    if (SAYS(15, "HcclAllReduce number 2 (1000 float32) of communicator", who, text)) return 1;
    HcclResult async = HCCL_SUCCESS;
    EXPECT_OK(HcclGetCommAsyncError(self->comm, &async));
    EXPECT(async != HCCL_SUCCESS, "the communicator knows of no error");
    EXPECT(HcclBarrier(self->comm, self->stream) != HCCL_SUCCESS, "a failed communicator works");
    return 0;
}

static inline int die(struct rank *self) {
    usleep(200000); /* the others wait by then */
    kill(getpid(), SIGKILL);
    return self->rank == 0;
}
static inline int last_dies(struct rank *self) {
    return reduce_without(self, self->num_ranks - 1, die, "has ended");
}
static inline int first_dies(struct rank *self) { return reduce_without(self, 0, die, "has ended"); }
/* Its process goes on, or ends in order (see rank_main). */
static inline int leave(struct rank *self) {
    usleep(200000);
    EXPECT_OK(HcclCommDestroy(self->comm));
    usleep(500000);
    exit(0);
}
static inline int one_leaves(struct rank *self) {
    return reduce_without(self, 1, leave, "has left the communicator");
}

/* Large data on its way when a rank is killed. */
static inline int dies_while_sending(struct rank *self) {
    enum { LARGE = 1 << 22 };
    float *buffer = floats(LARGE);
    EXPECT(buffer != NULL, "memory");
    if (agree(self, buffer)) return 1;
    for (int i = 0; i < 200; i++) {
        if (self->rank == 1 && i == 3) kill(getpid(), SIGKILL);
        if (HcclAllReduce(buffer, buffer, LARGE, HCCL_DATA_TYPE_FP32, HCCL_REDUCE_SUM, self->comm,
                          self->stream) != 0)
            break;
    }
    return SAYS(30, "HcclAllReduce number", "rank 1 (process", "has ended");
}

/* A rank does not come; the others say so, and what it does instead. */
static inline int one_is_late(struct rank *self) {
    float *buffer = floats(COUNT);
    EXPECT(buffer != NULL, "memory");
    if (agree(self, buffer)) return 1;
    atomic_llong *told = &self->shared->word[0];
    if (self->rank == 1) {
        while (atomic_load(told) < self->num_ranks - 1) usleep(1000);
        return 0;
    }
    EXPECT_OK(HcclBroadcast(buffer, COUNT, HCCL_DATA_TYPE_FP32, 1, self->comm, self->stream));
    const int failed = SAYS(30, "timed out after 2 s (HCCL_EXEC_TIMEOUT)", "rank 1 (process",
                            "is in none, its last was HcclAllReduce number 1");
    atomic_fetch_add(told, 1);
    return failed;
}

/* A call may be refused already: another rank was faster. */
static inline int different_calls(struct rank *self) {
    float *buffer = floats(COUNT * self->num_ranks);
    EXPECT(buffer != NULL, "memory");
    if (agree(self, buffer)) return 1;
    if (self->rank == 1)
        HcclAllReduce(buffer, buffer, COUNT, HCCL_DATA_TYPE_FP32, HCCL_REDUCE_SUM, self->comm, self->stream);
    else HcclBroadcast(buffer, COUNT, HCCL_DATA_TYPE_FP32, 0, self->comm, self->stream);
    return SAYS(15, "collective number", "differs between ranks",
                "rank 1 called HcclAllReduce (1000 float32, sum");
}

static inline int different_sizes(struct rank *self) {
    float *buffer = floats(COUNT);
    EXPECT(buffer != NULL, "memory");
    const uint64_t count = self->rank == 1 ? COUNT - 1 : COUNT;
    HcclAllReduce(buffer, buffer, count, HCCL_DATA_TYPE_FP32, HCCL_REDUCE_SUM, self->comm, self->stream);
    return SAYS(15, "differs between ranks", "999 float32", "1000 float32");
}

static inline int different_messages(struct rank *self) {
    float *buffer = floats(40000);
    EXPECT(buffer != NULL, "memory");
    if (self->rank == 0) HcclSend(buffer, 10000, HCCL_DATA_TYPE_FP32, 1, self->comm, self->stream);
    if (self->rank == 1) HcclRecv(buffer, 40000, HCCL_DATA_TYPE_BFP16, 0, self->comm, self->stream);
    if (self->rank > 1) return 0;
    return SAYS(15, "rank 0 sends 40000 bytes of float32, rank 1 receives 80000 bytes of bfloat16");
}

/* The stream of a waiting collective is given up; all hear of it, and then all begin again. */
static inline int given_up_and_resumed(struct rank *self) {
    float *buffer = floats(COUNT);
    EXPECT(buffer != NULL, "memory");
    if (agree(self, buffer)) return 1;
    if (self->rank == 0) {
        aclrtStream other;
        EXPECT_OK(aclrtCreateStream(&other));
        EXPECT_OK(
            HcclAllReduce(buffer, buffer, COUNT, HCCL_DATA_TYPE_FP32, HCCL_REDUCE_SUM, self->comm, other));
        usleep(200000);
        const double start = seconds_now();
        EXPECT_OK(aclrtDestroyStreamForce(other));
        EXPECT(seconds_now() - start < 4, "took %f s", seconds_now() - start);
    } else {
        usleep(100000);
        EXPECT_OK(HcclRecv(buffer, COUNT, HCCL_DATA_TYPE_FP32, 0, self->comm, self->stream));
        if (SAYS(15, "HcclRecv of communicator", "rank 0 reports", "given up, its stream is aborted"))
            return 1;
    }
    EXPECT_OK(HcclCommResume(self->comm));
    return agree(self, buffer);
}

/* The last collective is over at slightly different times; those who are early just go. */
static inline int all_go_at_once(struct rank *self) {
    float *buffer = floats(COUNT);
    EXPECT(buffer != NULL, "memory");
    for (int i = 0; i < 50; i++)
        if (agree(self, buffer)) return 1;
    exit(0); /* no destroy, no finalize */
}

#define TEST_FAULT(name, ranks, deaths, timeout, fn)                                                         \
    TEST(name) {                                                                                             \
        PREPARE();                                                                                           \
        may_die = (deaths);                                                                                  \
        setenv("HCCL_EXEC_TIMEOUT", timeout, 1);                                                             \
        CHECK(run_ranks(ranks, 60, fn));                                                                     \
    }
#define TEST_FAULTS()                                                                                        \
    TEST_FAULT(last_rank_is_killed, 3, 4, "60", last_dies)                                                   \
    TEST_FAULT(first_rank_is_killed, 3, 1, "60", first_dies)                                                 \
    TEST_FAULT(killed_while_sending, 3, 2, "60", dies_while_sending)                                         \
    TEST_FAULT(rank_leaves, 3, 0, "60", one_leaves)                                                          \
    TEST_FAULT(rank_is_late, 3, 0, "2", one_is_late)                                                         \
    TEST_FAULT(different_collectives, 3, 0, "60", different_calls)                                           \
    TEST_FAULT(different_counts, 3, 0, "60", different_sizes)                                                \
    TEST_FAULT(different_message_sizes, 3, 0, "60", different_messages)                                      \
    TEST_FAULT(aborted_stream, 2, 0, "60", given_up_and_resumed)                                             \
    TEST_FAULT(exit_without_goodbye, 4, 0, "60", all_go_at_once)
