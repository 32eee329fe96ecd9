// SPDX-License-Identifier: Apache-2.0
/* An index tensor, or a mask, that another thread writes while operators read it: they may fail or compute
 * nonsense, but they write nothing outside of their outputs. */
#include <pthread.h>
#include <stdatomic.h>

#include "aclnnop/aclnn_ops.h"
#include "harness.h"
#include "hc_clock.h"
#include "hc_tensor.h"
#include "hc_util.h"

enum { N = 20000, BOUND = 64, WIDTH = 4, GUARD = 1 << 20, ROUND_MS = 120 };
static const unsigned char CANARY = 0xA5;

struct guarded {
    unsigned char *memory;
    size_t bytes;
};
static struct guarded g_all[16];
static size_t g_num;

static void *guarded(size_t bytes) {
    struct guarded *g = &g_all[g_num++];
    *g = (struct guarded){malloc(bytes + 2 * GUARD), bytes};
    memset(g->memory, CANARY, bytes + 2 * GUARD);
    memset(g->memory + GUARD, 0, bytes);
    return g->memory + GUARD;
}
static bool intact(void) {
    for (size_t i = 0; i < g_num; i++)
        for (size_t k = 0; k < GUARD; k++)
            if (g_all[i].memory[k] != CANARY || g_all[i].memory[GUARD + g_all[i].bytes + k] != CANARY)
                return false;
    return true;
}

static _Atomic(int64_t) *g_index;
static _Atomic(uint8_t) *g_mask;
static atomic_bool g_stop;

/* Legal and not by turns, a few places at a time: what is looked at twice is seldom the same. */
static void *change(void *arg) {
    (void)arg;
    static const int64_t BAD[] = {BOUND, BOUND + 1, BOUND + 1000, -1, -BOUND - 1, -1000, BOUND + 5000};
    for (uint64_t i = 0; !atomic_load_explicit(&g_stop, memory_order_relaxed); i++) {
        const size_t place = i * 7919 % N;
        atomic_store_explicit(&g_index[place], BAD[i % HC_ARRAY_SIZE(BAD)], memory_order_relaxed);
        for (size_t k = 0; k < 4; k++)
            atomic_store_explicit(&g_mask[(place + k * 331) % N], (uint8_t)(i & 1), memory_order_relaxed);
        atomic_store_explicit(&g_index[place], (int64_t)(i % BOUND), memory_order_relaxed);
    }
    return NULL;
}

static aclTensor *tensor(aclDataType dtype, void *data, uint64_t rank, int64_t a, int64_t b) {
    const int64_t dims[] = {a, b}, numel = a * (rank > 1 ? b : 1);
    return aclCreateTensor(dims, rank, dtype, NULL, 0, ACL_FORMAT_ND, &numel, 1, data);
}

#define RUN(op, ...)                                                                                         \
    do {                                                                                                     \
        uint64_t bytes_ = 0;                                                                                 \
        aclOpExecutor *executor_ = NULL;                                                                     \
        if (op##GetWorkspaceSize(__VA_ARGS__, &bytes_, &executor_) != 0) return #op;                         \
        if (op(NULL, 0, executor_, NULL) == 0) aclrtSynchronizeStream(NULL);                                 \
    } while (0)

static struct {
    aclTensor *index, *mask, *table, *rows, *line, *narrow, *hot, *wide, *one, *other, *targets, *positions;
    aclTensorList *list, *two;
    aclScalar *scalar;
} t;

static void make_tensors(void) {
    void *index = guarded(N * sizeof(int64_t)), *mask = guarded(N);
    g_index = index;
    g_mask = mask;
    t.index = tensor(ACL_INT64, index, 1, N, 1);
    t.mask = tensor(ACL_UINT8, mask, 1, N, 1);
    t.table = tensor(ACL_FLOAT, guarded(BOUND * WIDTH * 4), 2, BOUND, WIDTH);
    t.rows = tensor(ACL_FLOAT, guarded(N * WIDTH * 4), 2, N, WIDTH);
    t.line = tensor(ACL_FLOAT, guarded(N * 4), 1, N, 1);
    t.narrow = tensor(ACL_FLOAT, guarded(BOUND * 4), 1, BOUND, 1);
    t.hot = tensor(ACL_FLOAT, guarded((size_t)N * BOUND * 4), 2, N, BOUND);
    t.wide = tensor(ACL_FLOAT, guarded((size_t)N * BOUND * 4), 2, N, BOUND);
    t.one = tensor(ACL_FLOAT, guarded(4), 1, 1, 1);
    t.other = tensor(ACL_FLOAT, guarded(N * 4), 1, N, 1);
    t.positions = tensor(ACL_INT64, guarded(N * sizeof(int64_t)), 1, N, 1);
    const aclTensor *members[] = {t.index, t.index};
    t.list = aclCreateTensorList(members, 1);
    t.two = aclCreateTensorList(members, 2);
    float one = 1;
    t.scalar = aclCreateScalar(&one, ACL_FLOAT);
}

static const char *gathers(void) {
    RUN(aclnnGather, t.narrow, 0, t.index, t.line);
    RUN(aclnnIndexSelect, t.table, 0, t.index, t.rows);
    RUN(aclnnEmbedding, t.table, t.index, t.rows);
    RUN(aclnnTake, t.narrow, t.index, t.line);
    RUN(aclnnIndex, t.table, t.list, t.rows);
    return NULL;
}
static const char *scatters(void) {
    RUN(aclnnInplaceScatter, t.narrow, 0, t.index, t.line, 0);
    RUN(aclnnInplaceScatter, t.narrow, 0, t.index, t.line, 1);
    RUN(aclnnInplacePut, t.narrow, t.index, t.line, true);
    RUN(aclnnIndexAdd, t.table, 0, t.index, t.rows, t.scalar, t.table);
    RUN(aclnnIndexFill, t.table, 0, t.index, t.scalar, t.table);
    RUN(aclnnIndexPutImpl, t.table, t.list, t.rows, false, false);
    RUN(aclnnIndexPutImpl, t.table, t.list, t.rows, true, false);
    return NULL;
}
static const char *sums(void) {
    RUN(aclnnEmbeddingDenseBackward, t.rows, t.index, (uint64_t)BOUND, UINT64_MAX, false, t.table);
    RUN(aclnnBincount, t.index, t.line, 0, t.narrow);
    RUN(aclnnRepeatInterleaveTensor, t.index, 0, t.positions);
    return NULL;
}
static const char *losses(void) {
    char none[] = "none";
    RUN(aclnnNLLLoss, t.hot, t.index, t.narrow, 0, -100, t.line, t.one);
    RUN(aclnnCrossEntropyLoss, t.hot, t.index, t.narrow, none, -100, 0.0, 0.0, false, t.line, t.wide, NULL,
        NULL);
    RUN(aclnnCrossEntropyLossGrad, t.line, t.wide, t.index, t.narrow, NULL, NULL, none, -100, 0.0, 0.0,
        t.hot);
    RUN(aclnnOneHot, t.index, BOUND, t.one, t.one, -1, t.hot);
    return NULL;
}
/* A selection sets the shape of its output's descriptor, so each has one of its own. */
static const char *select_and_find(aclTensor *selected, aclTensor *positions) {
    RUN(aclnnInplaceMaskedScatter, t.other, t.mask, t.line);
    RUN(aclnnMaskedSelect, t.line, t.mask, selected);
    RUN(aclnnNonzero, t.mask, positions);
    return NULL;
}
static const char *masks(void) {
    aclTensor *selected = tensor(ACL_FLOAT, t.other->base, 1, N, 1);
    aclTensor *positions = tensor(ACL_INT64, t.positions->base, 1, N, 1);
    const char *failed = select_and_find(selected, positions);
    aclDestroyTensor(selected);
    aclDestroyTensor(positions);
    return failed;
}

TEST(writes_stay_inside) {
#ifdef __SANITIZE_THREAD__
    SKIP("the test is the race");
#endif
    static const char *(*const KINDS[])(void) = {gathers, scatters, sums, losses, masks};
    pthread_t thread;
    const char *failed = NULL;
    CHECK(aclInit(NULL) == 0 && aclrtSetDevice(0) == 0);
    make_tensors();
    CHECK(pthread_create(&thread, NULL, change, NULL) == 0);
    size_t rounds = 0;
    bool whole = true;
    for (size_t k = 0; k < HC_ARRAY_SIZE(KINDS) && failed == NULL && whole; k++) {
        const uint64_t end = hc_now_ns() + ROUND_MS * 1000000ull;
        size_t least = 20;
        while ((least > 0 || hc_now_ns() < end) && failed == NULL) {
            failed = KINDS[k]();
            least -= least > 0;
            rounds++;
        }
        whole = intact();
        if (!whole) printf("kind %zu wrote outside\n", k);
    }
    atomic_store(&g_stop, true);
    pthread_join(thread, NULL);
    CHECK_MSG(failed == NULL, "%s was refused: %s", failed, aclGetRecentErrMsg());
    CHECK(whole && rounds >= 100);
    aclTensor *const *all = (aclTensor *const *)&t;
    for (size_t i = 0; i < offsetof(__typeof__(t), list) / sizeof *all; i++) aclDestroyTensor(all[i]);
    free(t.list);
    free(t.two);
    aclDestroyScalar(t.scalar);
    for (size_t i = 0; i < g_num; i++) free(g_all[i].memory);
    CHECK(aclFinalize() == 0);
}
