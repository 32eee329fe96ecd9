// SPDX-License-Identifier: Apache-2.0
/* A rank that writes anything into the memory that the ranks of a host share: results are worth nothing, but
 * no other rank reads or writes beyond what is its own, and each wait has an end. */
#include "harness.h"
#include "hccl_ranks.h"
#include "hc_board.h"

enum { COUNT = 5000, ROUNDS = 5 };
static uint64_t g_seed;

static uint32_t any(uint32_t below) {
    g_seed = g_seed * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(g_seed >> 33) % below;
}

/* The mapping of the board, as the system lists it. */
static char *find_board(size_t *bytes) {
    char line[512];
    unsigned long start, end;
    char *found = NULL;
    FILE *maps = fopen("/proc/self/maps", "r");
    while (maps != NULL && found == NULL && fgets(line, sizeof line, maps) != NULL)
        if (strstr(line, "memfd:hccl ") != NULL && sscanf(line, "%lx-%lx", &start, &end) == 2) {
            found = (char *)start;
            *bytes = end - start;
        }
    if (maps != NULL) fclose(maps);
    return found;
}

/* Numbers that are likely to be taken for sizes, places and counts; the rest of the board is mostly lanes. */
static void scribble(char *board, size_t bytes) {
    static const uint64_t WORDS[] = {0,          1,          7,          0xff,       0x7fffffff,
                                     0x80000000, 0xffffffff, 1ull << 40, 1ull << 63, ~0ull};
    for (int i = 0; i < 400; i++) {
        const size_t room = any(2) > 0 ? bytes : bytes / 8;
        const size_t at = any((uint32_t)(room / 4 - 2)) * 4u;
        const uint64_t word = any(3) > 0 ? WORDS[any(10)] : (uint64_t)any(1u << 31) << any(33);
        memcpy(board + at, &word, any(2) > 0 ? 8 : 4);
    }
}

/* What fails says so; what hangs is ended by its time limit. */
static int work(struct rank *self, float *x, float *y) {
    const uint32_t peer = 1 - self->rank;
    HcclSendRecvItem items[] = {{HCCL_SEND, x, COUNT, HCCL_DATA_TYPE_FP32, peer},
                                {HCCL_RECV, y, COUNT, HCCL_DATA_TYPE_FP32, peer}};
    const uint64_t counts[] = {3, 3}, displs[] = {0, 3};
    if (HcclAllReduce(x, x, COUNT, HCCL_DATA_TYPE_FP32, HCCL_REDUCE_SUM, self->comm, self->stream) != 0 ||
        HcclBatchSendRecv(items, 2, self->comm, self->stream) != 0 ||
        HcclAllReduce(x, x, 3, HCCL_DATA_TYPE_FP32, HCCL_REDUCE_MAX, self->comm, self->stream) != 0 ||
        HcclAlltoAllV(x, counts, displs, HCCL_DATA_TYPE_FP32, y, counts, displs, HCCL_DATA_TYPE_FP32,
                      self->comm, self->stream) != 0)
        return 1;
    return aclrtSynchronizeStream(self->stream);
}

static int live_with_it(struct rank *self) {
    float *x, *y;
    size_t bytes = 0;
    EXPECT(aclrtMalloc((void **)&x, COUNT * 4, 0) == 0 && aclrtMalloc((void **)&y, COUNT * 4, 0) == 0,
           "memory");
    char *board = find_board(&bytes);
    EXPECT(board != NULL, "no board is mapped");
    EXPECT_OK(work(self, x, y));
    host_barrier(self);
    const double limit = seconds_now() + 0.3;
    for (int i = 0; seconds_now() < limit || i == 0; i++) {
        if (self->rank == 1) scribble(board, bytes);
        if (work(self, x, y) != 0) break;
    }
    fflush(stdout);
    _exit(0); /* with what it has: leaving in order is not part of this */
}

/* Changes memory that the stream's thread writes: a race of this test, of which a sanitizer need not tell. */
__attribute__((noinline, no_sanitize_thread)) static bool lie_in_a_slot(char *board, size_t bytes,
                                                                        size_t message) {
    for (int ms = 0; ms < 5000; ms++, usleep(1000))
        for (size_t at = 0; at + sizeof(struct hc_slot) <= bytes; at += 8) {
            struct hc_slot *s = (struct hc_slot *)(void *)(board + at);
            if (s->mode != HC_SLOT_SHARED || s->total != message) continue;
            s->mode = HC_SLOT_EAGER;
            return true;
        }
    return false;
}

/* The head of a message that its receiver should copy from the sender's buffer is changed: "it is in the
 * slot", which it cannot be. */
static int lie_about_a_slot(struct rank *self) {
    enum { MANY = 32 << 20 };
    float *x;
    size_t bytes = 0;
    EXPECT(aclrtMalloc((void **)&x, MANY, 0) == 0, "memory");
    char *board = find_board(&bytes);
    EXPECT(board != NULL, "no board is mapped");
    if (self->rank == 1) {
        EXPECT_OK(HcclSend(x, MANY, HCCL_DATA_TYPE_INT8, 0, self->comm, self->stream));
        EXPECT(lie_in_a_slot(board, bytes, MANY), "no slot has the message");
        host_barrier(self);
        _exit(aclrtSynchronizeStream(self->stream) == 0);
    }
    host_barrier(self);
    EXPECT_OK(HcclRecv(x, MANY, HCCL_DATA_TYPE_INT8, 1, self->comm, self->stream));
    EXPECT(aclrtSynchronizeStream(self->stream) != 0, "it was received");
    EXPECT(strstr(aclGetRecentErrMsg(), "a slot of rank 1 says it holds 33554432 bytes") != NULL,
           "another error");
    _exit(0);
}

TEST(message_beyond_its_slot) {
    setenv("HCCL_EXEC_TIMEOUT", "10", 1);
    setenv("HCCL_BUFFSIZE", "1", 1);
    CHECK(run_ranks(2, 30, lie_about_a_slot));
}

TEST(hostile_rank) {
    setenv("HCCL_EXEC_TIMEOUT", "1", 1);
    setenv("HCCL_BUFFSIZE", "1", 1);
    for (g_seed = 1; g_seed < 1 + ROUNDS * 1000000; g_seed += 1000000) CHECK(run_ranks(2, 30, live_with_it));
}
