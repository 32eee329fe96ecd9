// SPDX-License-Identifier: Apache-2.0
/* Matrix times a few vectors: what a step of decoding is. Bound by reading B, so every element of it is
 * read once, in the order of memory, by whichever of two kernels fits its layout: dot products where
 * columns are contiguous (a Linear's weight), weighted sums of rows where rows are. Nothing is packed.
 * Threads share the columns; where those are few and k is long (a dot product), also fixed pieces of k,
 * whose sums are added in order: the pieces depend on the sizes only. */
#include "gemm_skinny.h"

#ifdef HC_ISA
#include "gemm_load.h"

/* ROWS x COLS dot products at once: each vector of A and B loaded serves several. */
ALWAYS_INLINE void dot_block(const struct gemm_few_rows *s, size_t i, size_t j, int ROWS, int COLS,
                             aclDataType dtype) {
    vf acc[4][4];
    const char *b = s->b + (int64_t)j * s->pitch;
    const float *a = s->a + i * s->lda;
    for (int r = 0; r < ROWS; r++) {
        for (int c = 0; c < COLS; c++) acc[r][c] = vf_zero();
    }
    for (size_t k = 0; k < s->steps; k += HC_VL) {
        const size_t left = s->steps - k;
        vf x[4];
        _Pragma("GCC unroll 4") for (int c = 0; c < COLS; c++) x[c] =
            load_some(element(b + c * s->pitch, (int64_t)k, dtype), left, dtype);
        _Pragma("GCC unroll 4") for (int r = 0; r < ROWS; r++) {
            const vf y = vf_load(a + (size_t)r * s->lda + k);
            _Pragma("GCC unroll 4") for (int c = 0; c < COLS; c++) acc[r][c] = vf_fma(x[c], y, acc[r][c]);
        }
    }
    for (int r = 0; r < ROWS; r++) {
        for (int c = 0; c < COLS; c++)
            s->y[(i + (size_t)r) * s->ldy + j + (size_t)c] = vf_reduce_add(acc[r][c]);
    }
}

/* `cols` columns of B against all rows of A: four, then two, then one at a time. */
ALWAYS_INLINE void dot_columns(const struct gemm_few_rows *s, size_t j, int cols, aclDataType dtype) {
    size_t i = 0;
    for (; i + 4 <= s->m; i += 4) dot_block(s, i, j, 4, cols, dtype);
    if (s->m - i >= 2) dot_block(s, i, j, 2, cols, dtype), i += 2;
    if (s->m - i >= 1) dot_block(s, i, j, 1, cols, dtype);
}

ALWAYS_INLINE void few_dot(const struct gemm_few_rows *s, aclDataType dtype) {
    size_t j = 0;
    for (; j + 4 <= s->n; j += 4) dot_columns(s, j, 4, dtype);
    for (; j < s->n; j++) dot_columns(s, j, 1, dtype);
}

/* y[i][j..] += a[i][k..k+4) times four rows of B; the rows stay in the first-level cache over i. */
ALWAYS_INLINE void sum_rows(const struct gemm_few_rows *s, size_t k, int steps, size_t j0, size_t j1,
                            aclDataType dtype) {
    for (size_t i = 0; i < s->m; i++) {
        float *y = s->y + i * s->ldy;
        vf w[4];
        for (int t = 0; t < steps; t++) w[t] = vf_set(s->a[i * s->lda + k + (size_t)t]);
        for (size_t j = j0; j < j1; j += HC_VL) {
            vf sum = k == 0 ? vf_zero() : vf_load(y + j);
            _Pragma("GCC unroll 4") for (int t = 0; t < steps; t++) {
                const char *row = s->b + (int64_t)(k + (size_t)t) * s->pitch;
                sum = vf_fma(w[t], load_some(element(row, (int64_t)j, dtype), j1 - j, dtype), sum);
            }
            vf_store(y + j, sum);
        }
    }
}

/* 1024 columns of y (4 KiB a row) stay in the first-level cache over all k. */
ALWAYS_INLINE void few_sum(const struct gemm_few_rows *s, aclDataType dtype) {
    enum { COLUMNS = 1024 };
    for (size_t j0 = 0; j0 < s->n; j0 += COLUMNS) {
        const size_t j1 = hc_min_size(j0 + COLUMNS, s->n);
        size_t k = 0;
        for (; k + 4 <= s->steps; k += 4) sum_rows(s, k, 4, j0, j1, dtype);
        for (; k < s->steps; k++) sum_rows(s, k, 1, j0, j1, dtype);
    }
}

void HC_FN(gemm_few_dot_F32)(const struct gemm_few_rows *s) {
    if (s->dtype == ACL_FLOAT) few_dot(s, ACL_FLOAT);
    else if (s->dtype == ACL_BF16) few_dot(s, ACL_BF16);
    else few_dot(s, ACL_FLOAT16);
}
void HC_FN(gemm_few_sum_F32)(const struct gemm_few_rows *s) {
    if (s->dtype == ACL_FLOAT) few_sum(s, ACL_FLOAT);
    else if (s->dtype == ACL_BF16) few_sum(s, ACL_BF16);
    else few_sum(s, ACL_FLOAT16);
}

#else
#include <string.h>

#include "hc_runtime.h"
#include "long_loop.h"

enum {
    PIECE = 8192,        /* steps of k in one piece of dot products */
    FEW_COLUMNS = 256,   /* below which k is cut at all for them */
    TASK_WORK = 1 << 15, /* elements of B per task */
    SUM_COLUMNS = 1024,  /* of sums of rows, so that memory is read in long runs */
    SUM_TASKS = 16,      /* wanted of them: k is cut to get as many */
    ROOM = 16,           /* a vector of any instruction set, in floats */
};

/* a: rows of A as floats, lda apart, zeros at the end. y: sums, m rows for each piece of k. */
struct skinny {
    const struct hc_gemm *g;
    size_t batch, lda, ldy, pieces, piece, columns, column_tasks;
    float *a, *y;
    bool dot;
};

/* Rows up to which reading B where it lies is quicker than packing it: measured on AVX2, AVX-512 and its
 * bfloat16 (docs/benchmarks.md). Weighted sums pass over y for each row of B; pairs make the other way twice
 * as fast, unless B comes from memory. */
static size_t most_rows(const struct hc_gemm *g) {
    enum { SUMS = 4, PAIRS = 4, DOTS = 8, DOTS_FROM_MEMORY = 12, CACHED = 1 << 22 };
    const bool pairs =
        HC_DISPATCH(gemm_micro_BF16) != NULL && g->a.dtype == ACL_BF16 && g->b.dtype == ACL_BF16;
    if (g->b.row != 1) return SUMS;
    if (g->n * g->k >= CACHED) return DOTS_FROM_MEMORY;
    return pairs ? PAIRS : DOTS;
}

/* Not where a row must have the bits that it has among many: sums here have another order. */
bool gemm_is_skinny(const struct hc_gemm *g, enum hc_block block) {
    if (block != HC_F32 || g->k == 0 || (g->b.row != 1 && g->b.col != 1)) return false;
    return !hc_batch_invariant() && g->m <= most_rows(g);
}

/* Columns [first, first + n) of the sums y, to out. */
static void store_columns(const struct skinny *s, size_t first, size_t n) {
    const struct hc_gemm *g = s->g;
    enum { RUN = 32 };
    for (size_t j = first; j < first + n; j += RUN) {
        const int64_t out = (int64_t)j * g->out.col, self = (int64_t)j * g->self.col;
        const struct gemm_store store = {
            .g = g,
            .batch = s->batch,
            .col = j,
            .rows = g->m,
            .cols = hc_min_size(RUN, first + n - j),
            .tile = s->y + j,
            .ld_tile = s->ldy,
            .out = (char *)g->out.data + out * (int64_t)hc_dtype_size(g->out.dtype),
            .self =
                g->self.data ? (char *)g->self.data + self * (int64_t)hc_dtype_size(g->self.dtype) : NULL};
        HC_DISPATCH(gemm_store_F32)(&store);
    }
}

/* Task t: some columns, one piece of k. */
static void run_tasks(void *ctx, size_t begin, size_t end) {
    const struct skinny *s = ctx;
    const struct hc_gemm *g = s->g;
    const int64_t size = (int64_t)hc_dtype_size(g->b.dtype);
    for (size_t t = begin; t < end && !hc_results_unwanted(); t++) {
        const size_t first = t % s->column_tasks * s->columns, k = t / s->column_tasks * s->piece;
        const struct gemm_few_rows few = {.a = s->a + k,
                                          .lda = s->lda,
                                          .m = g->m,
                                          .n = hc_min_size(s->columns, g->n - first),
                                          .steps = hc_min_size(s->piece, g->k - k),
                                          .dtype = g->b.dtype,
                                          .b = (const char *)g->b.data +
                                               ((int64_t)k * g->b.row + (int64_t)first * g->b.col) * size,
                                          .pitch = (s->dot ? g->b.col : g->b.row) * size,
                                          .y = s->y + k / s->piece * g->m * s->ldy + first,
                                          .ldy = s->ldy};
        if (s->dot) HC_DISPATCH(gemm_few_dot_F32)(&few);
        else HC_DISPATCH(gemm_few_sum_F32)(&few);
        if (s->pieces == 1) store_columns(s, first, few.n);
    }
}

/* In order of the pieces, which the shape decides: the same bits for any number of threads. */
static void add_pieces(const struct skinny *s) {
    for (size_t p = 1; p < s->pieces; p++) {
        const float *y = s->y + p * s->g->m * s->ldy;
        for (size_t i = 0; i < s->g->m * s->ldy; i++) s->y[i] += y[i];
    }
    store_columns(s, 0, s->g->n);
}

/* Tasks: columns in whole vectors of y, so that neighbours do not write into each other's, and pieces of k.
 */
static void cut(struct skinny *s) {
    const size_t n = s->g->n, k = s->g->k;
    s->piece = s->lda;
    if (s->dot) {
        if (n <= FEW_COLUMNS) s->piece = PIECE;
        s->columns = hc_align_up(hc_max_size(TASK_WORK / hc_min_size(k, s->piece), ROOM), ROOM);
        s->column_tasks = hc_ceil_div(n, s->columns);
    } else {
        s->columns = SUM_COLUMNS;
        s->column_tasks = hc_ceil_div(n, s->columns);
        const size_t pieces = hc_ceil_div(SUM_TASKS, s->column_tasks),
                     least = TASK_WORK / hc_min_size(n, SUM_COLUMNS);
        s->piece = hc_align_up(hc_max_size(hc_ceil_div(k, pieces), hc_max_size(least, ROOM)), ROOM);
    }
    s->pieces = hc_ceil_div(k, s->piece);
}

/* a, a few rows, is converted whole and padded with zeros; b is read once, in its own dtype, which is the
 * cost. */
aclnnStatus gemm_skinny(const struct hc_gemm *g, size_t batch) {
    struct skinny s = {.g = g, .batch = batch, .dot = g->b.row == 1};
    s.lda = hc_align_up(g->k, ROOM);
    cut(&s);
    s.ldy = hc_align_up(g->n, ROOM) + 2 * ROOM;
    s.a = hc_scratch(HC_SCRATCH_GEMM_A, g->m * s.lda * sizeof(float));
    s.y = hc_scratch(HC_SCRATCH_GEMM_C, s.pieces * g->m * s.ldy * sizeof(float));
    HC_CHECK(s.a && s.y, ACLNN_ERR_INNER, "gemm: out of host memory for vectors of %zu and %zu", g->k, g->n);
    for (size_t i = 0; i < g->m; i++) {
        const char *row =
            (const char *)g->a.data + (int64_t)i * g->a.row * (int64_t)hc_dtype_size(g->a.dtype);
        hc_load_for(g->a.dtype, HC_F32)(g->k, s.a + i * s.lda, row, g->a.col);
        memset(s.a + i * s.lda + g->k, 0, (s.lda - g->k) * sizeof(float));
    }
    hc_parallel_for(s.column_tasks * s.pieces, 1, run_tasks, &s);
    if (s.pieces > 1) add_pieces(&s);
    return 0;
}
#endif
