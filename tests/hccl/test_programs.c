// SPDX-License-Identifier: Apache-2.0
/* Random programs: collectives and messages of all kinds on overlapping communicators that come and go, on
 * several streams with events between them, buffers that are freed and made anew, ranks that dawdle. Every
 * rank also carries out the program for all ranks by itself, one step after the other, and compares.
 *
 * A program is a function of its seed; what ranks may do differently (streams, buffers, pauses) is a function
 * of seed, step and rank. HC_TEST_FULL=1 runs more and longer ones, HC_TEST_SEED=n that one. */
#include "harness.h"
#include "hccl_data.h"
#include "hccl_ranks.h"

enum {
    MAX_WORLD = 8,
    NUM_BUFFERS = 6,
    BUFFER_BYTES = 1 << 17,
    NUM_STREAMS = 3,
    MAX_COMMS = 5,
    CHECK_EVERY = 25,
    MAX_MESSAGES = 8
};

struct part {
    bool alive;
    uint32_t size, members[MAX_WORLD]; /* ranks of the world, in any order */
    uint32_t self;                     /* place of this rank, `size` if it is none of them */
    HcclComm comm;
};

struct program {
    struct rank *self;
    uint64_t seed, step, state;
    struct part parts[MAX_COMMS];
    uint64_t num_made; /* communicators so far */
    char *buffers[NUM_BUFFERS];
    aclrtEvent last[NUM_BUFFERS]; /* recorded behind the last task that uses the buffer */
    aclrtStream streams[NUM_STREAMS];
    char *model[MAX_WORLD]; /* [NUM_BUFFERS] [BUFFER_BYTES] of every rank */
    char *results[MAX_WORLD];
};

/* The same on all ranks. */
static uint32_t draw(struct program *p, uint32_t below) {
    p->state = mix(p->state + 1);
    return (uint32_t)(p->state >> 20) % below;
}
/* Each rank's own, known to the others too. */
static uint32_t choice(const struct program *p, uint32_t rank, uint32_t which, uint32_t below) {
    return (uint32_t)(bits_of(p->seed * 1000003 + p->step, rank, which) >> 20) % below;
}
#define TRY(call)                                                                                            \
    do {                                                                                                     \
        if ((call) != 0) return 1;                                                                           \
    } while (0)
#define EXPECT_STEP(call)                                                                                    \
    EXPECT((call) == 0, "seed %llu, step %llu", (unsigned long long)p->seed, (unsigned long long)p->step)

/* A stream for this rank's part of the step, behind everything that used the buffers before. */
static int take_stream(struct program *p, uint32_t a, uint32_t b, aclrtStream *stream) {
    struct rank *self = p->self;
    *stream = p->streams[choice(p, self->rank, 0, NUM_STREAMS)];
    EXPECT_STEP(aclrtStreamWaitEvent(*stream, p->last[a]));
    if (b != a) EXPECT_STEP(aclrtStreamWaitEvent(*stream, p->last[b]));
    return 0;
}
static int give_stream(struct program *p, uint32_t a, uint32_t b, aclrtStream stream) {
    struct rank *self = p->self;
    EXPECT_STEP(aclrtRecordEvent(p->last[a], stream));
    if (b != a) EXPECT_STEP(aclrtRecordEvent(p->last[b], stream));
    return 0;
}

static uint32_t source_of(const struct program *p, uint32_t rank) { return choice(p, rank, 1, NUM_BUFFERS); }
static uint32_t target_of(const struct program *p, uint32_t rank) {
    return (source_of(p, rank) + 1 + choice(p, rank, 2, NUM_BUFFERS - 1)) % NUM_BUFFERS;
}
static char *model_of(const struct program *p, uint32_t rank, uint32_t buffer) {
    return p->model[rank] + (size_t)buffer * BUFFER_BYTES;
}

/* What a collective is called with; the same on all its ranks but for the buffers. */
struct call {
    struct part *part;
    const struct test_type *t;
    HcclReduceOp op;
    uint32_t root, kind;
    uint64_t count;
    bool in_place;
};
enum {
    ALL_REDUCE,
    REDUCE,
    BROADCAST,
    ALL_GATHER,
    REDUCE_SCATTER,
    SCATTER,
    ALL_TO_ALL,
    ALL_TO_ALL_V,
    BARRIER,
    KINDS
};

static uint64_t reduced(const struct program *p, const struct call *c, uint64_t index) {
    uint64_t sum = 0;
    for (uint32_t r = 0; r < c->part->size; r++) {
        const uint32_t rank = c->part->members[r];
        uint64_t v = 0;
        memcpy(&v, model_of(p, rank, source_of(p, rank)) + index * c->t->bytes, c->t->bytes);
        sum = r == 0 ? v : combine_int(c->t, c->op, sum, v);
    }
    return sum;
}
static uint64_t slice(const struct call *c, uint32_t from, uint32_t to) {
    return c->count * ((from + 2 * to) % 3) / 2;
}

/* The result of place `me` into `to`; returns its bytes, 0 where this rank's buffer stays as it is. */
static size_t model_result(const struct program *p, const struct call *c, uint32_t me, char *to) {
    const size_t e = c->t->bytes, bytes = c->count * e;
    const uint32_t n = c->part->size;
    const uint32_t root = c->part->members[c->root];
    const char *from_root = model_of(p, root, source_of(p, root));
    uint64_t first = 0;
    size_t used = 0;
    switch (c->kind) {
    case REDUCE_SCATTER: first = me * c->count; /* fallthrough */
    case ALL_REDUCE:
    case REDUCE:
        if (c->kind == REDUCE && me != c->root) return 0;
        for (uint64_t i = 0; i < c->count; i++) {
            const uint64_t v = reduced(p, c, first + i);
            memcpy(to + i * e, &v, e);
        }
        return bytes;
    case BROADCAST: memcpy(to, from_root, bytes); return bytes;
    case SCATTER: memcpy(to, from_root + me * bytes, bytes); return bytes;
    case BARRIER: return 0;
    default: break;
    }
    for (uint32_t r = 0; r < n; r++) {
        const uint32_t rank = c->part->members[r];
        const char *from = model_of(p, rank, source_of(p, rank));
        size_t skip = 0, length = bytes;
        if (c->kind == ALL_TO_ALL) skip = me * bytes;
        if (c->kind == ALL_TO_ALL_V) {
            for (uint32_t k = 0; k < me; k++) skip += slice(c, r, k) * e;
            length = slice(c, r, me) * e;
        }
        memcpy(to + used, from + skip, length);
        used += length;
    }
    return used;
}

/* Broadcasts work on one buffer: the source. */
static uint32_t result_buffer(const struct program *p, const struct call *c, uint32_t rank) {
    const bool same = c->kind == BROADCAST || (c->in_place && (c->kind == ALL_REDUCE || c->kind == REDUCE));
    return same ? source_of(p, rank) : target_of(p, rank);
}

static void model_call(struct program *p, const struct call *c) {
    size_t bytes[MAX_WORLD];
    for (uint32_t r = 0; r < c->part->size; r++) bytes[r] = model_result(p, c, r, p->results[r]);
    for (uint32_t r = 0; r < c->part->size; r++) {
        const uint32_t rank = c->part->members[r];
        memcpy(model_of(p, rank, result_buffer(p, c, rank)), p->results[r], bytes[r]);
    }
}

static HcclResult call_collective(const struct call *c, char *a, char *b, aclrtStream stream) {
    const HcclComm comm = c->part->comm;
    const HcclDataType t = c->t->type;
    const uint32_t me = c->part->self;
    uint64_t sc[MAX_WORLD], sd[MAX_WORLD], rc[MAX_WORLD], rd[MAX_WORLD], s = 0, r = 0;
    switch (c->kind) {
    case ALL_REDUCE: return HcclAllReduce(a, b, c->count, t, c->op, comm, stream);
    case REDUCE: return HcclReduce(a, b, c->count, t, c->op, c->root, comm, stream);
    case BROADCAST: return HcclBroadcast(a, c->count, t, c->root, comm, stream);
    case ALL_GATHER: return HcclAllGather(a, b, c->count, t, comm, stream);
    case REDUCE_SCATTER: return HcclReduceScatter(a, b, c->count, t, c->op, comm, stream);
    case SCATTER: return HcclScatter(a, b, c->count, t, c->root, comm, stream);
    case ALL_TO_ALL: return HcclAlltoAll(a, c->count, t, b, c->count, t, comm, stream);
    case BARRIER: return HcclBarrier(comm, stream);
    default: break;
    }
    for (uint32_t k = 0; k < c->part->size; k++) {
        sc[k] = slice(c, me, k);
        rc[k] = slice(c, k, me);
        sd[k] = s;
        rd[k] = r;
        s += sc[k];
        r += rc[k];
    }
    return HcclAlltoAllV(a, sc, sd, t, b, rc, rd, t, comm, stream);
}

/* Mostly small, sometimes as large as the buffers allow. */
static uint64_t draw_count(struct program *p, size_t most) {
    const uint32_t size = draw(p, 10);
    if (size == 0) return 0;
    if (size == 1) return most;
    return draw(p, (uint32_t)(size < 7 ? (most < 300 ? most : 300) : most)) + 1;
}

static int collective(struct program *p, struct part *part) {
    struct rank *self = p->self;
    struct call c = {.part = part, .kind = draw(p, KINDS), .op = (HcclReduceOp)draw(p, 4)};
    c.t = &TEST_TYPES[draw(p, 8)]; /* integers: results do not depend on the order */
    c.root = draw(p, part->size);
    c.count = draw_count(p, BUFFER_BYTES / c.t->bytes / part->size);
    c.in_place = draw(p, 2) != 0;
    if (part->self < part->size) {
        const uint32_t a = source_of(p, self->rank), b = result_buffer(p, &c, self->rank);
        aclrtStream stream;
        TRY(take_stream(p, a, b, &stream));
        EXPECT_STEP(call_collective(&c, p->buffers[a], p->buffers[b], stream));
        TRY(give_stream(p, a, b, stream));
    }
    model_call(p, &c);
    return 0;
}

/* Some messages between random ranks, the i-th from the i-th slice to the i-th slice; one call on each rank.
 */
static int messages(struct program *p, struct part *part) {
    struct rank *self = p->self;
    const uint32_t count = 1 + draw(p, MAX_MESSAGES), how = draw(p, 2);
    HcclSendRecvItem items[2 * MAX_MESSAGES];
    uint32_t num_items = 0, from[MAX_MESSAGES], to[MAX_MESSAGES];
    size_t bytes[MAX_MESSAGES];
    const uint32_t a = source_of(p, self->rank), b = target_of(p, self->rank);
    const size_t room = BUFFER_BYTES / MAX_MESSAGES;
    for (uint32_t i = 0; i < count; i++) {
        from[i] = draw(p, part->size);
        to[i] = draw(p, part->size);
        bytes[i] = draw_count(p, room);
        if (from[i] == part->self)
            items[num_items++] =
                (HcclSendRecvItem){HCCL_SEND, p->buffers[a] + i * room, bytes[i], HCCL_DATA_TYPE_INT8, to[i]};
        if (to[i] == part->self)
            items[num_items++] = (HcclSendRecvItem){HCCL_RECV, p->buffers[b] + i * room, bytes[i],
                                                    HCCL_DATA_TYPE_INT8, from[i]};
    }
    for (uint32_t i = 0; i < count; i++) {
        const uint32_t s = part->members[from[i]], t = part->members[to[i]];
        memcpy(model_of(p, t, target_of(p, t)) + i * room, model_of(p, s, source_of(p, s)) + i * room,
               bytes[i]);
    }
    if (num_items == 0) return 0;
    aclrtStream stream;
    TRY(take_stream(p, a, b, &stream));
    if (how == 0) {
        EXPECT_STEP(HcclBatchSendRecv(items, num_items, part->comm, stream));
    } else {
        EXPECT_STEP(HcclGroupStart());
        for (uint32_t i = 0; i < num_items; i++) {
            const HcclSendRecvItem *m = &items[i];
            if (m->sendRecvType == HCCL_SEND)
                EXPECT_STEP(HcclSend(m->buf, m->count, m->dataType, m->remoteRank, part->comm, stream));
            else EXPECT_STEP(HcclRecv(m->buf, m->count, m->dataType, m->remoteRank, part->comm, stream));
        }
        EXPECT_STEP(HcclGroupEnd());
    }
    return give_stream(p, a, b, stream);
}

/* Fill a part of a buffer, or copy one to another: work of the rank alone. */
static int local_work(struct program *p) {
    struct rank *self = p->self;
    for (uint32_t r = 0; r < self->num_ranks; r++) {
        const uint32_t a = source_of(p, r), b = target_of(p, r);
        const size_t bytes = 1 + choice(p, r, 3, BUFFER_BYTES - 1);
        const int value = (int)choice(p, r, 4, 256);
        const bool fill = choice(p, r, 5, 2) != 0;
        if (fill) memset(model_of(p, r, b), value, bytes);
        else memcpy(model_of(p, r, b), model_of(p, r, a), bytes);
        if (r != self->rank) continue;
        aclrtStream stream;
        TRY(take_stream(p, a, b, &stream));
        if (fill) EXPECT_STEP(aclrtMemsetAsync(p->buffers[b], BUFFER_BYTES, value, bytes, stream));
        else
            EXPECT_STEP(aclrtMemcpyAsync(p->buffers[b], BUFFER_BYTES, p->buffers[a], bytes,
                                         ACL_MEMCPY_DEVICE_TO_DEVICE, stream));
        TRY(give_stream(p, a, b, stream));
    }
    return 0;
}

/* The buffer gives its memory back and gets other memory, which no rank has mapped or moved yet. */
static int renew_buffer(struct program *p) {
    struct rank *self = p->self;
    const uint32_t b = target_of(p, self->rank);
    void *fresh;
    EXPECT_STEP(aclrtSynchronizeEvent(p->last[b]));
    EXPECT_STEP(aclrtMalloc(&fresh, BUFFER_BYTES + 64, 0));
    EXPECT_STEP(aclrtMemcpy(fresh, BUFFER_BYTES, p->buffers[b], BUFFER_BYTES, ACL_MEMCPY_DEVICE_TO_DEVICE));
    EXPECT_STEP(aclrtFree(p->buffers[b]));
    p->buffers[b] = fresh;
    return 0;
}

/* All members do this at the same step. A part of the world in any order, or all of it. */
static int make_part(struct program *p, struct part *part) {
    struct rank *self = p->self;
    uint32_t order[MAX_WORLD];
    if (part->alive && part->self < part->size) EXPECT_STEP(HcclCommDestroy(part->comm));
    for (uint32_t r = 0; r < self->num_ranks; r++) order[r] = r;
    for (uint32_t r = self->num_ranks - 1; r > 0; r--) {
        const uint32_t k = draw(p, r + 1), swap = order[r];
        order[r] = order[k];
        order[k] = swap;
    }
    *part = (struct part){.alive = true, .size = 1 + draw(p, self->num_ranks)};
    memcpy(part->members, order, sizeof part->members);
    part->self = part->size;
    for (uint32_t i = 0; i < part->size; i++)
        if (part->members[i] == self->rank) part->self = i;
    p->num_made++;
    if (part->self == part->size) return 0;
    EXPECT_STEP(HcclCreateSubCommConfig(&self->comm, part->size, part->members, p->num_made, part->self, NULL,
                                        &part->comm));
    return 0;
}

static int compare(struct program *p) {
    struct rank *self = p->self;
    for (int i = 0; i < NUM_STREAMS; i++) EXPECT_STEP(aclrtSynchronizeStream(p->streams[i]));
    for (uint32_t b = 0; b < NUM_BUFFERS; b++) {
        const char *want = model_of(p, self->rank, b), *got = p->buffers[b];
        for (size_t i = 0; i < BUFFER_BYTES; i++)
            EXPECT(want[i] == got[i], "seed %llu, after step %llu: byte %zu of buffer %u",
                   (unsigned long long)p->seed, (unsigned long long)p->step, i, b);
    }
    return 0;
}

static int run_step(struct program *p) {
    struct part *part = &p->parts[draw(p, MAX_COMMS)];
    const uint32_t what = draw(p, 20);
    if (choice(p, p->self->rank, 6, 16) == 0) usleep(choice(p, p->self->rank, 7, 3000));
    if (p->step % CHECK_EVERY == 0) TRY(compare(p));
    if (what < 11) return collective(p, part);
    if (what < 15) return messages(p, part);
    if (what < 18) return local_work(p);
    if (what == 18) return renew_buffer(p);
    return make_part(p, part);
}

static int prepare(struct program *p) {
    struct rank *self = p->self;
    for (uint32_t r = 0; r < self->num_ranks; r++) {
        p->model[r] = calloc(NUM_BUFFERS, BUFFER_BYTES);
        p->results[r] = malloc(2 * BUFFER_BYTES);
        EXPECT(p->model[r] && p->results[r], "memory");
        for (size_t i = 0; i < (size_t)NUM_BUFFERS * BUFFER_BYTES / 8; i++) {
            const uint64_t h = bits_of(p->seed, r, i);
            memcpy(p->model[r] + 8 * i, &h, 8);
        }
    }
    for (int i = 0; i < NUM_STREAMS; i++) EXPECT_STEP(aclrtCreateStream(&p->streams[i]));
    for (uint32_t b = 0; b < NUM_BUFFERS; b++) {
        void *memory;
        EXPECT_STEP(aclrtMalloc(&memory, BUFFER_BYTES + 64, 0));
        p->buffers[b] = memory;
        EXPECT_STEP(aclrtMemcpy(memory, BUFFER_BYTES, model_of(p, self->rank, b), BUFFER_BYTES,
                                ACL_MEMCPY_HOST_TO_DEVICE));
        EXPECT_STEP(aclrtCreateEventExWithFlag(&p->last[b], ACL_EVENT_SYNC));
        EXPECT_STEP(aclrtRecordEvent(p->last[b], p->streams[0]));
    }
    for (uint32_t c = 0; c < MAX_COMMS; c++) TRY(make_part(p, &p->parts[c]));
    return 0;
}

static int finish(struct program *p) {
    struct rank *self = p->self;
    TRY(compare(p));
    for (uint32_t c = 0; c < MAX_COMMS; c++)
        if (p->parts[c].self < p->parts[c].size) EXPECT_STEP(HcclCommDestroy(p->parts[c].comm));
    for (uint32_t b = 0; b < NUM_BUFFERS; b++) {
        EXPECT_STEP(aclrtDestroyEvent(p->last[b]));
        EXPECT_STEP(aclrtFree(p->buffers[b]));
    }
    for (int i = 0; i < NUM_STREAMS; i++) EXPECT_STEP(aclrtDestroyStream(p->streams[i]));
    for (uint32_t r = 0; r < self->num_ranks; r++) {
        free(p->model[r]);
        free(p->results[r]);
    }
    return 0;
}

static uint64_t g_seed, g_steps;

static int run_program(struct rank *self) {
    struct program p = {.self = self, .seed = g_seed, .state = g_seed};
    TRY(prepare(&p));
    for (p.step = 1; p.step <= g_steps; p.step++) TRY(run_step(&p));
    return finish(&p);
}

static bool run_seed(uint64_t seed, uint32_t num_ranks, uint64_t steps) {
    g_seed = seed;
    g_steps = steps;
    const bool good = run_ranks(num_ranks, 240, run_program);
    if (!good) printf("seed %llu, %u ranks\n", (unsigned long long)seed, num_ranks);
    return good;
}

TEST(programs) {
    const char *seed = getenv("HC_TEST_SEED");
    if (seed != NULL) {
        const uint64_t s = strtoull(seed, NULL, 10);
        CHECK(run_seed(s, 2 + (uint32_t)(s % 5), 1000));
        return;
    }
    const bool full = getenv("HC_TEST_FULL") != NULL;
    for (uint64_t s = 1; s <= (full ? 40 : 5); s++)
        CHECK(run_seed(s, 2 + (uint32_t)(s % 5), full ? 1000 : 300));
}
