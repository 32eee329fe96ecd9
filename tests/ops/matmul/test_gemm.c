// SPDX-License-Identifier: Apache-2.0
/* hc_gemm against a double precision triple loop.
 *
 * Rounding errors of a running sum of K terms of random sign add up to about u * sqrt(K) * |terms|, in the
 * 2-norm; allowed is 4 * u * (sqrt(K) + 1) * |alpha| * |terms| + 4 * u * |beta * self|, plus out's own
 * rounding. Matrices are allocated exactly, so that a sanitizer sees any access beside them. */
#include <math.h>

#include "gemm.h"
#include "harness.h"

enum { BATCH = 3 };

struct operand {
    struct hc_gemm_matrix m;
    double *exact; /* the values, row-major */
    size_t rows, cols, batches;
    void *memory;
};

static uint64_t g_random = 88172645463325252u;
static double next_random(void) {
    g_random ^= g_random << 13, g_random ^= g_random >> 7, g_random ^= g_random << 17;
    return (double)(g_random >> 11) * 0x1p-52 - 1.0;
}

static void put(void *memory, aclDataType dtype, int64_t at, double x) {
    if (dtype == ACL_FLOAT) ((float *)memory)[at] = (float)x;
    if (dtype == ACL_DOUBLE) ((double *)memory)[at] = x;
    if (dtype == ACL_BF16) ((hc_bf16 *)memory)[at] = hc_f32_to_bf16((float)x);
    if (dtype == ACL_FLOAT16) ((hc_f16 *)memory)[at] = hc_f32_to_f16((float)x);
    if (dtype == ACL_INT32) ((int32_t *)memory)[at] = (int32_t)(x * 1e9);
    if (dtype == ACL_INT8) ((int8_t *)memory)[at] = (int8_t)(x * 127);
    if (dtype == ACL_INT64) ((int64_t *)memory)[at] = (int64_t)(x * 1e18);
}

static double get(const void *memory, aclDataType dtype, int64_t at) {
    if (dtype == ACL_FLOAT) return ((const float *)memory)[at];
    if (dtype == ACL_DOUBLE) return ((const double *)memory)[at];
    if (dtype == ACL_BF16) return hc_bf16_to_f32(((const hc_bf16 *)memory)[at]);
    if (dtype == ACL_FLOAT16) return hc_f16_to_f32(((const hc_f16 *)memory)[at]);
    if (dtype == ACL_INT32) return ((const int32_t *)memory)[at];
    if (dtype == ACL_INT8) return ((const int8_t *)memory)[at];
    return (double)((const int64_t *)memory)[at];
}

/* layout 0 row-major, 1 column-major, 2 rows and columns with gaps. */
static struct operand make_operand(size_t rows, size_t cols, size_t batches, aclDataType dtype, int layout) {
    struct operand o = {.rows = rows, .cols = cols, .batches = batches};
    o.m.dtype = dtype;
    o.m.row = layout == 0 ? (int64_t)cols : layout == 1 ? 1 : (int64_t)cols * 3 + 1;
    o.m.col = layout == 0 ? 1 : layout == 1 ? (int64_t)rows : 3;
    const int64_t one =
        rows > 0 && cols > 0 ? (int64_t)(rows - 1) * o.m.row + (int64_t)(cols - 1) * o.m.col + 1 : 0;
    o.m.batch[0] = one;
    o.memory = malloc((size_t)one * batches * hc_dtype_size(dtype) + (one == 0));
    o.exact = malloc(rows * cols * batches * sizeof(double) + 1);
    o.m.data = o.memory;
    for (size_t b = 0; b < batches; b++) {
        for (size_t i = 0; i < rows * cols; i++) {
            const int64_t at =
                (int64_t)b * one + (int64_t)(i / cols) * o.m.row + (int64_t)(i % cols) * o.m.col;
            put(o.memory, dtype, at, next_random());
            o.exact[b * rows * cols + i] = get(o.memory, dtype, at);
        }
    }
    return o;
}

static void free_operand(struct operand *o) {
    free(o->memory);
    free(o->exact);
}

static double unit(aclDataType dtype) {
    return dtype == ACL_BF16      ? 0x1p-8
           : dtype == ACL_FLOAT16 ? 0x1p-11
           : dtype == ACL_FLOAT   ? 0x1p-24
                                  : 0x1p-53;
}

struct scenario {
    size_t m, n, k, batches;
    aclDataType in, out;
    int la, lb, lo;
    double alpha, beta;
};

static struct hc_gemm describe(const struct scenario *s, const struct operand *a, const struct operand *b,
                               const struct operand *out, const struct operand *self) {
    struct hc_gemm g = {.m = s->m,
                        .n = s->n,
                        .k = s->k,
                        .a = a->m,
                        .b = b->m,
                        .out = out->m,
                        .alpha = HC_GEMM_REAL(s->alpha),
                        .beta = HC_GEMM_REAL(s->beta)};
    g.batch_rank = s->batches > 1;
    g.batch_shape[0] = (int64_t)s->batches;
    if (self != NULL) g.self = self->m;
    return g;
}

/* A row of the product in double, and of its terms' squares: along b's rows, which are the longest way in
 * memory. */
static void exact_row(const struct scenario *s, const double *a, const double *b, double *sums,
                      double *squares) {
    for (size_t j = 0; j < s->n; j++) sums[j] = squares[j] = 0;
    for (size_t k = 0; k < s->k; k++) {
        for (size_t j = 0; j < s->n; j++) {
            const double term = a[k] * b[k * s->n + j];
            sums[j] += term;
            squares[j] += term * term;
        }
    }
}

/* The largest error over its bound; > 1 is a failure. */
static double worst_error(const struct scenario *s, const struct operand *a, const struct operand *b,
                          const struct operand *out, const struct operand *self) {
    double worst = 0;
    const double u = s->in == ACL_DOUBLE ? 0x1p-53 : 0x1p-24;
    double *sums = malloc(2 * s->n * sizeof(double)), *squares = sums + s->n;
    for (size_t row = 0; row < s->batches * s->m; row++) {
        const size_t t = row / s->m, i = row % s->m;
        exact_row(s, a->exact + row * s->k, b->exact + t * s->k * s->n, sums, squares);
        for (size_t j = 0; j < s->n; j++) {
            const double add = self != NULL && s->beta != 0 ? s->beta * self->exact[row * s->n + j] : 0;
            const double want = s->alpha * sums[j] + add;
            const int64_t at =
                (int64_t)t * out->m.batch[0] + (int64_t)i * out->m.row + (int64_t)j * out->m.col;
            const double got = get(out->memory, s->out, at);
            const double terms = (sqrt((double)s->k) + 1) * sqrt(squares[j]);
            const double bound = 4 * u * (fabs(s->alpha) * terms + fabs(add)) + unit(s->out) * fabs(want) +
                                 (s->out == ACL_FLOAT16 ? 0x1p-25 : 0x1p-140);
            const double error = fabs(got - want) / bound;
            if (!(error <= worst)) worst = isnan(error) ? INFINITY : error;
        }
    }
    free(sums);
    return worst;
}

/* self_mode: 0 none, 1 its own memory, 2 out itself. */
static double run(const struct scenario *s, int self_mode) {
    struct operand a = make_operand(s->m, s->k, s->batches, s->in, s->la);
    struct operand b = make_operand(s->k, s->n, s->batches, s->in, s->lb);
    struct operand out = make_operand(s->m, s->n, s->batches, s->out, s->lo);
    struct operand self = make_operand(s->m, s->n, s->batches, s->out, 0);
    const struct operand *add = self_mode == 0 ? NULL : self_mode == 1 ? &self : &out;
    const struct hc_gemm g = describe(s, &a, &b, &out, add);
    const double worst = hc_gemm(&g) == 0 ? worst_error(s, &a, &b, &out, add) : INFINITY;
    free_operand(&a), free_operand(&b), free_operand(&out), free_operand(&self);
    return worst;
}

#define CHECK_RUN(s, self_mode)                                                                              \
    do {                                                                                                     \
        const double worst_ = run(&(s), (self_mode));                                                        \
        CHECK_MSG(worst_ <= 1,                                                                               \
                  "%zux%zux%zu batch %zu in %d out %d layouts %d%d%d alpha %g beta %g self %d: %g", (s).m,   \
                  (s).n, (s).k, (s).batches, (s).in, (s).out, (s).la, (s).lb, (s).lo, (s).alpha, (s).beta,   \
                  (self_mode), worst_);                                                                      \
    } while (0)

static const size_t SIZES[][3] = {{1, 1, 1},     {1, 17, 300},   {3, 70, 33},     {16, 16, 16},
                                  {13, 31, 7},   {14, 32, 256},  {15, 33, 257},   {29, 65, 600},
                                  {65, 1, 129},  {100, 3, 70},   {64, 64, 64},    {5, 4, 9000},
                                  {2, 600, 515}, {97, 130, 513}, {12, 2050, 140}, {31, 47, 1}};

TEST(float_all_layouts) {
    for (size_t i = 0; i < sizeof SIZES / sizeof SIZES[0]; i++) {
        for (int l = 0; l < 27; l++) {
            const struct scenario s = {SIZES[i][0], SIZES[i][1], SIZES[i][2], 1, ACL_FLOAT, ACL_FLOAT,
                                       l % 3,       l / 3 % 3,   l / 9,       1, 0};
            CHECK_RUN(s, 0);
        }
    }
}

TEST(dtypes_and_transposes) {
    static const aclDataType IN[] = {ACL_FLOAT, ACL_BF16, ACL_FLOAT16, ACL_DOUBLE};
    for (size_t i = 0; i < sizeof SIZES / sizeof SIZES[0]; i++) {
        for (int t = 0; t < 4; t++) {
            for (int l = 0; l < 4; l++) {
                struct scenario s = {SIZES[i][0], SIZES[i][1], SIZES[i][2], 1, IN[t], IN[t],
                                     l % 2,       l / 2,       0,           1, 0};
                CHECK_RUN(s, 0);
                s.out = IN[t] == ACL_DOUBLE ? ACL_DOUBLE : ACL_FLOAT;
                CHECK_RUN(s, 2);
            }
        }
    }
}

TEST(factors_and_self) {
    static const double FACTORS[][2] = {{1, 1}, {1, 0.5}, {-2, 1}, {0.25, -3}, {0, 1}, {1, 0}};
    for (size_t i = 0; i < sizeof SIZES / sizeof SIZES[0]; i++) {
        for (int f = 0; f < 6; f++) {
            for (int mode = 1; mode <= 2; mode++) {
                for (int dtype = 0; dtype < 3; dtype++) {
                    const aclDataType in = dtype == 1 ? ACL_BF16 : dtype == 2 ? ACL_DOUBLE : ACL_FLOAT;
                    for (int lo = 0; lo < 3; lo++) {
                        const struct scenario s = {SIZES[i][0], SIZES[i][1],   SIZES[i][2],  1, in, in, 0, 1,
                                                   lo,          FACTORS[f][0], FACTORS[f][1]};
                        CHECK_RUN(s, mode);
                    }
                }
            }
        }
    }
}

/* All sizes and layouts, BATCH products at a time. */
static void run_batches(aclDataType dtype, double alpha, double beta, int mode) {
    for (size_t i = 0; i < sizeof SIZES / sizeof SIZES[0]; i++) {
        for (int l = 0; l < 8; l++) {
            const struct scenario s = {SIZES[i][0], SIZES[i][1], SIZES[i][2], BATCH, dtype, dtype,
                                       l % 2,       l / 2 % 2,   l / 4,       alpha, beta};
            CHECK_RUN(s, mode);
        }
    }
}
TEST(batches) { run_batches(ACL_FLOAT, 1, 0.5, 1); }

TEST(larger_than_a_super_block) {
    const struct scenario s = {2100, 40, 300, 1, ACL_BF16, ACL_BF16, 0, 1, 0, 1, 1};
    CHECK_RUN(s, 1);
    const struct scenario wide = {40, 2100, 300, 1, ACL_FLOAT, ACL_FLOAT, 1, 0, 0, 1, 0};
    CHECK_RUN(wide, 0);
}

/* Operands of more than PACKED_BYTES (gemm.c), by two slabs and a half: sums wait in memory. An emulated CPU
 * takes a minute for each. */
TEST(more_than_a_chunk_of_steps) {
    const int most = getenv("HC_EMULATED") ? 0 : 2;
    for (int mode = 0; mode <= most; mode++) {
        const double beta = mode == 0 ? 0 : -0.5;
        const struct scenario widened = {30, 2040, 2601, 1, ACL_FLOAT, ACL_FLOAT, 0, 0, 0, 1, beta};
        CHECK_RUN(widened, mode);
        const struct scenario pairs = {30, 2040, 5201, 1, ACL_BF16, ACL_BF16, 0, 1, 0, 2, beta};
        CHECK_RUN(pairs, mode);
        const struct scenario to_float = {30, 2040, 5201, 1, ACL_BF16, ACL_FLOAT, 0, 1, 0, 1, beta};
        CHECK_RUN(to_float, mode);
    }
}

TEST(bfloat16_layouts_and_odd_steps) {
    for (size_t k = 0; k < 70; k += k < 5 ? 1 : 13) {
        for (int l = 0; l < 27; l++) {
            const struct scenario s = {29, 67, k, 1, ACL_BF16, ACL_BF16, l % 3, l / 3 % 3, l / 9, 1, 0};
            CHECK_RUN(s, 0);
        }
    }
}

TEST(bfloat16_batches) { run_batches(ACL_BF16, 0.125, 0, 0); }

TEST(no_steps_leave_beta_self) {
    static const aclDataType TYPES[] = {ACL_FLOAT, ACL_BF16, ACL_DOUBLE};
    for (int t = 0; t < 3; t++) {
        for (int mode = 0; mode <= 2; mode++) {
            const struct scenario s = {20, 40, 0, 1, TYPES[t], TYPES[t], 0, 0, 0, 1, mode == 0 ? 0 : 2};
            CHECK_RUN(s, mode);
        }
    }
}

TEST(self_is_not_read_when_beta_is_zero) {
    float a[6], b[6], out[4] = {NAN, NAN, NAN, NAN};
    for (int i = 0; i < 6; i++) a[i] = b[i] = 1;
    const struct hc_gemm g = {.m = 2,
                              .n = 2,
                              .k = 3,
                              .a = {a, ACL_FLOAT, 3, 1, {0}},
                              .b = {b, ACL_FLOAT, 2, 1, {0}},
                              .out = {out, ACL_FLOAT, 2, 1, {0}},
                              .self = {out, ACL_FLOAT, 2, 1, {0}},
                              .alpha = HC_GEMM_REAL(1),
                              .beta = HC_GEMM_REAL(0)};
    CHECK_EQ(hc_gemm(&g), 0);
    for (int i = 0; i < 4; i++) CHECK(out[i] == 3);
}

TEST(integers_wrap_exactly) {
    for (size_t i = 0; i < sizeof SIZES / sizeof SIZES[0]; i++) {
        const size_t m = SIZES[i][0], n = SIZES[i][1], k = SIZES[i][2];
        for (int l = 0; l < 4; l++) {
            struct operand a = make_operand(m, k, 1, ACL_INT32, l % 2),
                           b = make_operand(k, n, 1, ACL_INT32, l / 2);
            struct operand out = make_operand(m, n, 1, ACL_INT32, 0);
            const struct scenario s = {m, n, k, 1, ACL_INT32, ACL_INT32, 0, 0, 0, 3, 0};
            struct hc_gemm g = describe(&s, &a, &b, &out, NULL);
            CHECK_EQ(hc_gemm(&g), 0);
            bool same = true;
            for (size_t e = 0; e < m * n; e++) {
                uint32_t want = 0;
                for (size_t p = 0; p < k; p++) {
                    want +=
                        (uint32_t)(int32_t)a.exact[e / n * k + p] * (uint32_t)(int32_t)b.exact[p * n + e % n];
                }
                same &= (uint32_t)((const int32_t *)out.memory)[e] == 3 * want;
            }
            free_operand(&a), free_operand(&b), free_operand(&out);
            CHECK_MSG(same, "%zux%zux%zu layout %d", m, n, k, l);
        }
    }
}

/* Complex values are pairs of the real operand's columns. */
TEST(complex_products) {
    for (size_t i = 0; i < sizeof SIZES / sizeof SIZES[0]; i++) {
        const size_t m = SIZES[i][0], n = SIZES[i][1], k = hc_min_size(SIZES[i][2], 700);
        struct operand a = make_operand(m, 2 * k, 1, ACL_FLOAT, 0),
                       b = make_operand(k, 2 * n, 1, ACL_FLOAT, 0);
        struct operand out = make_operand(m, 2 * n, 1, ACL_FLOAT, 0);
        const struct hc_gemm g = {.m = m,
                                  .n = n,
                                  .k = k,
                                  .a = {a.memory, ACL_COMPLEX64, (int64_t)k, 1, {0}},
                                  .b = {b.memory, ACL_COMPLEX64, (int64_t)n, 1, {0}},
                                  .out = {out.memory, ACL_COMPLEX64, (int64_t)n, 1, {0}},
                                  .alpha = {ACL_COMPLEX128, {.c = {0, 1}}}};
        CHECK_EQ(hc_gemm(&g), 0);
        double worst = 0;
        for (size_t e = 0; e < m * n; e++) {
            double re = 0, im = 0;
            for (size_t p = 0; p < k; p++) {
                const double *x = a.exact + e / n * 2 * k + 2 * p, *y = b.exact + p * 2 * n + 2 * (e % n);
                re += x[0] * y[0] - x[1] * y[1];
                im += x[0] * y[1] + x[1] * y[0];
            }
            const float *got = (const float *)out.memory + 2 * e;
            worst = fmax(worst, fabs(got[0] + im) / (0x1p-23 * (fabs(im) + 1e-6)));
            worst = fmax(worst, fabs(got[1] - re) / (0x1p-23 * (fabs(re) + 1e-6)));
        }
        free_operand(&a), free_operand(&b), free_operand(&out);
        CHECK_MSG(worst <= 1, "%zux%zux%zu: %g", m, n, k, worst);
    }
}

struct seen {
    size_t n;
    unsigned *count;
};

/* An exact change that depends on the place. */
static float place_factor(size_t row, size_t col) { return (row + col) % 2 == 0 ? 2.0f : -0.5f; }

static void scale_and_count(void *ctx, size_t batch, size_t row, size_t col, size_t n, float *x) {
    const struct seen *s = ctx;
    for (size_t j = 0; j < n; j++) {
        x[j] *= place_factor(row, col + j);
        __atomic_fetch_add(&s->count[(batch * 1000 + row) * s->n + col + j], 1, __ATOMIC_RELAXED);
    }
}

TEST(epilogue_sees_each_element_once) {
    for (size_t i = 0; i < sizeof SIZES / sizeof SIZES[0]; i++) {
        const size_t m = SIZES[i][0], n = SIZES[i][1], k = SIZES[i][2];
        struct operand a = make_operand(m, k, 2, ACL_BF16, 0), b = make_operand(k, n, 2, ACL_BF16, 1);
        struct operand out = make_operand(m, n, 2, ACL_FLOAT, 0);
        const struct scenario s = {m, n, k, 2, ACL_BF16, ACL_FLOAT, 0, 1, 0, 1, 0};
        struct hc_gemm g = describe(&s, &a, &b, &out, NULL);
        struct seen seen = {n, calloc(2000 * n, sizeof(unsigned))};
        g.epilogue = scale_and_count;
        g.epilogue_ctx = &seen;
        CHECK_EQ(hc_gemm(&g), 0);
        bool once = true;
        for (size_t e = 0; e < 2 * m * n; e++) {
            const size_t batch = e / (m * n), row = e / n % m;
            once &= seen.count[(batch * 1000 + row) * n + e % n] == 1;
            ((float *)out.memory)[e] /= place_factor(row, e % n);
        }
        free(seen.count);
        const double worst = worst_error(&s, &a, &b, &out, NULL);
        free_operand(&a), free_operand(&b), free_operand(&out);
        CHECK_MSG(once, "%zux%zux%zu", m, n, k);
        CHECK_MSG(worst <= 1, "%zux%zux%zu: %g", m, n, k, worst);
    }
}

TEST(dtypes_that_do_not_go_together) {
    float x = 1;
    const struct hc_gemm g = {.m = 1,
                              .n = 1,
                              .k = 1,
                              .a = {&x, ACL_FLOAT, 1, 1, {0}},
                              .b = {&x, ACL_DOUBLE, 1, 1, {0}},
                              .out = {&x, ACL_FLOAT, 1, 1, {0}},
                              .alpha = HC_GEMM_REAL(1)};
    CHECK(hc_gemm(&g) != 0);
    CHECK(strstr(hc_error_text(), "float64") != NULL);
}
