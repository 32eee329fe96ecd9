// SPDX-License-Identifier: Apache-2.0
/* Patterns of messages and communicators that must make progress: pipeline schedules, calls in opposite order
 * on independent streams, floods. A dead-lock shows as the time limit of run_ranks. */
#include <pthread.h>

#include "harness.h"
#include "hccl_ranks.h"

enum { MICROBATCHES = 12, SMALL = 100, LARGE = 50000 };
#define FP32 HCCL_DATA_TYPE_FP32
#define TRY(call)                                                                                            \
    do {                                                                                                     \
        if ((call) != 0) return 1;                                                                           \
    } while (0)

static float *floats(size_t count) {
    void *p = NULL;
    return aclrtMalloc(&p, count * sizeof(float), 0) == 0 ? p : NULL;
}

/* What stage `stage` sends forward (or backward) of a micro-batch. */
static float token(uint32_t stage, int microbatch, bool backward) {
    return (float)(stage * 1000 + (uint32_t)microbatch * 2 + (backward ? 1 : 0));
}

struct pipe {
    struct rank *self;
    size_t count;
    float *out[2], *in[2]; /* [backward] */
    bool has_previous, has_next;
};

/* One step of a schedule: send and receive at once, either may be absent (-1). */
static int step(struct pipe *p, int send_forward, int receive_forward, int send_backward,
                int receive_backward) {
    struct rank *self = p->self;
    const uint32_t me = self->rank;
    HcclSendRecvItem items[4];
    uint32_t n = 0;
    const bool sf = send_forward >= 0 && p->has_next, rf = receive_forward >= 0 && p->has_previous;
    const bool sb = send_backward >= 0 && p->has_previous, rb = receive_backward >= 0 && p->has_next;
    EXPECT_OK(aclrtSynchronizeStream(self->stream));
    for (size_t i = 0; i < p->count; i++) {
        if (sf) p->out[0][i] = token(me, send_forward, false);
        if (sb) p->out[1][i] = token(me, send_backward, true);
    }
    if (sf) items[n++] = (HcclSendRecvItem){HCCL_SEND, p->out[0], p->count, FP32, me + 1};
    if (rb) items[n++] = (HcclSendRecvItem){HCCL_RECV, p->in[1], p->count, FP32, me + 1};
    if (sb) items[n++] = (HcclSendRecvItem){HCCL_SEND, p->out[1], p->count, FP32, me - 1};
    if (rf) items[n++] = (HcclSendRecvItem){HCCL_RECV, p->in[0], p->count, FP32, me - 1};
    if (n > 0) EXPECT_OK(HcclBatchSendRecv(items, n, self->comm, self->stream));
    EXPECT_OK(aclrtSynchronizeStream(self->stream));
    for (size_t i = 0; i < p->count; i++) {
        if (rf) EXPECT(p->in[0][i] == token(me - 1, receive_forward, false), "[%zu] is %f", i, p->in[0][i]);
        if (rb) EXPECT(p->in[1][i] == token(me + 1, receive_backward, true), "[%zu] is %f", i, p->in[1][i]);
    }
    return 0;
}

/* One forward, one backward, as Megatron schedules it: warm-up, steady state, cool-down. */
static int one_f_one_b(struct rank *self, size_t count) {
    const int stages = (int)self->num_ranks, me = (int)self->rank;
    const int warmup = stages - me - 1 < MICROBATCHES ? stages - me - 1 : MICROBATCHES;
    const int steady = MICROBATCHES - warmup;
    struct pipe p = {.self = self, .count = count, .has_previous = me > 0, .has_next = me + 1 < stages};
    for (int i = 0; i < 2; i++) {
        p.out[i] = floats(count);
        p.in[i] = floats(count);
        EXPECT(p.out[i] && p.in[i], "memory");
    }
    for (int i = 0; i < warmup; i++) {
        TRY(step(&p, -1, i, -1, -1));
        TRY(step(&p, i, -1, -1, -1));
    }
    if (steady > 0) TRY(step(&p, -1, warmup, -1, -1));
    for (int i = 0; i < steady; i++) {
        TRY(step(&p, warmup + i, -1, -1, i));
        TRY(step(&p, -1, i + 1 < steady ? warmup + i + 1 : -1, i, -1));
    }
    for (int i = 0; i < warmup; i++) {
        TRY(step(&p, -1, -1, -1, steady + i));
        TRY(step(&p, -1, -1, steady + i, -1));
    }
    for (int i = 0; i < 2; i++) {
        EXPECT_OK(aclrtFree(p.out[i]));
        EXPECT_OK(aclrtFree(p.in[i]));
    }
    return 0;
}
static int pipeline(struct rank *self) {
    TRY(one_f_one_b(self, SMALL));
    return one_f_one_b(self, LARGE);
}
TEST(one_forward_one_backward) {
    CHECK(run_ranks(2, 60, pipeline));
    CHECK(run_ranks(4, 60, pipeline));
    CHECK(run_ranks(5, 60, pipeline));
}

/* Interleaved stages: a ring in both directions in one batch, sends before receives on all ranks. */
static int ring(struct rank *self) {
    const uint32_t n = self->num_ranks, next = (self->rank + 1) % n, last = (self->rank + n - 1) % n;
    float *memory = floats(4 * (size_t)LARGE);
    EXPECT(memory, "memory");
    for (int round = 0; round < 20; round++) {
        const size_t count = round % 2 ? LARGE : SMALL;
        for (size_t i = 0; i < 2 * count; i++) memory[i] = (float)(self->rank * 100 + (uint32_t)round);
        HcclSendRecvItem items[] = {{HCCL_SEND, memory, count, FP32, next},
                                    {HCCL_SEND, memory + count, count, FP32, last},
                                    {HCCL_RECV, memory + 2 * count, count, FP32, last},
                                    {HCCL_RECV, memory + 3 * count, count, FP32, next}};
        EXPECT_OK(HcclBatchSendRecv(items, 4, self->comm, self->stream));
        EXPECT_OK(aclrtSynchronizeStream(self->stream));
        for (size_t i = 0; i < count; i++) {
            const float a = memory[2 * count + i], b = memory[3 * count + i];
            EXPECT(a == (float)(last * 100 + (uint32_t)round) && b == (float)(next * 100 + (uint32_t)round),
                   "round %d [%zu]: %f, %f", round, i, a, b);
        }
    }
    EXPECT_OK(aclrtFree(memory));
    return 0;
}
TEST(ring_in_both_directions) {
    CHECK(run_ranks(2, 60, ring)); /* next and last are one rank: the order of sends decides */
    CHECK(run_ranks(3, 60, ring));
    CHECK(run_ranks(8, 60, ring));
}

/* Two communicators of the same ranks, a stream each: half of the ranks launch them in the other order, and
 * wait for the first before they launch the second. */
static int opposite_order(struct rank *self) {
    uint32_t all[8] = {0, 1, 2, 3, 4, 5, 6, 7};
    HcclComm comms[2];
    aclrtStream streams[2];
    float *send = floats(LARGE), *recv[2] = {floats(LARGE), floats(LARGE)};
    EXPECT(send && recv[0] && recv[1], "memory");
    for (size_t i = 0; i < LARGE; i++) send[i] = 1;
    for (uint32_t k = 0; k < 2; k++) {
        EXPECT_OK(HcclCreateSubCommConfig(&self->comm, self->num_ranks, all, k, self->rank, NULL, &comms[k]));
        EXPECT_OK(aclrtCreateStream(&streams[k]));
    }
    for (int round = 0; round < 30; round++) {
        const size_t count = round % 2 ? LARGE : SMALL;
        for (uint32_t i = 0; i < 2; i++) {
            const uint32_t k = (i + self->rank) % 2;
            EXPECT_OK(HcclAllReduce(send, recv[k], count, FP32, HCCL_REDUCE_SUM, comms[k], streams[k]));
        }
        for (uint32_t k = 0; k < 2; k++) EXPECT_OK(aclrtSynchronizeStream(streams[k]));
        for (size_t i = 0; i < count; i++)
            EXPECT(recv[0][i] == (float)self->num_ranks && recv[1][i] == recv[0][i], "[%zu] is %f", i,
                   recv[0][i]);
    }
    for (uint32_t k = 0; k < 2; k++) {
        EXPECT_OK(HcclCommDestroy(comms[k]));
        EXPECT_OK(aclrtDestroyStream(streams[k]));
    }
    return 0;
}
TEST(two_communicators_in_opposite_order) {
    CHECK(run_ranks(2, 60, opposite_order));
    CHECK(run_ranks(5, 60, opposite_order));
}

/* Messages and collectives of one communicator on two streams do not wait for each other: rank 1 receives
 * only after it has seen the collective end, which is launched behind the send on rank 0. */
static int messages_beside_collectives(struct rank *self) {
    aclrtStream second;
    float *a = floats(LARGE), *b = floats(LARGE), *c = floats(LARGE);
    EXPECT(a && b && c, "memory");
    EXPECT_OK(aclrtCreateStream(&second));
    for (size_t i = 0; i < LARGE; i++) a[i] = (float)self->rank + 1, b[i] = c[i] = 0;
    for (int round = 0; round < 10; round++) {
        if (self->rank == 0) EXPECT_OK(HcclSend(a, LARGE, FP32, 1, self->comm, second));
        EXPECT_OK(HcclAllReduce(a, b, LARGE, FP32, HCCL_REDUCE_MAX, self->comm, self->stream));
        EXPECT_OK(aclrtSynchronizeStream(self->stream));
        if (self->rank == 1) EXPECT_OK(HcclRecv(c, LARGE, FP32, 0, self->comm, second));
        EXPECT_OK(aclrtSynchronizeStream(second));
        EXPECT(b[LARGE - 1] == (float)self->num_ranks, "%f", b[LARGE - 1]);
        if (self->rank == 1) EXPECT(c[LARGE - 1] == 1, "%f", c[LARGE - 1]);
    }
    EXPECT_OK(aclrtDestroyStream(second));
    return 0;
}
TEST(messages_do_not_wait_for_collectives) { CHECK(run_ranks(2, 60, messages_beside_collectives)); }

/* A thousand small messages before the first is received: senders wait for room, and their order is kept. */
static int flood(struct rank *self) {
    enum { MESSAGES = 1000 };
    float *memory = floats(MESSAGES);
    EXPECT(memory, "memory");
    if (self->rank == 0) {
        for (int i = 0; i < MESSAGES; i++) memory[i] = (float)i;
        for (int i = 0; i < MESSAGES; i++)
            EXPECT_OK(HcclSend(memory + i, 1, FP32, 1 + (uint32_t)i % (self->num_ranks - 1), self->comm,
                               self->stream));
    } else {
        usleep(50000);
        for (int i = (int)self->rank - 1; i < MESSAGES; i += (int)self->num_ranks - 1)
            EXPECT_OK(HcclRecv(memory + i, 1, FP32, 0, self->comm, self->stream));
    }
    EXPECT_OK(aclrtSynchronizeStream(self->stream));
    for (int i = (int)self->rank - 1; i >= 0 && i < MESSAGES; i += (int)self->num_ranks - 1)
        EXPECT(memory[i] == (float)i, "[%d] is %f", i, memory[i]);
    return 0;
}
TEST(a_thousand_messages_keep_their_order) {
    CHECK(run_ranks(2, 60, flood));
    CHECK(run_ranks(4, 60, flood));
}

/* All ranks within one process, a device and a thread each. */
struct local {
    pthread_t thread;
    uint32_t rank, num_ranks;
    HcclComm comm;
    int code;
};
static int local_main(struct local *l) {
    struct rank r = {.rank = l->rank, .num_ranks = l->num_ranks, .comm = l->comm}, *self = &r;
    EXPECT_OK(aclrtSetDevice((int32_t)l->rank));
    EXPECT_OK(aclrtCreateStream(&r.stream));
    TRY(pipeline(self));
    TRY(ring(self));
    float *a = floats(LARGE), *b = floats(LARGE);
    EXPECT(a && b, "memory");
    for (size_t i = 0; i < LARGE; i++) a[i] = (float)l->rank;
    EXPECT_OK(HcclAllReduce(a, b, LARGE, FP32, HCCL_REDUCE_SUM, l->comm, r.stream));
    EXPECT_OK(aclrtSynchronizeStream(r.stream));
    const float sum = (float)(l->num_ranks * (l->num_ranks - 1) / 2);
    for (size_t i = 0; i < LARGE; i++) EXPECT(b[i] == sum, "[%zu] is %f", i, b[i]);
    EXPECT_OK(aclrtDestroyStream(r.stream));
    return 0;
}
static void *local_thread(void *arg) {
    struct local *l = arg;
    l->code = local_main(l);
    return NULL;
}
static int one_process(struct rank *self) {
    enum { DEVICES = 3 };
    int32_t devices[DEVICES] = {0, 1, 2};
    HcclComm comms[DEVICES];
    struct local locals[DEVICES];
    EXPECT_OK(HcclCommInitAll(DEVICES, devices, comms));
    for (uint32_t i = 0; i < DEVICES; i++) {
        locals[i] = (struct local){.rank = i, .num_ranks = DEVICES, .comm = comms[i]};
        pthread_create(&locals[i].thread, NULL, local_thread, &locals[i]);
    }
    int code = 0;
    for (uint32_t i = 0; i < DEVICES; i++) {
        pthread_join(locals[i].thread, NULL);
        code |= locals[i].code;
        EXPECT_OK(HcclCommDestroy(comms[i]));
    }
    return code;
}
TEST(ranks_within_one_process) {
#ifdef __SANITIZE_THREAD__
    SKIP("ranks synchronise through two mappings of one page, which the sanitizer takes for two places");
#endif
    CHECK(run_ranks(1, 60, one_process));
}
