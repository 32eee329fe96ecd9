// SPDX-License-Identifier: Apache-2.0
/* Which algorithm is used, how the user chooses, and what a bad choice is told. */
#include <fcntl.h>

#include "hccl_ucx.h"

static char g_log[] = "/tmp/test_select_XXXXXX";

static int reduce_a_few(struct rank *self) {
    enum { LARGE = 1 << 20 };
    float *buffer;
    EXPECT_OK(aclrtMalloc((void **)&buffer, LARGE * sizeof(float), 0));
    for (int i = 0; i < 3; i++) {
        EXPECT_OK(HcclAllReduce(buffer, buffer, 10, HCCL_DATA_TYPE_FP32, HCCL_REDUCE_SUM, self->comm,
                                self->stream));
        EXPECT_OK(HcclAllReduce(buffer, buffer, LARGE, HCCL_DATA_TYPE_FP32, HCCL_REDUCE_SUM, self->comm,
                                self->stream));
        EXPECT_OK(HcclBroadcast(buffer, 10, HCCL_DATA_TYPE_FP32, 0, self->comm, self->stream));
    }
    EXPECT_OK(aclrtSynchronizeStream(self->stream));
    return 0;
}

static int reduce_host_memory(struct rank *self) {
    static float buffer[100000];
    EXPECT_OK(HcclAllReduce(buffer, buffer, 100000, HCCL_DATA_TYPE_FP32, HCCL_REDUCE_SUM, self->comm,
                            self->stream));
    EXPECT_OK(aclrtSynchronizeStream(self->stream));
    return 0;
}

/* The ranks' standard error; "" if they failed. */
static const char *log_of(uint32_t ranks, int (*fn)(struct rank *)) {
    static char text[8192];
    const int before = dup(2), file = mkstemp(g_log);
    text[0] = '\0';
    dup2(file, 2);
    const bool good = run_ranks(ranks, 60, fn);
    dup2(before, 2);
    close(before);
    const ssize_t n = pread(file, text, sizeof text - 1, 0);
    text[good && n > 0 ? n : 0] = '\0';
    close(file);
    remove(g_log);
    memcpy(g_log + strlen(g_log) - 6, "XXXXXX", 6);
    return text;
}

static unsigned lines_of(const char *text) {
    unsigned lines = 0;
    for (; *text != '\0'; text++) lines += *text == '\n';
    return lines;
}

#define SHOWS(text, part) CHECK_MSG(strstr(text, part) != NULL, "no '%s' in: %s", part, text)

TEST(explained_once) {
    setenv("MINDSPEED_HCCL_EXPLAIN", "1", 1);
    const char *text = log_of(3, reduce_a_few);
    SHOWS(text, "mindspeed: HcclAllReduce of 32 to 63 bytes between 3 ranks of communicator hccl_");
    SHOWS(text, "over shm: direct (all ranks share memory)");
    CHECK_EQ(lines_of(text), 3);
}

TEST(chosen_by_the_user) {
    setenv("MINDSPEED_HCCL_ALGO", "all_reduce=ring,broadcast=tree", 1);
    const char *text = log_of(3, reduce_a_few);
    SHOWS(text, "HcclAllReduce of 4194304 to 8388607 bytes");
    SHOWS(text, ": ring (MINDSPEED_HCCL_ALGO)");
    SHOWS(text, ": tree (MINDSPEED_HCCL_ALGO)");
    CHECK_EQ(lines_of(text), 3);
    unsetenv("MINDSPEED_HCCL_ALGO");
}

TEST(memory_that_cannot_be_shared) {
    const char *text = log_of(2, reduce_host_memory);
    SHOWS(text, ": direct (all ranks share memory)");
    SHOWS(text, ": recursive_doubling (a rank's buffer is no device memory)");
    CHECK_EQ(lines_of(text), 2);
}

static int ask_for_direct(struct rank *self) {
    static float x[4];
    EXPECT(HcclAllReduce(x, x, 4, HCCL_DATA_TYPE_FP32, HCCL_REDUCE_SUM, self->comm, self->stream) ==
               HCCL_E_NOT_SUPPORT,
           "it works");
    EXPECT(strstr(aclGetRecentErrMsg(), "the algorithm 'direct' (MINDSPEED_HCCL_ALGO) cannot serve") != NULL,
           "other text");
    return 0;
}

TEST(choice_that_cannot_serve) {
    USE_UCX("tcp,self");
    setenv("MINDSPEED_HCCL_ALGO", "all_reduce=direct", 1);
    CHECK(run_ranks(2, 60, ask_for_direct));
    unsetenv("MINDSPEED_HCCL_ALGO");
    unsetenv("MINDSPEED_HCCL_TRANSPORT");
}

TEST(bad_choices_are_refused) {
    HcclRootInfo info;
    HcclComm comm;
    CHECK_EQ(aclInit(NULL), 0);
    CHECK_EQ(aclrtSetDevice(0), 0);
    CHECK_EQ(HcclGetRootInfo(&info), 0);
    setenv("MINDSPEED_HCCL_ALGO", "all_reduce=fast", 1);
    CHECK_EQ(HcclCommInitRootInfo(1, &info, 0, &comm), HCCL_E_PARA);
    SHOWS(aclGetRecentErrMsg(),
          "MINDSPEED_HCCL_ALGO=all_reduce=fast: all_reduce has no algorithm 'fast'; it has direct, "
          "recursive_doubling, pairwise, ring, tree");
    setenv("MINDSPEED_HCCL_ALGO", "allreduce=ring", 1);
    CHECK_EQ(HcclCommInitRootInfo(1, &info, 0, &comm), HCCL_E_PARA);
    SHOWS(aclGetRecentErrMsg(), "there is no collective 'allreduce'; there are all_reduce,");
    unsetenv("MINDSPEED_HCCL_ALGO");
}
