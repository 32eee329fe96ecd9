// SPDX-License-Identifier: Apache-2.0
/* Every algorithm of every collective against a reference in double, whatever connects the ranks.
 *
 * Bounds: integers, maxima and minima exact; float32 sums (N - 1) * 2^-24 * sum |x|; 16-bit sums that and
 * half a unit in the last place of the result: they are rounded once. Each case runs twice, with ranks
 * arriving in different orders, and must give the same bits both times and, for all-reduce, on all ranks. */
#pragma once
#include <math.h>

#include "harness.h"
#include "hccl_ranks.h"

struct type_case {
    HcclDataType type;
    size_t bytes;
    bool is_float;
    int digits; /* of a 16-bit float's mantissa */
};
static const struct type_case TYPES[] = {
    {HCCL_DATA_TYPE_FP32, 4, true, 0},   {HCCL_DATA_TYPE_BFP16, 2, true, 8},
    {HCCL_DATA_TYPE_FP16, 2, true, 11},  {HCCL_DATA_TYPE_INT32, 4, false, 0},
    {HCCL_DATA_TYPE_INT8, 1, false, 0},  {HCCL_DATA_TYPE_FP64, 8, true, 0},
    {HCCL_DATA_TYPE_INT64, 8, false, 0},
};

/* A position in a buffer of one of the types, as double and back; the same rounding as storing. */
static inline double get(const struct type_case *t, const void *buffer, size_t i) {
    switch (t->type) {
    case HCCL_DATA_TYPE_FP32: return ((const float *)buffer)[i];
    case HCCL_DATA_TYPE_FP64: return ((const double *)buffer)[i];
    case HCCL_DATA_TYPE_INT32: return ((const int32_t *)buffer)[i];
    case HCCL_DATA_TYPE_INT64: return (double)((const int64_t *)buffer)[i];
    case HCCL_DATA_TYPE_INT8: return ((const int8_t *)buffer)[i];
    default: break;
    }
    const uint16_t bits = ((const uint16_t *)buffer)[i];
    if (t->type == HCCL_DATA_TYPE_BFP16) {
        const uint32_t wide = (uint32_t)bits << 16;
        float f;
        memcpy(&f, &wide, sizeof f);
        return f;
    }
    const int exponent = bits >> 10 & 31, mantissa = bits & 1023;
    const double v = exponent == 0 ? ldexp(mantissa, -24) : ldexp(1024 + mantissa, exponent - 25);
    return bits >> 15 ? -v : v;
}

/* What rank `r` has at `i`: in 16-bit floats a value with few bits, so that it is exact and its sums are not.
 */
static inline double value_of(const struct type_case *t, uint32_t r, size_t i) {
    static const double SCALES[] = {0x1p-6, 0x1p-5, 0x1p-4, 0x1p-3};
    const uint32_t h = ((uint32_t)i * 2654435761u) ^ (r * 40503u + 77u) * 2246822519u;
    if (!t->is_float) return (double)(int)(h >> 8 & 31) - 15;
    return ((double)(h >> 8 & 127) - 63.5) * SCALES[h >> 16 & 3];
}

static inline void put(const struct type_case *t, void *buffer, size_t i, double v) {
    switch (t->type) {
    case HCCL_DATA_TYPE_FP32: ((float *)buffer)[i] = (float)v; return;
    case HCCL_DATA_TYPE_FP64: ((double *)buffer)[i] = v; return;
    case HCCL_DATA_TYPE_INT32: ((int32_t *)buffer)[i] = (int32_t)v; return;
    case HCCL_DATA_TYPE_INT64: ((int64_t *)buffer)[i] = (int64_t)v; return;
    case HCCL_DATA_TYPE_INT8: ((int8_t *)buffer)[i] = (int8_t)v; return;
    default: break;
    }
    if (t->type == HCCL_DATA_TYPE_BFP16) {
        const float f = (float)v;
        uint32_t bits;
        memcpy(&bits, &f, sizeof bits);
        ((uint16_t *)buffer)[i] = (uint16_t)(bits >> 16); /* exact: 8 bits of mantissa are enough */
        return;
    }
    int exponent;
    const double m = frexp(fabs(v), &exponent); /* in [0.5, 1) */
    const uint16_t bits = v == 0 ? 0 : (uint16_t)((exponent + 14) << 10 | ((int)(m * 2048) & 1023));
    ((uint16_t *)buffer)[i] = (uint16_t)(bits | (v < 0 ? 0x8000 : 0));
}

enum { MAX_CASES = 4096, MAX_RANKS = 8 };
/* Shared by the ranks and the test: hashes of results, for comparing. */
struct results {
    uint64_t hash[MAX_CASES][2][MAX_RANKS];
    bool same_on_all[MAX_CASES];
    char name[MAX_CASES][64];
    unsigned count;
};
static struct results *g_results;
static bool g_device_memory; /* or the heap's, which no other process can map */
static bool g_large;

struct trial {
    struct rank *rank;
    const struct type_case *type;
    size_t count;
    HcclReduceOp reduce;
    unsigned repeat;
    void *send, *recv;
};

static inline void *get_memory(size_t bytes) {
    void *p = NULL;
    if (!g_device_memory) return malloc(bytes + 64);
    return aclrtMalloc(&p, bytes + 64, 0) == 0 ? p : NULL;
}
static inline void drop_memory(void *p) {
    if (g_device_memory) aclrtFree(p);
    else free(p);
}

static inline double combine(HcclReduceOp op, double a, double b) {
    return op == HCCL_REDUCE_SUM   ? a + b
           : op == HCCL_REDUCE_MAX ? fmax(a, b)
           : op == HCCL_REDUCE_MIN ? fmin(a, b)
                                   : a * b;
}

/* Whether `got` is what the ranks' values at `i` combine to. */
static inline bool reduced(const struct trial *t, double got, size_t i) {
    const uint32_t n = t->rank->num_ranks;
    double want = value_of(t->type, 0, i), magnitude = fabs(want);
    for (uint32_t r = 1; r < n; r++) {
        const double value = value_of(t->type, r, i);
        want = combine(t->reduce, want, value);
        magnitude += fabs(value);
    }
    if (t->type->type == HCCL_DATA_TYPE_INT8) return (int8_t)got == (int8_t)(int)want; /* wraps */
    if (!t->type->is_float || t->reduce == HCCL_REDUCE_MAX || t->reduce == HCCL_REDUCE_MIN)
        return got == want;
    const double unit = t->type->type == HCCL_DATA_TYPE_FP64 ? 0x1p-53 : 0x1p-24;
    int exponent;
    frexp(want, &exponent);
    const double rounding = t->type->digits > 0 ? ldexp(1, exponent - t->type->digits - 1) : 0;
    return fabs(got - want) <= (n - 1) * unit * magnitude * 1.001 + rounding * 1.001;
}

static inline void fill(const struct trial *t, size_t count, size_t first) {
    for (size_t i = 0; i < count; i++) put(t->type, t->send, i, value_of(t->type, t->rank->rank, first + i));
}

static inline uint64_t hash_of(const void *bytes, size_t length) {
    const unsigned char *at = bytes;
    uint64_t h = 14695981039346656037ull;
    for (size_t i = 0; i < length; i++) h = (h ^ at[i]) * 1099511628211ull;
    return h;
}

static inline int check(const struct trial *t, bool good, size_t i, const char *what) {
    struct rank *self = t->rank;
    EXPECT(good, "%s [%zu] of %zu, type %d, reduction %d, %s, got %g", what, i, t->count, (int)t->type->type,
           (int)t->reduce, getenv("MINDSPEED_HCCL_ALGO"), get(t->type, t->recv, i));
    return 0;
}
#define RUN(call)                                                                                            \
    do {                                                                                                     \
        struct rank *self = t->rank;                                                                         \
        EXPECT_OK(call);                                                                                     \
        EXPECT_OK(aclrtSynchronizeStream(self->stream));                                                     \
    } while (0)

static inline int try_all_reduce(struct trial *t, size_t *result) {
    const struct rank *r = t->rank;
    void *const from = t->repeat ? t->recv : t->send; /* the second time in place */
    fill(t, t->count, 0);
    if (t->repeat) memcpy(t->recv, t->send, t->count * t->type->bytes);
    RUN(HcclAllReduce(from, t->recv, t->count, t->type->type, t->reduce, r->comm, r->stream));
    for (size_t i = 0; i < t->count; i++)
        if (check(t, reduced(t, get(t->type, t->recv, i), i), i, "all_reduce")) return 1;
    *result = t->count * t->type->bytes;
    return 0;
}

static inline int try_reduce(struct trial *t, size_t *result) {
    const struct rank *r = t->rank;
    const uint32_t root = (uint32_t)(t->count % r->num_ranks);
    fill(t, t->count, 0);
    RUN(HcclReduce(t->send, t->recv, t->count, t->type->type, t->reduce, root, r->comm, r->stream));
    if (r->rank != root) return 0;
    for (size_t i = 0; i < t->count; i++)
        if (check(t, reduced(t, get(t->type, t->recv, i), i), i, "reduce")) return 1;
    *result = t->count * t->type->bytes;
    return 0;
}

static inline int try_reduce_scatter(struct trial *t, size_t *result) {
    const struct rank *r = t->rank;
    fill(t, t->count * r->num_ranks, 0);
    void *const to = t->repeat ? (char *)t->send + r->rank * t->count * t->type->bytes : t->recv;
    RUN(HcclReduceScatter(t->send, to, t->count, t->type->type, t->reduce, r->comm, r->stream));
    if (t->repeat) memcpy(t->recv, to, t->count * t->type->bytes);
    for (size_t i = 0; i < t->count; i++)
        if (check(t, reduced(t, get(t->type, t->recv, i), r->rank * t->count + i), i, "reduce_scatter"))
            return 1;
    *result = t->count * t->type->bytes;
    return 0;
}

/* Slices of different sizes, some empty, with gaps between them. */
static inline uint64_t slice_count(const struct trial *t, uint32_t r) { return (r + 1) % 3 * t->count / 2; }
static inline size_t lay_out(const struct trial *t, uint64_t *counts, uint64_t *displs) {
    uint64_t at = 0;
    for (uint32_t r = 0; r < t->rank->num_ranks; r++) {
        counts[r] = slice_count(t, r);
        displs[r] = at;
        at += counts[r] + 3;
    }
    return at;
}

static inline int try_reduce_scatter_v(struct trial *t, size_t *result) {
    const struct rank *r = t->rank;
    uint64_t counts[MAX_RANKS], displs[MAX_RANKS];
    fill(t, lay_out(t, counts, displs), 0);
    const size_t own = counts[r->rank];
    RUN(HcclReduceScatterV(t->send, counts, displs, t->recv, own, t->type->type, t->reduce, r->comm,
                           r->stream));
    for (size_t i = 0; i < own; i++)
        if (check(t, reduced(t, get(t->type, t->recv, i), displs[r->rank] + i), i, "reduce_scatter_v"))
            return 1;
    *result = own * t->type->bytes;
    return 0;
}

static inline int try_all_gather(struct trial *t, size_t *result) {
    const struct rank *r = t->rank;
    const size_t bytes = t->count * t->type->bytes;
    fill(t, t->count, 0);
    char *const own = (char *)t->recv + r->rank * bytes;
    if (t->repeat) memcpy(own, t->send, bytes);
    RUN(HcclAllGather(t->repeat ? own : t->send, t->recv, t->count, t->type->type, r->comm, r->stream));
    for (uint32_t p = 0; p < r->num_ranks; p++)
        for (size_t i = 0; i < t->count; i++)
            if (check(t, get(t->type, t->recv, p * t->count + i) == value_of(t->type, p, i), p * t->count + i,
                      "all_gather"))
                return 1;
    *result = bytes * r->num_ranks;
    return 0;
}

static inline int try_all_gather_v(struct trial *t, size_t *result) {
    const struct rank *r = t->rank;
    uint64_t counts[MAX_RANKS], displs[MAX_RANKS];
    const size_t extent = lay_out(t, counts, displs);
    memset(t->recv, 0, extent * t->type->bytes);
    fill(t, counts[r->rank], 0);
    RUN(HcclAllGatherV(t->send, counts[r->rank], t->recv, counts, displs, t->type->type, r->comm, r->stream));
    for (uint32_t p = 0; p < r->num_ranks; p++)
        for (size_t i = 0; i < counts[p]; i++)
            if (check(t, get(t->type, t->recv, displs[p] + i) == value_of(t->type, p, i), displs[p] + i,
                      "all_gather_v"))
                return 1;
    *result = extent * t->type->bytes;
    return 0;
}

static inline int try_broadcast(struct trial *t, size_t *result) {
    const struct rank *r = t->rank;
    const uint32_t root = (uint32_t)((t->count + 1) % r->num_ranks);
    for (size_t i = 0; i < t->count; i++)
        put(t->type, t->recv, i, r->rank == root ? value_of(t->type, root, i) : 0);
    RUN(HcclBroadcast(t->recv, t->count, t->type->type, root, r->comm, r->stream));
    for (size_t i = 0; i < t->count; i++)
        if (check(t, get(t->type, t->recv, i) == value_of(t->type, root, i), i, "broadcast")) return 1;
    *result = t->count * t->type->bytes;
    return 0;
}

static inline int try_scatter(struct trial *t, size_t *result) {
    const struct rank *r = t->rank;
    const uint32_t root = (uint32_t)(t->count % r->num_ranks);
    fill(t, t->count * r->num_ranks, 0);
    RUN(HcclScatter(t->send, t->recv, t->count, t->type->type, root, r->comm, r->stream));
    for (size_t i = 0; i < t->count; i++)
        if (check(t, get(t->type, t->recv, i) == value_of(t->type, root, r->rank * t->count + i), i,
                  "scatter"))
            return 1;
    *result = t->count * t->type->bytes;
    return 0;
}

static inline int try_all_to_all(struct trial *t, size_t *result) {
    const struct rank *r = t->rank;
    fill(t, t->count * r->num_ranks, 0);
    RUN(HcclAlltoAll(t->send, t->count, t->type->type, t->recv, t->count, t->type->type, r->comm, r->stream));
    for (uint32_t p = 0; p < r->num_ranks; p++)
        for (size_t i = 0; i < t->count; i++)
            if (check(t,
                      get(t->type, t->recv, p * t->count + i) == value_of(t->type, p, r->rank * t->count + i),
                      p * t->count + i, "all_to_all"))
                return 1;
    *result = t->count * r->num_ranks * t->type->bytes;
    return 0;
}

/* Rank r sends (r + 2 p) mod 3 * count / 2 elements to p, by list or by matrix. */
static inline int try_all_to_all_v(struct trial *t, size_t *result) {
    const struct rank *r = t->rank;
    const uint32_t n = r->num_ranks;
    uint64_t matrix[MAX_RANKS * MAX_RANKS], sends[MAX_RANKS], recvs[MAX_RANKS], to[MAX_RANKS],
        from[MAX_RANKS];
    uint64_t sent = 0, received = 0;
    for (uint32_t i = 0; i < n * n; i++) matrix[i] = (i / n + 2 * (i % n)) % 3 * t->count / 2;
    for (uint32_t p = 0; p < n; p++) {
        to[p] = sent;
        from[p] = received;
        sent += sends[p] = matrix[r->rank * n + p];
        received += recvs[p] = matrix[p * n + r->rank];
    }
    for (uint32_t p = 0; p < n; p++)
        for (size_t i = 0; i < sends[p]; i++)
            put(t->type, t->send, to[p] + i, value_of(t->type, r->rank * 8 + p, i));
    if (t->repeat)
        RUN(HcclAlltoAllVC(t->send, matrix, t->type->type, t->recv, t->type->type, r->comm, r->stream));
    else
        RUN(HcclAlltoAllV(t->send, sends, to, t->type->type, t->recv, recvs, from, t->type->type, r->comm,
                          r->stream));
    for (uint32_t p = 0; p < n; p++)
        for (size_t i = 0; i < recvs[p]; i++)
            if (check(t, get(t->type, t->recv, from[p] + i) == value_of(t->type, p * 8 + r->rank, i),
                      from[p] + i, "all_to_all_v"))
                return 1;
    *result = received * t->type->bytes;
    return 0;
}

static inline int try_barrier(struct trial *t, size_t *result) {
    const struct rank *r = t->rank;
    RUN(HcclBarrier(r->comm, r->stream));
    *result = 0;
    return 0;
}

/* Everyone sends to everyone, itself included. */
static inline int try_messages(struct trial *t, size_t *result) {
    const struct rank *r = t->rank;
    const size_t bytes = t->count * t->type->bytes;
    HcclSendRecvItem items[2 * MAX_RANKS];
    fill(t, t->count * r->num_ranks, 0);
    for (uint32_t p = 0; p < r->num_ranks; p++) {
        items[2 * p] = (HcclSendRecvItem){HCCL_SEND, (char *)t->send + p * bytes, t->count, t->type->type, p};
        items[2 * p + 1] =
            (HcclSendRecvItem){HCCL_RECV, (char *)t->recv + p * bytes, t->count, t->type->type, p};
    }
    RUN(HcclBatchSendRecv(items, 2 * r->num_ranks, r->comm, r->stream));
    for (uint32_t p = 0; p < r->num_ranks; p++)
        for (size_t i = 0; i < t->count; i++)
            if (check(t,
                      get(t->type, t->recv, p * t->count + i) == value_of(t->type, p, r->rank * t->count + i),
                      p * t->count + i, "messages"))
                return 1;
    *result = bytes * r->num_ranks;
    return 0;
}

static const struct collective_case {
    const char *algo; /* MINDSPEED_HCCL_ALGO */
    int (*run)(struct trial *t, size_t *result);
    bool reduces, same_on_all;
} COLLECTIVES[] = {
    {"all_reduce=ring", try_all_reduce, true, true},
    {"all_reduce=pairwise", try_all_reduce, true, true},
    {"all_reduce=recursive_doubling", try_all_reduce, true, true},
    {"all_reduce=tree", try_all_reduce, true, true},
    {"reduce=tree", try_reduce, true, false},
    {"reduce_scatter=ring", try_reduce_scatter, true, false},
    {"reduce_scatter=pairwise", try_reduce_scatter, true, false},
    {"reduce_scatter=ring", try_reduce_scatter_v, true, false},
    {"reduce_scatter=pairwise", try_reduce_scatter_v, true, false},
    {"all_gather=ring", try_all_gather, false, true},
    {"all_gather=bruck", try_all_gather, false, true},
    {"all_gather=ring", try_all_gather_v, false, false},
    {"all_gather=bruck", try_all_gather_v, false, false},
    {"broadcast=tree", try_broadcast, false, true},
    {"broadcast=scatter_all_gather", try_broadcast, false, true},
    {"scatter=linear", try_scatter, false, false},
    {"all_to_all=pairwise", try_all_to_all, false, false},
    {"all_to_all=pairwise", try_all_to_all_v, false, false},
    {"barrier=dissemination", try_barrier, false, false},
    {"", try_messages, false, false},
    {"", try_all_reduce, true, true}, /* the table's choice */
};

/* A case, twice; ranks come in opposite orders. */
static inline int try_case(struct trial *t, const struct collective_case *c, unsigned number) {
    const struct rank *r = t->rank;
    setenv("MINDSPEED_HCCL_ALGO", c->algo, 1);
    for (t->repeat = 0; t->repeat < 2; t->repeat++) {
        size_t result = 0;
        const uint32_t place = t->repeat ? r->rank : r->num_ranks - 1 - r->rank;
        if (number % 16 == 0) usleep(place * 300);
        if (c->run(t, &result)) return 1;
        if (number < MAX_CASES) g_results->hash[number][t->repeat][r->rank] = hash_of(t->recv, result);
    }
    if (r->rank == 0 && number < MAX_CASES) {
        snprintf(g_results->name[number], sizeof g_results->name[number], "%s, %zu of type %d, reduction %d",
                 c->algo, t->count, (int)t->type->type, (int)t->reduce);
        g_results->same_on_all[number] = c->same_on_all;
        g_results->count = number + 1;
    }
    return 0;
}

static inline int try_everything(struct rank *self) {
    static const size_t SMALL[] = {0, 1, 37, 4099}, LARGE[] = {300007};
    static const HcclReduceOp REDUCTIONS[] = {HCCL_REDUCE_SUM, HCCL_REDUCE_MAX};
    const size_t *counts = g_large ? LARGE : SMALL, num_counts = g_large ? 1 : 4;
    const size_t num_types = g_large ? 2 : sizeof TYPES / sizeof TYPES[0];
    const size_t most = counts[num_counts - 1] * 8 * self->num_ranks + 64;
    struct trial t = {.rank = self, .send = get_memory(most), .recv = get_memory(most)};
    unsigned number = 0;
    EXPECT(t.send && t.recv, "memory");
    for (size_t c = 0; c < sizeof COLLECTIVES / sizeof COLLECTIVES[0]; c++)
        for (size_t type = 0; type < num_types; type++)
            for (size_t k = 0; k < num_counts; k++)
                for (size_t op = 0; op < (COLLECTIVES[c].reduces && !g_large ? 2 : 1); op++) {
                    t.type = &TYPES[type];
                    t.count = counts[k];
                    t.reduce = REDUCTIONS[op];
                    if (try_case(&t, &COLLECTIVES[c], number++)) return 1;
                }
    EXPECT_OK(HcclBarrier(self->comm, self->stream));
    EXPECT_OK(aclrtSynchronizeStream(self->stream));
    drop_memory(t.send);
    drop_memory(t.recv);
    return 0;
}

static inline bool same_bits(uint32_t num_ranks) {
    for (unsigned n = 0; n < g_results->count; n++)
        for (uint32_t r = 0; r < num_ranks; r++) {
            const uint64_t *first = g_results->hash[n][0], *second = g_results->hash[n][1];
            const bool repeats = first[r] == second[r] || strstr(g_results->name[n], "all_to_all") != NULL;
            if (repeats && (!g_results->same_on_all[n] || first[r] == first[0])) continue;
            printf("%s: rank %u of %u has other bits than %s\n", g_results->name[n], r, num_ranks,
                   repeats ? "rank 0" : "the first time");
            return false;
        }
    return g_results->count > 0;
}

static inline bool run_algorithms(uint32_t num_ranks, bool device_memory, bool large) {
    g_results = mmap(NULL, sizeof *g_results, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    g_device_memory = device_memory;
    g_large = large;
    setenv("HCCL_BUFFSIZE", large ? "1" : "200", 1); /* 1: many rounds */
    const bool good = run_ranks(num_ranks, 250, try_everything) && same_bits(num_ranks);
    munmap(g_results, sizeof *g_results);
    return good;
}
