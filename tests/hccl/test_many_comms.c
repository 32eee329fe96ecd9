// SPDX-License-Identifier: Apache-2.0
/* Communicators come and go: nothing is left of them, and several work side by side on streams of their own.
 */
#include <dirent.h>

#include "hccl_config.h"
#include "hccl_ucx.h"

enum { ROUNDS = 40, WARM = 10, SIDE = 4, COUNT = 20000 };

static unsigned open_files(void) {
    DIR *dir = opendir("/proc/self/fd");
    unsigned count = 0;
    while (readdir(dir) != NULL) count++;
    closedir(dir);
    return count;
}

static HcclComm make_sub(struct rank *self, uint64_t number) {
    uint32_t ranks[64];
    HcclCommConfig config;
    HcclComm sub = NULL;
    init_config(&config, sizeof config);
    for (uint32_t r = 0; r < self->num_ranks; r++) ranks[r] = r;
    return HcclCreateSubCommConfig(&self->comm, self->num_ranks, ranks, number, self->rank, &config, &sub) ==
                   0
               ? sub
               : NULL;
}

static int come_and_go(struct rank *self) {
    float *x;
    unsigned files = 0;
    EXPECT_OK(aclrtMalloc((void **)&x, COUNT * sizeof *x, 0));
    for (int i = 0; i < ROUNDS; i++) {
        HcclComm sub = make_sub(self, 7); /* the same number again and again */
        EXPECT(sub != NULL, "round %d", i);
        for (int k = 0; k < COUNT; k++) x[k] = 1;
        EXPECT_OK(HcclAllReduce(x, x, COUNT, HCCL_DATA_TYPE_FP32, HCCL_REDUCE_SUM, sub, self->stream));
        EXPECT_OK(aclrtSynchronizeStream(self->stream));
        EXPECT(x[COUNT - 1] == (float)self->num_ranks, "%f", x[COUNT - 1]);
        EXPECT_OK(HcclCommDestroy(sub));
        EXPECT_OK(HcclBarrier(self->comm, self->stream));
        EXPECT_OK(aclrtSynchronizeStream(self->stream));
        if (i == WARM) files = open_files();
    }
    /* The answering process may be slow to close its ends. */
    for (int i = 0; i < 100 && open_files() > files; i++) usleep(10000);
    EXPECT(open_files() <= files, "%u open files, %u before", open_files(), files);
    return 0;
}

/* Each rank queues on its streams in another order: communicators that waited for each other would never end.
 */
static int side_by_side(struct rank *self) {
    HcclComm comms[SIDE];
    aclrtStream streams[SIDE];
    float *x[SIDE];
    for (int i = 0; i < SIDE; i++) {
        EXPECT((comms[i] = make_sub(self, (uint64_t)i)) != NULL, "communicator %d", i);
        EXPECT_OK(aclrtCreateStream(&streams[i]));
        EXPECT_OK(aclrtMalloc((void **)&x[i], COUNT * sizeof **x, 0));
    }
    for (int round = 0; round < 50; round++)
        for (unsigned k = 0; k < SIDE; k++) {
            const unsigned i = (k + self->rank) % SIDE;
            EXPECT_OK(HcclAllReduce(x[i], x[i], round % 2 ? 3 : COUNT, HCCL_DATA_TYPE_FP32, HCCL_REDUCE_MAX,
                                    comms[i], streams[i]));
        }
    for (int i = 0; i < SIDE; i++) {
        EXPECT_OK(aclrtSynchronizeStream(streams[i]));
        EXPECT_OK(HcclCommDestroy(comms[i]));
        EXPECT_OK(aclrtDestroyStream(streams[i]));
    }
    return 0;
}

/* Messages of one communicator on two streams at once, in both directions. */
static int messages_on_two_streams(struct rank *self) {
    aclrtStream other;
    float *x, *y;
    const uint32_t peer = self->rank ^ 1;
    EXPECT_OK(aclrtCreateStream(&other));
    EXPECT_OK(aclrtMalloc((void **)&x, COUNT * sizeof *x, 0));
    EXPECT_OK(aclrtMalloc((void **)&y, COUNT * sizeof *y, 0));
    for (int k = 0; k < COUNT; k++) x[k] = (float)(k + (int)self->rank);
    for (int round = 0; round < 50; round++) {
        EXPECT_OK(HcclRecv(y, COUNT, HCCL_DATA_TYPE_FP32, peer, self->comm, self->stream));
        EXPECT_OK(HcclSend(x, COUNT, HCCL_DATA_TYPE_FP32, peer, self->comm, other));
    }
    EXPECT_OK(aclrtSynchronizeStream(self->stream));
    EXPECT_OK(aclrtSynchronizeStream(other));
    for (int k = 0; k < COUNT; k++) EXPECT(y[k] == (float)(k + (int)peer), "[%d] is %f", k, y[k]);
    return 0;
}

/* A root whose messages nobody takes stops, instead of filling the memory of others. */
static int slow_receiver(struct rank *self) {
    enum { MESSAGES = 2000 };
    float *x;
    EXPECT_OK(aclrtMalloc((void **)&x, 1024 * sizeof *x, 0));
    if (self->rank == 1) usleep(1500000);
    for (int i = 0; i < MESSAGES; i++)
        EXPECT_OK(HcclBroadcast(x, 1024, HCCL_DATA_TYPE_FP32, 0, self->comm, self->stream));
    if (self->rank == 0) {
        aclrtStreamStatus status = ACL_STREAM_STATUS_COMPLETE;
        usleep(700000);
        EXPECT_OK(aclrtStreamQuery(self->stream, &status));
        EXPECT(status == ACL_STREAM_STATUS_NOT_READY, "rank 0 is done before rank 1 has begun");
    }
    EXPECT_OK(aclrtSynchronizeStream(self->stream));
    return 0;
}

static void all(const char *transport) {
    setenv("MINDSPEED_HCCL_TRANSPORT", transport, 1);
    CHECK(run_ranks(3, 100, come_and_go));
    CHECK(run_ranks(3, 100, side_by_side));
    CHECK(run_ranks(2, 100, messages_on_two_streams));
    CHECK(run_ranks(2, 100, slow_receiver));
}

TEST(shared_memory) { all("shm"); }
TEST(over_messages) {
    setenv("MINDSPEED_HCCL_ALGO", "all_reduce=ring,barrier=dissemination", 1);
    all("shm");
    unsetenv("MINDSPEED_HCCL_ALGO");
}
TEST(over_ucx) {
    USE_UCX("tcp,self");
    all("ucx");
}
