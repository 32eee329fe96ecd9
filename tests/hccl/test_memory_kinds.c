// SPDX-License-Identifier: Apache-2.0
/* Collectives on memory of every kind: parts of allocations, memory of another process, addresses whose
 * pieces lie apart, memory that comes, goes, or is moved while streams are busy. */
#include "harness.h"
#include "hc_util.h"
#include "hccl_ranks.h"

enum { PIECE = 2 << 20, COUNT = 300001 };
#define FP32 HCCL_DATA_TYPE_FP32
#define TRY(call)                                                                                            \
    do {                                                                                                     \
        if ((call) != 0) return 1;                                                                           \
    } while (0)

static float *floats(size_t count) {
    void *p = NULL;
    return aclrtMalloc(&p, count * sizeof(float), 0) == 0 ? p : NULL;
}
static float value(uint32_t rank, size_t i) { return (float)((i * 7 + rank * 13) % 101); }

/* All kinds of access: peers read (gather), read and write (reduce), and copy messages. */
static int use(struct rank *self, float *send, float *recv, size_t count) {
    const uint32_t n = self->num_ranks, next = (self->rank + 1) % n, last = (self->rank + n - 1) % n;
    const size_t part = count / n;
    for (size_t i = 0; i < count; i++) send[i] = value(self->rank, i);
    EXPECT_OK(HcclAllReduce(send, recv, count, FP32, HCCL_REDUCE_SUM, self->comm, self->stream));
    EXPECT_OK(aclrtSynchronizeStream(self->stream));
    for (size_t i = 0; i < count; i++) {
        float sum = 0;
        for (uint32_t r = 0; r < n; r++) sum += value(r, i);
        EXPECT(recv[i] == sum, "sum [%zu] is %f, not %f", i, recv[i], sum);
    }
    EXPECT_OK(HcclAllGather(send, recv, part, FP32, self->comm, self->stream));
    EXPECT_OK(aclrtSynchronizeStream(self->stream));
    for (size_t i = 0; i < part * n; i++)
        EXPECT(recv[i] == value((uint32_t)(i / part), i % part), "gathered [%zu] is %f", i, recv[i]);
    HcclSendRecvItem items[] = {{HCCL_SEND, send, count, FP32, next}, {HCCL_RECV, recv, count, FP32, last}};
    EXPECT_OK(HcclBatchSendRecv(items, 2, self->comm, self->stream));
    EXPECT_OK(aclrtSynchronizeStream(self->stream));
    for (size_t i = 0; i < count; i++) EXPECT(recv[i] == value(last, i), "message [%zu] is %f", i, recv[i]);
    return 0;
}

/* Where a buffer cannot be mapped by others its data passes through slots, and collectives go over messages.
 */
static int use_unmapped(struct rank *self, float *send, float *recv, size_t count) {
    const uint32_t n = self->num_ranks, next = (self->rank + 1) % n, last = (self->rank + n - 1) % n;
    for (size_t i = 0; i < count; i++) send[i] = value(self->rank, i);
    HcclSendRecvItem items[] = {{HCCL_SEND, send, count, FP32, next}, {HCCL_RECV, recv, count, FP32, last}};
    EXPECT_OK(HcclBatchSendRecv(items, 2, self->comm, self->stream));
    EXPECT_OK(aclrtSynchronizeStream(self->stream));
    for (size_t i = 0; i < count; i++) EXPECT(recv[i] == value(last, i), "message [%zu] is %f", i, recv[i]);
    EXPECT_OK(HcclAllReduce(send, recv, count, FP32, HCCL_REDUCE_SUM, self->comm, self->stream));
    EXPECT_OK(aclrtSynchronizeStream(self->stream));
    for (size_t i = 0; i < count; i++) {
        float sum = 0;
        for (uint32_t r = 0; r < n; r++) sum += value(r, i);
        EXPECT(recv[i] == sum, "sum [%zu] is %f, not %f", i, recv[i], sum);
    }
    return 0;
}

/* Odd offsets and lengths within one allocation, both buffers in it. */
static int parts(struct rank *self) {
    float *memory = floats(4 * COUNT);
    EXPECT(memory, "memory");
    for (size_t offset = 1; offset < 3000; offset = offset * 7 + 1)
        TRY(use(self, memory + offset, memory + offset + 2 * COUNT - 5, COUNT - offset % 13));
    EXPECT_OK(aclrtFree(memory));
    return 0;
}
TEST(parts_of_an_allocation) { CHECK(run_ranks(3, 60, parts)); }

/* Addresses whose pieces lie apart in the device's memory, in another order on each rank. */
struct stitched {
    char *base;
    aclrtDrvMemHandle pieces[32];
    size_t count;
};
static int stitch(struct rank *self, struct stitched *s, size_t count) {
    const aclrtPhysicalMemProp prop = {.memAttr = ACL_HBM_MEM_HUGE,
                                       .location = {self->rank, ACL_MEM_LOCATION_TYPE_DEVICE}};
    void *base;
    EXPECT_OK(aclrtReserveMemAddress(&base, count * PIECE, 0, NULL, 1));
    s->base = base;
    s->count = count;
    for (size_t i = 0; i < count; i++) EXPECT_OK(aclrtMallocPhysical(&s->pieces[i], PIECE, &prop, 0));
    for (size_t i = 0; i < count; i++) {
        const size_t k = (count - 1 - i + self->rank) % count; /* backwards: no two are neighbours */
        EXPECT_OK(aclrtMapMem(s->base + i * PIECE, PIECE, 0, s->pieces[k], 0));
    }
    return 0;
}
static int unstitch(struct rank *self, struct stitched *s) {
    for (size_t i = 0; i < s->count; i++) EXPECT_OK(aclrtUnmapMem(s->base + i * PIECE));
    for (size_t i = 0; i < s->count; i++) EXPECT_OK(aclrtFreePhysical(s->pieces[i]));
    EXPECT_OK(aclrtReleaseMemAddress(s->base));
    return 0;
}
static int across_seams(struct rank *self) {
    struct stitched a, b;
    TRY(stitch(self, &a, 6));
    TRY(stitch(self, &b, 6));
    const size_t most = 6 * PIECE / sizeof(float);
    TRY(use(self, (float *)(void *)(a.base + PIECE - 12), (float *)(void *)(b.base + PIECE - 20), 10000));
    TRY(use(self, (float *)(void *)a.base, (float *)(void *)b.base, most));
    TRY(use(self, (float *)(void *)(a.base + 4), (float *)(void *)(b.base + 8), most - 2));
    /* The same addresses show other memory. */
    TRY(unstitch(self, &a));
    TRY(stitch(self, &a, 5));
    TRY(use(self, (float *)(void *)(a.base + PIECE - 12), (float *)(void *)(b.base + PIECE - 20), 10000));
    TRY(unstitch(self, &a));
    return unstitch(self, &b);
}
TEST(buffers_across_seams) {
    CHECK(run_ranks(2, 60, across_seams));
    CHECK(run_ranks(3, 60, across_seams));
}

/* More pieces than the place of a buffer can list. */
static int many_pieces(struct rank *self) {
    struct stitched a, b;
    TRY(stitch(self, &a, 20));
    TRY(stitch(self, &b, 20));
    TRY(use_unmapped(self, (float *)(void *)a.base, (float *)(void *)b.base, 20 * PIECE / sizeof(float)));
    TRY(unstitch(self, &a));
    return unstitch(self, &b);
}
TEST(buffers_of_many_pieces) { CHECK(run_ranks(3, 60, many_pieces)); }

static long count_mappings(void) {
    FILE *file = fopen("/proc/self/maps", "r");
    long lines = 0;
    for (int c = file != NULL ? fgetc(file) : EOF; c != EOF; c = fgetc(file)) lines += c == '\n';
    if (file != NULL) fclose(file);
    return lines;
}

/* Thousands of different buffers across one seam: what is mapped for them is bounded. */
static int many_seams(struct rank *self) {
    struct stitched a, b;
    TRY(stitch(self, &a, 2));
    TRY(stitch(self, &b, 2));
    const long before = count_mappings();
    for (size_t round = 0; round < 2000; round++) {
        float *send = (float *)(void *)(a.base + PIECE - 4 * (1 + round));
        float *recv = (float *)(void *)(b.base + PIECE - 4 * (1 + round));
        const size_t count = 4000 + round;
        send[0] = send[count - 1] = (float)(round + self->rank);
        EXPECT_OK(HcclAllReduce(send, recv, count, FP32, HCCL_REDUCE_MAX, self->comm, self->stream));
        EXPECT_OK(aclrtSynchronizeStream(self->stream));
        const float most = (float)(round + self->num_ranks - 1);
        EXPECT(recv[0] == most && recv[count - 1] == most, "round %zu: %f and %f, not %f", round, recv[0],
               recv[count - 1], most);
    }
    const long after = count_mappings();
    EXPECT(after < before + 800, "%ld mappings, %ld before", after, before);
    TRY(unstitch(self, &a));
    return unstitch(self, &b);
}
TEST(many_buffers_across_a_seam) { CHECK(run_ranks(3, 100, many_seams)); }

/* Memory of rank 0, imported by rank 1, is what rank 1 sends and receives with. */
static int imported(struct rank *self) {
    enum { BYTES = COUNT * 4 };
    char *key = (char *)self->shared->word;
    float *own = floats(2 * COUNT);
    EXPECT(own, "memory");
    if (self->rank == 0) {
        EXPECT_OK(aclrtIpcMemGetExportKey(own, 2 * BYTES, key, 65,
                                          ACL_RT_IPC_MEM_EXPORT_FLAG_DISABLE_PID_VALIDATION));
    }
    host_barrier(self);
    float *memory = own;
    if (self->rank == 1) {
        void *address;
        EXPECT_OK(aclrtIpcMemImportByKey(&address, key, 0));
        memory = address;
    }
    /* Rank 0 uses other memory: the import is rank 1's alone. */
    float *mine = self->rank == 0 ? floats(2 * COUNT) : memory;
    EXPECT(mine, "memory");
    TRY(use(self, mine, mine + COUNT, 500)); /* in posts and slots */
    TRY(use_unmapped(self, mine, mine + COUNT, COUNT));
    host_barrier(self);
    if (self->rank == 1) EXPECT_OK(aclrtIpcMemClose(key));
    host_barrier(self);
    EXPECT_OK(aclrtFree(own));
    return 0;
}
TEST(memory_of_another_process) {
    CHECK(run_ranks(2, 60, imported));
    CHECK(run_ranks(3, 60, imported));
}

/* Freed and allocated anew between collectives: the same addresses, other memory; other sizes in between. */
static int anew(struct rank *self) {
    for (size_t round = 0; round < 40; round++) {
        const size_t count = round % 3 == 0 ? COUNT : 3000 + 100 * round;
        float *send = floats(count), *recv = floats(count);
        EXPECT(send && recv, "memory");
        TRY(use(self, send, recv, count));
        EXPECT_OK(aclrtFree(round % 2 ? send : recv));
        float *other = floats(100 + 10000 * (round % 5));
        EXPECT(other, "memory");
        EXPECT_OK(aclrtFree(round % 2 ? recv : send));
        EXPECT_OK(aclrtFree(other));
    }
    return 0;
}
TEST(memory_comes_and_goes) { CHECK(run_ranks(3, 100, anew)); }

/* A first collective on memory moves it. Two streams keep working on the same allocation, one with copies,
 * one in a collective of its own that waits for a rank that is late. */
static int moves_while_busy(struct rank *self) {
    enum { PARTS = 8, WORDS = 1 << 18 };
    uint32_t all[] = {0, 1, 2};
    aclrtStream busy, waiting;
    HcclComm second;
    EXPECT_OK(aclrtCreateStream(&busy));
    EXPECT_OK(aclrtCreateStream(&waiting));
    EXPECT_OK(HcclCreateSubCommConfig(&self->comm, self->num_ranks, all, 1, self->rank, NULL, &second));
    float *signal = floats(COUNT);
    EXPECT(signal, "memory");
    for (int round = 0; round < 6; round++) {
        float *memory = floats((size_t)PARTS * WORDS); /* private again */
        EXPECT(memory, "memory");
        for (size_t i = 0; i < WORDS; i++) memory[i] = value(self->rank, i);
        /* Parts 1 to 5: a chain of copies of part 0. */
        for (int turn = 0; turn < 30; turn++) {
            for (size_t k = 1; k <= 5; k++)
                EXPECT_OK(aclrtMemcpyAsync(memory + k * WORDS, WORDS * 4, memory + (k - 1) * WORDS, WORDS * 4,
                                           ACL_MEMCPY_DEVICE_TO_DEVICE, busy));
        }
        /* Rank 0 is late: the others wait in this one meanwhile. */
        if (self->rank == 0) usleep(20000);
        EXPECT_OK(HcclAllReduce(signal, signal, COUNT, FP32, HCCL_REDUCE_MAX, second, waiting));
        for (size_t i = 0; i < WORDS; i++) memory[6 * WORDS + i] = value(self->rank, i);
        EXPECT_OK(HcclAllReduce(memory + 6 * WORDS, memory + 7 * WORDS, WORDS, FP32, HCCL_REDUCE_SUM,
                                self->comm, self->stream));
        EXPECT_OK(aclrtSynchronizeDevice());
        for (size_t i = 0; i < WORDS; i++) {
            float sum = 0;
            for (uint32_t r = 0; r < self->num_ranks; r++) sum += value(r, i);
            EXPECT(memory[7 * WORDS + i] == sum, "round %d: sum [%zu] is %f", round, i,
                   memory[7 * WORDS + i]);
            for (size_t k = 0; k <= 5; k++)
                EXPECT(memory[k * WORDS + i] == value(self->rank, i), "round %d: copy %zu [%zu]", round, k,
                       i);
        }
        EXPECT_OK(aclrtFree(memory));
    }
    EXPECT_OK(HcclCommDestroy(second));
    EXPECT_OK(aclrtDestroyStream(busy));
    EXPECT_OK(aclrtDestroyStream(waiting));
    return 0;
}
TEST(memory_moves_while_streams_are_busy) {
    CHECK(run_ranks(2, 60, moves_while_busy));
    CHECK(run_ranks(3, 60, moves_while_busy));
}

/* Host memory is no device memory: it can be in a post or a slot, not mapped. Nothing may crash. */
static int host_memory(struct rank *self) {
    void *pinned;
    EXPECT_OK(aclrtMallocHost(&pinned, 2 * COUNT * sizeof(float)));
    float *host = pinned;
    TRY(use(self, host, host + COUNT, 500));
    EXPECT_OK(aclrtFreeHost(pinned));
    return 0;
}
TEST(small_buffers_of_the_host) { CHECK(run_ranks(2, 60, host_memory)); }
