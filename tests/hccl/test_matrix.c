// SPDX-License-Identifier: Apache-2.0
/* Every collective x element type x reduction x number of ranks x size x in place or not, against the model
 * in hccl_data.h. All sizes with two ranks; elsewhere each combination of the others has one size of the
 * seven, the next one the next. HC_TEST_FULL=1: all sizes everywhere, all numbers of ranks, and 64 MiB. */
#include "hc_board.h"
#include "harness.h"
#include "hccl_data.h"
#include "hccl_ranks.h"

enum { CANARY = 0xa5, GAP = 3, FAST_BYTES = 1 << 19, BIG_BYTES = 64 << 20 };

/* One call: what varies, and the memory to do it in. */
struct trial {
    struct rank *self;
    const struct test_type *t;
    HcclReduceOp op;
    enum values values;
    uint64_t count, seed; /* elements of the call */
    uint32_t root;
    bool in_place, repeats;
    char *a, *b; /* buffers, `bytes` each */
    size_t bytes;
    size_t place; /* sum of the numbers of type, reduction, values and size */
};

static char g_what[200];

static bool g_exact; /* only values whose sums are the same in every order */

static bool full(void) { return getenv("HC_TEST_FULL") != NULL; }

enum { NUM_COUNTS = 7 };
static bool g_all_counts = true;

/* Large buffers repeat their first PERIOD elements, a prime number, so that what lands elsewhere differs;
 * they are filled and compared by periods. */
enum { PERIOD = 65521, ALL_RANKS = -1 };
static char g_period[PERIOD * 16];

/* What `rank` brought at `index`; ALL_RANKS: what the ranks' reduce to. */
static void model(const struct trial *x, int64_t rank, uint64_t index, void *at) {
    if (rank == ALL_RANKS) write_reduced(x->t, x->op, x->values, x->seed, x->self->num_ranks, index, at);
    else write_value(x->t, x->op, x->values, x->seed, (uint32_t)rank, index, at);
}
static void make_period(const struct trial *x, int64_t rank) {
    for (uint64_t i = 0; i < PERIOD; i++) model(x, rank, i, g_period + i * x->t->bytes);
}
/* The part of a period from `index` on. */
static const char *in_period(const struct trial *x, uint64_t index, uint64_t *count) {
    *count = hc_min_size(*count, PERIOD - index % PERIOD);
    return g_period + index % PERIOD * x->t->bytes;
}
static void put(const struct trial *x, uint64_t first, uint64_t count, char *at) {
    if (!x->repeats) {
        fill_values(x->t, x->op, x->values, x->seed, x->self->rank, first, count, at);
        return;
    }
    make_period(x, x->self->rank);
    for (uint64_t i = 0, n; i < count; i += n) {
        n = count - i;
        const char *from = in_period(x, first + i, &n);
        memcpy(at + i * x->t->bytes, from, n * x->t->bytes);
    }
}

/* Moved data has the same bits. */
static int is_right(const struct trial *x, int64_t rank, uint64_t index, const char *want, const char *got) {
    const struct rank *self = x->self;
    const bool right = rank == ALL_RANKS ? same_value(x->t, want, got) : memcmp(want, got, x->t->bytes) == 0;
    EXPECT(right, "%s: element %llu (rank %lld) is %g, wanted %g", g_what, (unsigned long long)index,
           (long long)rank, x->t->kind == 'F' ? read_float(x->t, got) : (double)*got,
           x->t->kind == 'F' ? read_float(x->t, want) : (double)*want);
    return 0;
}
/* `at` holds what the model says of `first` and behind. */
static int holds(const struct trial *x, int64_t rank, uint64_t first, uint64_t count, const char *at) {
    const size_t size = x->t->bytes;
    char one[16];
    if (x->repeats) make_period(x, rank);
    for (uint64_t i = 0, n; i < count; i += n) {
        const char *want = one;
        n = x->repeats ? count - i : 1;
        if (x->repeats) want = in_period(x, first + i, &n);
        else model(x, rank, first + i, one);
        if (memcmp(want, at + i * size, n * size) == 0) continue;
        for (uint64_t k = 0; k < n; k++)
            if (is_right(x, rank, i + k, want + k * size, at + (i + k) * size) != 0) return 1;
    }
    return 0;
}
static int has_values(const struct trial *x, uint32_t rank, uint64_t first, uint64_t count, const char *at) {
    return holds(x, rank, first, count, at);
}
static int has_reduced(const struct trial *x, uint64_t first, uint64_t count, const char *at) {
    return holds(x, ALL_RANKS, first, count, at);
}
static int is_untouched(const struct trial *x, const char *at, size_t bytes) {
    const struct rank *self = x->self;
    for (size_t i = 0; i < bytes; i++)
        EXPECT((unsigned char)at[i] == CANARY, "%s: byte %zu beside the result was written", g_what, i);
    return 0;
}
/* Nothing behind `used` bytes of a buffer was written. */
static int ends_at(const struct trial *x, const char *buffer, size_t used) {
    return is_untouched(x, buffer + used, hc_min_size(64, x->bytes - used));
}
static char *at(const struct trial *x, char *buffer, uint64_t element) {
    return buffer + element * x->t->bytes;
}
static int finish(const struct trial *x) {
    const struct rank *self = x->self;
    EXPECT(aclrtSynchronizeStream(self->stream) == 0, "%s", g_what);
    return 0;
}
#define TRY(call)                                                                                            \
    do {                                                                                                     \
        if ((call) != 0) return 1;                                                                           \
    } while (0)
#define EXPECT_CALL(call) EXPECT((call) == HCCL_SUCCESS, "%s", g_what)
#define COMM self->comm, self->stream

static int all_reduce(const struct trial *x) {
    struct rank *self = x->self;
    char *to = x->in_place ? x->a : x->b;
    put(x, 0, x->count, x->a);
    EXPECT_CALL(HcclAllReduce(x->a, to, x->count, x->t->type, x->op, COMM));
    TRY(finish(x));
    if (!x->in_place) TRY(has_values(x, self->rank, 0, x->count, x->a));
    TRY(has_reduced(x, 0, x->count, to));
    return ends_at(x, to, x->count * x->t->bytes);
}

static int reduce(const struct trial *x) {
    struct rank *self = x->self;
    const bool root = self->rank == x->root;
    char *to = x->in_place ? x->a : x->b;
    put(x, 0, x->count, x->a);
    EXPECT_CALL(HcclReduce(x->a, to, x->count, x->t->type, x->op, x->root, COMM));
    TRY(finish(x));
    if (!root || !x->in_place) TRY(has_values(x, self->rank, 0, x->count, x->a));
    if (root) TRY(has_reduced(x, 0, x->count, to));
    return ends_at(x, x->b, root && !x->in_place ? x->count * x->t->bytes : 0);
}

static int reduce_scatter(const struct trial *x) {
    struct rank *self = x->self;
    const uint64_t first = self->rank * x->count;
    char *to = x->in_place ? at(x, x->a, first) : x->b;
    put(x, 0, x->count * self->num_ranks, x->a);
    EXPECT_CALL(HcclReduceScatter(x->a, to, x->count, x->t->type, x->op, COMM));
    TRY(finish(x));
    TRY(has_reduced(x, first, x->count, to));
    TRY(has_values(x, self->rank, 0, first, x->a));
    return ends_at(x, x->in_place ? x->a : x->b,
                   x->count * x->t->bytes * (x->in_place ? self->num_ranks : 1));
}

/* Slices of different sizes, with gaps; some are empty. */
static uint64_t slice(const struct trial *x, uint32_t from, uint32_t to) {
    return x->count * ((from * 3 + to * 5 + 1) % 4) / 2;
}

static int reduce_scatter_v(const struct trial *x) {
    struct rank *self = x->self;
    uint64_t counts[16], places[16], next = 0;
    for (uint32_t r = 0; r < self->num_ranks; r++) {
        counts[r] = slice(x, 0, r);
        places[r] = next;
        next += counts[r] + GAP;
    }
    const uint64_t own = counts[self->rank], first = places[self->rank];
    char *to = x->in_place ? at(x, x->a, first) : x->b;
    put(x, 0, next, x->a);
    EXPECT_CALL(HcclReduceScatterV(x->a, counts, places, to, own, x->t->type, x->op, COMM));
    TRY(finish(x));
    TRY(has_reduced(x, first, own, to));
    TRY(has_values(x, self->rank, first + own, GAP, at(x, x->a, first + own)));
    return ends_at(x, x->b, x->in_place ? 0 : own * x->t->bytes);
}

static int broadcast(const struct trial *x) {
    struct rank *self = x->self;
    if (self->rank == x->root) put(x, 0, x->count, x->a);
    EXPECT_CALL(HcclBroadcast(x->a, x->count, x->t->type, x->root, COMM));
    TRY(finish(x));
    TRY(has_values(x, x->root, 0, x->count, x->a));
    return ends_at(x, x->a, x->count * x->t->bytes);
}

static int scatter(const struct trial *x) {
    struct rank *self = x->self;
    const bool root = self->rank == x->root;
    char *to = root && x->in_place ? at(x, x->a, x->root * x->count) : x->b;
    if (root) put(x, 0, x->count * self->num_ranks, x->a);
    EXPECT_CALL(HcclScatter(root ? x->a : NULL, to, x->count, x->t->type, x->root, COMM));
    TRY(finish(x));
    TRY(has_values(x, x->root, self->rank * x->count, x->count, to));
    return ends_at(x, x->b, root && x->in_place ? 0 : x->count * x->t->bytes);
}

static int all_gather(const struct trial *x) {
    struct rank *self = x->self;
    char *from = x->in_place ? at(x, x->b, self->rank * x->count) : x->a;
    put(x, 0, x->count, from);
    EXPECT_CALL(HcclAllGather(from, x->b, x->count, x->t->type, COMM));
    TRY(finish(x));
    for (uint32_t r = 0; r < self->num_ranks; r++)
        TRY(has_values(x, r, 0, x->count, at(x, x->b, r * x->count)));
    return ends_at(x, x->b, x->count * self->num_ranks * x->t->bytes);
}

static int all_gather_v(const struct trial *x) {
    struct rank *self = x->self;
    uint64_t counts[16], places[16], next = GAP;
    for (uint32_t r = 0; r < self->num_ranks; r++) {
        counts[r] = slice(x, r, 0);
        places[r] = next;
        next += counts[r] + GAP;
    }
    char *from = x->in_place ? at(x, x->b, places[self->rank]) : x->a;
    put(x, 0, counts[self->rank], from);
    EXPECT_CALL(HcclAllGatherV(from, counts[self->rank], x->b, counts, places, x->t->type, COMM));
    TRY(finish(x));
    TRY(is_untouched(x, x->b, GAP * x->t->bytes));
    for (uint32_t r = 0; r < self->num_ranks; r++) {
        TRY(has_values(x, r, 0, counts[r], at(x, x->b, places[r])));
        TRY(is_untouched(x, at(x, x->b, places[r] + counts[r]), GAP * x->t->bytes));
    }
    return 0;
}

static int all_to_all(const struct trial *x) {
    struct rank *self = x->self;
    put(x, 0, x->count * self->num_ranks, x->a);
    EXPECT_CALL(HcclAlltoAll(x->a, x->count, x->t->type, x->b, x->count, x->t->type, COMM));
    TRY(finish(x));
    for (uint32_t r = 0; r < self->num_ranks; r++)
        TRY(has_values(x, r, self->rank * x->count, x->count, at(x, x->b, r * x->count)));
    return ends_at(x, x->b, x->count * self->num_ranks * x->t->bytes);
}

/* Where rank `from` has its slice for `to`, and how far all of its slices reach. */
static uint64_t place(const struct trial *x, uint32_t from, uint32_t to, uint64_t gap) {
    uint64_t sum = 0;
    for (uint32_t r = 0; r < to; r++) sum += slice(x, from, r) + gap;
    return sum;
}
static int check_slices(const struct trial *x, uint64_t gap) {
    uint64_t next = 0;
    for (uint32_t r = 0; r < x->self->num_ranks; r++) {
        const uint64_t own = slice(x, r, x->self->rank);
        TRY(has_values(x, r, place(x, r, x->self->rank, gap), own, at(x, x->b, next)));
        TRY(is_untouched(x, at(x, x->b, next + own), gap * x->t->bytes));
        next += own + gap;
    }
    return ends_at(x, x->b, next * x->t->bytes);
}

static int all_to_all_v(const struct trial *x) {
    struct rank *self = x->self;
    const uint32_t n = self->num_ranks;
    uint64_t sc[16], sd[16], rc[16], rd[16], next = 0;
    for (uint32_t r = 0; r < n; r++) {
        sc[r] = slice(x, self->rank, r);
        sd[r] = place(x, self->rank, r, GAP);
        rc[r] = slice(x, r, self->rank);
        rd[r] = next;
        next += rc[r] + GAP;
    }
    put(x, 0, place(x, self->rank, n, GAP), x->a);
    EXPECT_CALL(HcclAlltoAllV(x->a, sc, sd, x->t->type, x->b, rc, rd, x->t->type, COMM));
    TRY(finish(x));
    return check_slices(x, GAP);
}

static int all_to_all_vc(const struct trial *x) {
    struct rank *self = x->self;
    const uint32_t n = self->num_ranks;
    uint64_t matrix[16 * 16];
    for (uint32_t r = 0; r < n; r++)
        for (uint32_t c = 0; c < n; c++) matrix[r * n + c] = slice(x, r, c);
    put(x, 0, place(x, self->rank, n, 0), x->a);
    EXPECT_CALL(HcclAlltoAllVC(x->a, matrix, x->t->type, x->b, x->t->type, COMM));
    TRY(finish(x));
    return check_slices(x, 0);
}

static int batch(const struct trial *x) {
    struct rank *self = x->self;
    const uint32_t n = self->num_ranks;
    HcclSendRecvItem items[32];
    put(x, 0, x->count * n, x->a);
    for (uint32_t p = 0; p < n; p++) {
        items[2 * p] = (HcclSendRecvItem){HCCL_SEND, at(x, x->a, p * x->count), x->count, x->t->type, p};
        items[2 * p + 1] = (HcclSendRecvItem){HCCL_RECV, at(x, x->b, p * x->count), x->count, x->t->type, p};
    }
    EXPECT_CALL(HcclBatchSendRecv(items, 2 * n, COMM));
    TRY(finish(x));
    for (uint32_t r = 0; r < n; r++)
        TRY(has_values(x, r, self->rank * x->count, x->count, at(x, x->b, r * x->count)));
    return ends_at(x, x->b, x->count * n * x->t->bytes);
}

/* Everyone to everyone but oneself, receives first. */
static int group(const struct trial *x) {
    struct rank *self = x->self;
    const uint32_t n = self->num_ranks;
    put(x, 0, x->count * n, x->a);
    EXPECT_CALL(HcclGroupStart());
    for (uint32_t p = 0; p < n; p++)
        if (p != self->rank) EXPECT_CALL(HcclRecv(at(x, x->b, p * x->count), x->count, x->t->type, p, COMM));
    for (uint32_t p = 0; p < n; p++)
        if (p != self->rank) EXPECT_CALL(HcclSend(at(x, x->a, p * x->count), x->count, x->t->type, p, COMM));
    EXPECT_CALL(HcclGroupEnd());
    TRY(finish(x));
    for (uint32_t r = 0; r < n; r++)
        if (r != self->rank)
            TRY(has_values(x, r, self->rank * x->count, x->count, at(x, x->b, r * x->count)));
    return is_untouched(x, at(x, x->b, self->rank * x->count), x->count * x->t->bytes);
}

/* Along the ring; neighbours call in opposite order. */
static int send_recv(const struct trial *x) {
    struct rank *self = x->self;
    const uint32_t n = self->num_ranks, next = (self->rank + 1) % n, last = (self->rank + n - 1) % n;
    if (n == 1) return 0;
    put(x, 0, x->count, x->a);
    if (self->rank % 2 == 0) EXPECT_CALL(HcclSend(x->a, x->count, x->t->type, next, COMM));
    EXPECT_CALL(HcclRecv(x->b, x->count, x->t->type, last, COMM));
    if (self->rank % 2 == 1) EXPECT_CALL(HcclSend(x->a, x->count, x->t->type, next, COMM));
    TRY(finish(x));
    TRY(has_values(x, last, 0, x->count, x->b));
    return ends_at(x, x->b, x->count * x->t->bytes);
}

static int barrier(const struct trial *x) {
    struct rank *self = x->self;
    EXPECT_CALL(HcclBarrier(COMM));
    return finish(x);
}

static const struct {
    const char *name;
    int (*run)(const struct trial *x);
    bool reduces, in_place, sliced;
} KINDS[] = {
    {"HcclAllReduce", all_reduce, true, true, false},
    {"HcclReduce", reduce, true, true, false},
    {"HcclReduceScatter", reduce_scatter, true, true, true},
    {"HcclReduceScatterV", reduce_scatter_v, true, true, true},
    {"HcclBroadcast", broadcast, false, false, false},
    {"HcclScatter", scatter, false, true, true},
    {"HcclAllGather", all_gather, false, true, true},
    {"HcclAllGatherV", all_gather_v, false, true, true},
    {"HcclAlltoAll", all_to_all, false, false, true},
    {"HcclAlltoAllV", all_to_all_v, false, false, true},
    {"HcclAlltoAllVC", all_to_all_vc, false, false, true},
    {"HcclBatchSendRecv", batch, false, false, true},
    {"HcclGroupEnd", group, false, false, true},
    {"HcclSend", send_recv, false, false, false},
    {"HcclBarrier", barrier, false, false, false},
};
enum { NUM_KINDS = sizeof KINDS / sizeof KINDS[0] };

static int run_trial(struct trial *x, size_t kind) {
    x->seed++;
    x->root = (uint32_t)(x->seed % x->self->num_ranks);
    snprintf(g_what, sizeof g_what, "%s of %llu %s, %s, root %u%s", KINDS[kind].name,
             (unsigned long long)x->count, x->t->name, TEST_OPS[x->op], x->root,
             x->in_place ? ", in place" : "");
    /* As far as a trial may reach: bigger ones cost more. */
    const size_t reach = hc_min_size(x->bytes, (x->count + GAP) * 2 * x->self->num_ranks * x->t->bytes + 64);
    memset(x->a, CANARY, reach);
    memset(x->b, CANARY, reach);
    return KINDS[kind].run(x);
}

/* A type that is only moved: the reduction is refused by name, and the communicator goes on. */
static int refuses(const struct trial *x, size_t kind) {
    struct rank *self = x->self;
    static const char *const NAMES[] = {"int128", "hifloat8", "float8_e4m3fn", "float8_e5m2",
                                        "float8_e8m0fnu"};
    const uint64_t counts[16] = {0}, places[16] = {0};
    HcclResult code = 0;
    if (kind == 0) code = HcclAllReduce(x->a, x->b, 8, x->t->type, x->op, COMM);
    if (kind == 1) code = HcclReduce(x->a, x->b, 8, x->t->type, x->op, 0, COMM);
    if (kind == 2) code = HcclReduceScatter(x->a, x->b, 8, x->t->type, x->op, COMM);
    if (kind == 3) code = HcclReduceScatterV(x->a, counts, places, x->b, 0, x->t->type, x->op, COMM);
    EXPECT(code == HCCL_E_NOT_SUPPORT, "%s of %s: code %d", KINDS[kind].name, x->t->name, (int)code);
    const char *text = aclGetRecentErrMsg();
    bool named = false;
    for (size_t i = 0; i < sizeof NAMES / sizeof NAMES[0]; i++)
        named = named || strstr(text, NAMES[i]) != NULL;
    EXPECT(named && strstr(text, KINDS[kind].name) && strstr(text, "cannot be reduced"), "%s", text);
    return 0;
}

static int run_kinds(struct trial *x) {
    for (size_t k = 0; k < NUM_KINDS; k++) {
        const bool moves = !KINDS[k].reduces;
        if (moves && (x->op != HCCL_REDUCE_SUM || x->values != VALUES_EXACT)) continue;
        if (!moves && x->t->kind == 'M') {
            if (x->self->num_ranks > 1 && x->count == 0) TRY(refuses(x, k));
            continue;
        }
        for (int in_place = 0; in_place <= KINDS[k].in_place; in_place++) {
            x->in_place = in_place != 0;
            if (g_all_counts || (x->place + k + (size_t)in_place) % NUM_COUNTS == 0) TRY(run_trial(x, k));
        }
    }
    return 0;
}

static int allocate(struct trial *x, size_t bytes) {
    struct rank *self = x->self;
    void *a, *b;
    EXPECT_OK(aclrtMalloc(&a, bytes + 64, 0));
    EXPECT_OK(aclrtMalloc(&b, bytes + 64, 0));
    x->a = a;
    x->b = (char *)b + 48; /* aligned to an element, not to a page */
    x->bytes = bytes;
    return 0;
}

/* All types, all reductions: nothing, one, odd, around what fits into a post, beyond. */
static int small(struct rank *self) {
    struct trial x = {.self = self, .seed = 1};
    TRY(allocate(&x, FAST_BYTES));
    for (size_t t = 0; t < NUM_TEST_TYPES; t++) {
        const uint64_t fits = HC_INLINE_BYTES / TEST_TYPES[t].bytes;
        const uint64_t counts[NUM_COUNTS] = {0, 1, 7, fits - 1, fits, fits + 1, fits / self->num_ranks + 1};
        x.t = &TEST_TYPES[t];
        for (int op = 0; op < 4; op++) {
            x.op = (HcclReduceOp)op;
            for (int v = VALUES_EXACT; v <= VALUES_SPECIAL; v++) {
                if (v != VALUES_EXACT && (x.t->kind != 'F' || g_exact)) continue;
                x.values = (enum values)v;
                for (size_t c = 0; c < NUM_COUNTS; c++) {
                    x.count = counts[c];
                    x.place = t + (size_t)op + (size_t)v + c;
                    TRY(run_kinds(&x));
                }
            }
        }
    }
    return 0;
}

static int big(struct rank *self) {
    struct trial x = {.self = self, .seed = 100, .op = HCCL_REDUCE_SUM, .repeats = true};
    TRY(allocate(&x, (size_t)BIG_BYTES * 2));
    for (size_t t = 0; t < NUM_TEST_TYPES; t++) {
        x.t = &TEST_TYPES[t];
        if (x.t->type != HCCL_DATA_TYPE_FP32 && x.t->type != HCCL_DATA_TYPE_BFP16 &&
            x.t->type != HCCL_DATA_TYPE_INT8)
            continue;
        for (size_t k = 0; k < NUM_KINDS; k++) {
            x.count = BIG_BYTES / x.t->bytes / (KINDS[k].sliced ? self->num_ranks : 1) - 1;
            for (int in_place = 0; in_place <= KINDS[k].in_place; in_place++) {
                x.in_place = in_place != 0;
                TRY(run_trial(&x, k));
            }
        }
    }
    return 0;
}

/* Both sides of an exchange may count in different types. */
static int two_types(struct rank *self) {
    struct trial x = {.self = self, .t = &TEST_TYPES[0], .count = 800, .seed = 5};
    TRY(allocate(&x, FAST_BYTES));
    memset(x.b, CANARY, x.bytes);
    put(&x, 0, 800 * self->num_ranks, x.a);
    EXPECT_OK(HcclAlltoAll(x.a, 100, HCCL_DATA_TYPE_INT64, x.b, 200, HCCL_DATA_TYPE_FP32, COMM));
    TRY(finish(&x));
    for (uint32_t r = 0; r < self->num_ranks; r++)
        TRY(has_values(&x, r, self->rank * 800, 800, x.b + r * 800));
    return ends_at(&x, x.b, 800 * self->num_ranks);
}

static bool each_with_one_count(uint32_t num_ranks) {
    g_all_counts = full();
    const bool good = run_ranks(num_ranks, 300, small);
    g_all_counts = true;
    return good;
}

TEST(small_one_rank) { CHECK(each_with_one_count(1)); }
TEST(small_two_ranks) { CHECK(run_ranks(2, 120, small)); }
TEST(small_three_ranks) { CHECK(each_with_one_count(3)); }
TEST(small_eight_ranks) { CHECK(each_with_one_count(8)); }
TEST(two_types_three_ranks) { CHECK(run_ranks(3, 60, two_types)); }

TEST(instruction_sets) {
    static const char *const ISAS[] = {"scalar", "avx2", "avx512", "neon"};
    const char *before = getenv("HC_ISA");
    int tried = 0;
    for (size_t i = 0; i < sizeof ISAS / sizeof ISAS[0]; i++) {
        setenv("HC_ISA", ISAS[i], 1);
        const pid_t child = fork(); /* decides once per process whether it can */
        if (child == 0) _exit(aclInit(NULL) == 0 ? 0 : 1);
        int status = 1;
        waitpid(child, &status, 0);
        if (status != 0) continue;
        tried++;
        CHECK_MSG(each_with_one_count(2), "HC_ISA=%s", ISAS[i]);
    }
    if (before != NULL) setenv("HC_ISA", before, 1);
    else unsetenv("HC_ISA");
    CHECK(tried > 0);
}

/* The same over messages, which add up in other orders. */
static bool over_messages(const char *algorithms, uint32_t num_ranks) {
    g_exact = true;
    setenv("MINDSPEED_HCCL_ALGO", algorithms, 1);
    const bool good = each_with_one_count(num_ranks);
    unsetenv("MINDSPEED_HCCL_ALGO");
    g_exact = false;
    return good;
}
static const char RING[] =
    "all_reduce=ring,reduce=tree,broadcast=scatter_all_gather,scatter=linear,all_gather=ring,"
    "reduce_scatter=ring,all_to_all=pairwise,barrier=dissemination";
static const char DOUBLING[] =
    "all_reduce=recursive_doubling,broadcast=tree,all_gather=bruck,reduce_scatter=pairwise";
TEST(over_messages_three_ranks) {
    CHECK(over_messages(RING, 3));
    CHECK(over_messages(DOUBLING, 3));
    CHECK(over_messages("all_reduce=pairwise", 3));
    CHECK(over_messages("all_reduce=tree", 3));
}
TEST(over_messages_more_ranks) {
    if (!full()) SKIP("HC_TEST_FULL is not set");
    for (uint32_t n = 2; n <= 8; n += n == 2 ? 2 : 1) {
        CHECK(over_messages(RING, n));
        CHECK(over_messages(DOUBLING, n));
        CHECK(over_messages("all_reduce=pairwise", n));
        CHECK(over_messages("all_reduce=tree", n));
    }
}

TEST(all_numbers_of_ranks) {
    if (!full()) SKIP("HC_TEST_FULL is not set");
    for (uint32_t n = 4; n <= 7; n++) CHECK(run_ranks(n, 300, small));
}

TEST(big_buffers) {
    if (!full()) SKIP("HC_TEST_FULL is not set");
    for (uint32_t n = 1; n <= 8; n++) CHECK(run_ranks(n, 600, big));
}
