// SPDX-License-Identifier: Apache-2.0
/* Seconds per collective, ranks as processes of their own on one host.
 *
 * Usage: bench_collectives COLLECTIVE RANKS SECONDS BYTES...   (all_reduce, all_gather, reduce_scatter,
 * broadcast, all_to_all; copy: every rank copies as many bytes by itself, at the same time as the others,
 * which is what the memory allows). One line per size: bytes, seconds per call where 100 are queued at a
 * time, seconds of a call that is waited for. A size is measured for about SECONDS. Bytes are those of the
 * larger buffer of a rank.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "hc_clock.h"
#include "hccl_ranks.h"

#define FP32 HCCL_DATA_TYPE_FP32
enum { WARM = 3, MAX_CALLS = 20000, QUEUED = 100 };

static const char *g_collective;
static double g_seconds;
static size_t g_sizes[64], g_num_sizes;
static HcclComm g_alone; /* of this rank only */

static int call(struct rank *self, size_t bytes, void *send, void *recv) {
    const uint64_t count = bytes / 4, part = count / self->num_ranks;
    if (strcmp(g_collective, "all_reduce") == 0)
        return HcclAllReduce(send, send, count, FP32, HCCL_REDUCE_SUM, self->comm, self->stream);
    if (strcmp(g_collective, "all_gather") == 0)
        return HcclAllGather(send, recv, part, FP32, self->comm, self->stream);
    if (strcmp(g_collective, "reduce_scatter") == 0)
        return HcclReduceScatter(send, recv, part, FP32, HCCL_REDUCE_SUM, self->comm, self->stream);
    if (strcmp(g_collective, "copy") == 0)
        return HcclAllGather(send, recv, count, FP32, g_alone, self->stream);
    if (strcmp(g_collective, "broadcast") == 0)
        return HcclBroadcast(send, count, FP32, 0, self->comm, self->stream);
    return HcclAlltoAll(send, part, FP32, recv, part, FP32, self->comm, self->stream);
}

/* Seconds per call; `waited`: each is waited for. All ranks do the same number of calls. */
static double time_calls(struct rank *self, size_t bytes, void *send, void *recv, int calls, bool waited) {
    HcclBarrier(self->comm, self->stream);
    aclrtSynchronizeStream(self->stream);
    const uint64_t begin = hc_now_ns();
    for (int i = 0; i < calls; i++) {
        call(self, bytes, send, recv);
        if (waited || (i + 1) % QUEUED == 0) aclrtSynchronizeStream(self->stream);
    }
    aclrtSynchronizeStream(self->stream);
    return (double)(hc_now_ns() - begin) * 1e-9 / calls;
}

/* Rank 0 decides, the others are told. */
static int agree(struct rank *self, double once, void *word) {
    int calls = (int)(g_seconds / 2 / once);
    calls = calls < 3 ? 3 : calls > MAX_CALLS ? MAX_CALLS : calls;
    memcpy(word, &calls, sizeof calls);
    HcclBroadcast(word, 1, HCCL_DATA_TYPE_INT32, 0, self->comm, self->stream);
    aclrtSynchronizeStream(self->stream);
    memcpy(&calls, word, sizeof calls);
    return calls;
}

static int measure(struct rank *self) {
    size_t most = 64;
    for (size_t i = 0; i < g_num_sizes; i++) most = g_sizes[i] > most ? g_sizes[i] : most;
    void *send, *recv, *word;
    HcclRootInfo info;
    EXPECT_OK(HcclGetRootInfo(&info));
    EXPECT_OK(HcclCommInitRootInfo(1, &info, 0, &g_alone));
    EXPECT_OK(aclrtMalloc(&send, most, 0));
    EXPECT_OK(aclrtMalloc(&recv, most, 0));
    EXPECT_OK(aclrtMalloc(&word, 64, 0));
    memset(send, 0, most);
    memset(recv, 0, most);
    for (size_t i = 0; i < g_num_sizes; i++) {
        const size_t bytes = g_sizes[i];
        const int calls = agree(self, time_calls(self, bytes, send, recv, WARM, true), word);
        const double queued = time_calls(self, bytes, send, recv, calls, false);
        const double waited = time_calls(self, bytes, send, recv, calls, true);
        if (self->rank == 0) printf("%zu %.9f %.9f\n", bytes, queued, waited);
        fflush(stdout);
    }
    EXPECT_OK(HcclCommDestroy(g_alone));
    return 0;
}

int main(int argc, char **argv) {
    if (argc < 5) {
        fprintf(stderr, "usage: bench_collectives COLLECTIVE RANKS SECONDS BYTES...\n");
        return 2;
    }
    g_collective = argv[1];
    g_seconds = atof(argv[3]);
    for (int i = 4; i < argc && g_num_sizes < 64; i++) g_sizes[g_num_sizes++] = strtoull(argv[i], NULL, 10);
    return run_ranks((uint32_t)atoi(argv[2]), 600, measure) ? 0 : 1;
}
