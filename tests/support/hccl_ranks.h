// SPDX-License-Identifier: Apache-2.0
/* Tests with several ranks: a process each, forked before the runtime starts. */
#pragma once
#include <dlfcn.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "hccl/hccl.h"

/* Shared by the ranks and the test. */
struct rank_board {
    HcclRootInfo info;
    atomic_int has_info;
    atomic_uint arrived;   /* at host_barrier */
    atomic_llong word[64]; /* for the test */
};

/* What a rank's function gets. */
struct rank {
    uint32_t rank, num_ranks;
    HcclComm comm; /* of all ranks */
    aclrtStream stream;
    HcclRootInfo info;
    struct rank_board *shared;
};

/* Called first in a rank's process; NULL: nothing to do. Non-zero ends it. */
static int (*before_rank)(uint32_t rank);

/* In a rank: report and leave with an exit code. */
#define EXPECT(cond, ...)                                                                                    \
    do {                                                                                                     \
        if (!(cond)) {                                                                                       \
            fprintf(stderr, "%s:%d: rank %u of %u: %s: ", __FILE__, __LINE__, self->rank, self->num_ranks,   \
                    #cond);                                                                                  \
            fprintf(stderr, __VA_ARGS__);                                                                    \
            fprintf(stderr, "; %s\n", aclGetRecentErrMsg());                                                 \
            return 1;                                                                                        \
        }                                                                                                    \
    } while (0)
#define EXPECT_OK(call) EXPECT((call) == 0, "failed")

#ifdef __SANITIZE_ADDRESS__
int __lsan_do_recoverable_leak_check(void);
#else
#define __lsan_do_recoverable_leak_check() 0
#endif
/* Ranks end by _exit, which checks nothing. The checker cannot stand libraries with thread-local memory of
 * their own that come by dlopen, as UCX does. */
static inline bool leaks(void) {
    return dlopen("libucp.so.0", RTLD_NOW | RTLD_NOLOAD) == NULL && __lsan_do_recoverable_leak_check() != 0;
}

static inline double seconds_now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

/* All ranks come here, without the library. A rank that has failed does not: the test's time limit ends it.
 */
static inline void host_barrier(struct rank *self) {
    const unsigned mine = atomic_fetch_add(&self->shared->arrived, 1);
    const unsigned all = (mine / self->num_ranks + 1) * self->num_ranks;
    while ((int)(atomic_load(&self->shared->arrived) - all) < 0) usleep(500);
}

static inline int rank_main(struct rank_board *board, uint32_t rank, uint32_t num_ranks,
                            int (*fn)(struct rank *self)) {
    struct rank r = {.rank = rank, .num_ranks = num_ranks, .shared = board}, *self = &r;
    if (before_rank != NULL && before_rank(rank) != 0) return 1;
    EXPECT_OK(aclInit(NULL));
    EXPECT_OK(aclrtSetDevice((int32_t)rank));
    if (rank == 0) {
        EXPECT_OK(HcclGetRootInfo(&board->info));
        atomic_store(&board->has_info, 1);
    }
    while (atomic_load(&board->has_info) == 0) usleep(1000);
    r.info = board->info;
    EXPECT_OK(aclrtCreateStream(&r.stream));
    EXPECT_OK(HcclCommInitRootInfo(num_ranks, &r.info, rank, &r.comm));
    const int code = fn(self);
    if (code != 0) return code;
    if (r.comm != NULL) EXPECT_OK(HcclCommDestroy(r.comm));
    if (r.stream != NULL) EXPECT_OK(aclrtDestroyStream(r.stream));
    EXPECT_OK(aclFinalize());
    EXPECT(!leaks(), "see above");
    return 0;
}

/* Ranks whose end by a signal is part of the test, as bits. */
static uint64_t may_die;

/* Run fn in `num_ranks` processes. True if all returned 0 within `seconds`. */
static inline bool run_ranks(uint32_t num_ranks, int seconds, int (*fn)(struct rank *self)) {
    struct rank_board *board =
        mmap(NULL, sizeof *board, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    pid_t pids[64];
    fflush(stdout);
    for (uint32_t r = 0; r < num_ranks; r++) {
        pids[r] = fork();
        if (pids[r] == 0) _exit(rank_main(board, r, num_ranks, fn));
    }
    bool good = true;
    uint32_t left = num_ranks;
    for (int i = 0; i < seconds * 100 && left > 0; i++) {
        usleep(10000);
        for (uint32_t r = 0; r < num_ranks; r++) {
            int status;
            if (pids[r] == 0 || waitpid(pids[r], &status, WNOHANG) != pids[r]) continue;
            pids[r] = 0;
            left--;
            if (WIFSIGNALED(status) && (may_die >> r & 1) != 0) continue;
            if (!WIFEXITED(status) || WEXITSTATUS(status) != 0) {
                printf("rank %u ended with status 0x%x\n", r, (unsigned)status);
                good = false;
            }
        }
    }
    for (uint32_t r = 0; r < num_ranks; r++) {
        if (pids[r] == 0) continue;
        printf("rank %u of %u did not end within %d s\n", r, num_ranks, seconds);
        kill(pids[r], SIGKILL);
        waitpid(pids[r], NULL, 0);
        good = false;
    }
    munmap(board, sizeof *board);
    return good;
}
