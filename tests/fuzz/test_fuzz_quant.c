// SPDX-License-Identifier: Apache-2.0
/* Quantising, and products of quantised matrices, on small cases of random shapes, strides, types and
 * options, against plain loops in double. */
#include "fuzz_tensors.h"
#include "harness.h"

enum { CASES = 6000, GROUPS = 4, INT8 = 2 };

static int64_t size(void) { return (fuzz_one_in(10) ? fuzz_below(150) : fuzz_below(24)) + 1; }
static aclDataType half(void) { return fuzz_one_in(2) ? ACL_FLOAT16 : ACL_BF16; }
static double scale(void) { return (double)(fuzz_below(64) + 1) / 1024; }
static struct fuzz_tensor scales(aclDataType type, int64_t rank, const int64_t *shape, bool plain) {
    struct fuzz_tensor t = fuzz_zeros(type, rank, shape, plain);
    for (int64_t i = 0; i < t.numel; i++) fuzz_set(&t, i, scale());
    return t;
}
/* Rounded: what float32 makes of `want` may lie on the other side of a half. */
static bool rounds_to(const struct fuzz_tensor *t, int64_t i, double want) {
    const double clipped = fmin(fmax(want, -128), 127), got = fuzz_load(t->dtype, fuzz_place(t, i));
    if (fabs(got - clipped) <= 0.5 + 1e-4 + fabs(clipped) * 1e-5) return true;
    printf("element %lld: %g, wanted %.9g\n", (long long)i, got, clipped);
    return false;
}

/* Rows by their own largest values; with smooth scales of a row's elements. */
static bool dynamic(void) {
    const aclDataType t = half();
    const int64_t m = size(), h = size();
    const bool smooth = fuzz_one_in(2);
    const struct fuzz_tensor x = fuzz_reals(t, FUZZ_SHAPE(m, h), false),
                             by = fuzz_reals(t, FUZZ_SHAPE(h), false),
                             y = fuzz_result(ACL_INT8, FUZZ_SHAPE(m, h), false),
                             of = fuzz_result(ACL_FLOAT, FUZZ_SHAPE(m), false);
    const int code = FUZZ_RUN(aclnnDynamicQuant, x.tensor, smooth ? by.tensor : NULL, y.tensor, of.tensor);
    fuzz_explain("dynamic", code);
    for (int64_t i = 0; code == 0 && i < m; i++) {
        double most = 0;
        for (int64_t j = 0; j < h; j++)
            most = fmax(most, fabs(x.value[i * h + j] * (smooth ? by.value[j] : 1)));
        if (!fuzz_is(&of, i, most / 127, 0, 1e-5)) return false;
        for (int64_t j = 0; j < h && most > 0; j++)
            if (!rounds_to(&y, i * h + j, x.value[i * h + j] * (smooth ? by.value[j] : 1) / most * 127))
                return false;
    }
    return code == 0;
}

/* By numbers that are given, one or one for each element of the last dimension, and back. */
static bool given(void) {
    const aclDataType t = half();
    const int64_t m = size(), h = size(), n = fuzz_one_in(2) ? 1 : h;
    const bool shifted = fuzz_one_in(2);
    const struct fuzz_tensor x = fuzz_reals(t, FUZZ_SHAPE(m, h), false),
                             y = fuzz_result(ACL_INT8, FUZZ_SHAPE(m, h), false),
                             back = fuzz_result(t, FUZZ_SHAPE(m, h), false),
                             unit = scales(t, FUZZ_SHAPE(n), false);
    struct fuzz_tensor by = fuzz_zeros(t, FUZZ_SHAPE(n), false), shift = fuzz_zeros(t, FUZZ_SHAPE(n), false);
    for (int64_t i = 0; i < n; i++)
        fuzz_set(&by, i, fuzz_real() * 60), fuzz_set(&shift, i, (double)fuzz_below(9) - 4);
    int code = FUZZ_RUN(aclnnAscendQuantV3, x.tensor, by.tensor, shifted ? shift.tensor : NULL, false,
                        "round", INT8, -1, y.tensor);
    fuzz_explain("given", code);
    for (int64_t i = 0; code == 0 && i < m * h; i++) {
        const int64_t j = n > 1 ? i % h : 0;
        if (!rounds_to(&y, i, x.value[i] * by.value[j] + (shifted ? shift.value[j] : 0))) return false;
    }
    if (code != 0) return false;
    code = FUZZ_RUN(aclnnAscendAntiQuant, y.tensor, unit.tensor, shifted ? shift.tensor : NULL,
                    t == ACL_BF16 ? 27 : 1, false, back.tensor);
    fuzz_explain("back", code);
    for (int64_t i = 0; code == 0 && i < m * h; i++) {
        const int64_t j = n > 1 ? i % h : 0;
        const double number = fuzz_load(ACL_INT8, fuzz_place(&y, i)) + (shifted ? shift.value[j] : 0);
        if (!fuzz_is(&back, i, number * unit.value[j], 0, 2 * fuzz_error(t))) return false;
    }
    return code == 0;
}

static double whole(const struct fuzz_tensor *a, int64_t a0, const struct fuzz_tensor *b, int64_t b0,
                    int64_t k, int64_t n, int64_t i, int64_t j) {
    double sum = 0;
    for (int64_t p = 0; p < k; p++) sum += a->value[a0 + i * k + p] * b->value[b0 + p * n + j];
    return sum;
}

/* int8 by int8: sums are exact. */
static bool product(void) {
    const aclDataType t = half();
    const int64_t m = size(), k = size(), n = size();
    const bool turned = fuzz_one_in(2), of_rows = fuzz_one_in(2), one = fuzz_one_in(3),
               has_bias = fuzz_one_in(3);
    const int64_t of_b[] = {turned ? n : k, turned ? k : n};
    const struct fuzz_tensor a = fuzz_integers(ACL_INT8, FUZZ_SHAPE(m, k), false, -128, 127),
                             b = fuzz_integers(ACL_INT8, 2, of_b, false, -128, 127),
                             columns = scales(ACL_FLOAT, FUZZ_SHAPE(one ? 1 : n), false),
                             rows = scales(ACL_FLOAT, FUZZ_SHAPE(m), false),
                             bias = fuzz_integers(ACL_INT32, FUZZ_SHAPE(n), false, -9999, 9999),
                             out = fuzz_result(t, FUZZ_SHAPE(m, n), false);
    const int code =
        FUZZ_RUN(aclnnQuantMatmulV5, a.tensor, b.tensor, of_rows ? rows.tensor : NULL, columns.tensor, NULL,
                 NULL, NULL, NULL, has_bias ? bias.tensor : NULL, false, turned, 0, out.tensor);
    fuzz_explain("product", code);
    for (int64_t i = 0; code == 0 && i < m * n; i++) {
        double sum = has_bias ? bias.value[i % n] : 0;
        for (int64_t p = 0; p < k; p++)
            sum += a.value[i / n * k + p] * b.value[turned ? i % n * k + p : p * n + i % n];
        const double by = columns.value[one ? 0 : i % n] * (of_rows ? rows.value[i / n] : 1);
        if (!fuzz_is(&out, i, sum * by, 1e-3, 2 * fuzz_error(t))) return false;
    }
    return code == 0;
}

/* Weights of int8 with scales of columns, or of groups of rows of them. */
static bool weight_only(void) {
    const aclDataType t = half();
    const int64_t m = size(), group = fuzz_one_in(2) ? 32 : 0,
                  k = group > 0 ? 32 * (fuzz_below(4) + 2) : size(), n = size();
    const bool shifted = fuzz_one_in(2);
    const int64_t parts = group > 0 ? k / group : 1;
    const struct fuzz_tensor x = fuzz_reals(t, FUZZ_SHAPE(m, k), false),
                             w = fuzz_integers(ACL_INT8, FUZZ_SHAPE(k, n), false, -128, 127),
                             y = fuzz_result(t, FUZZ_SHAPE(m, n), false);
    const int64_t shape[] = {parts, n}, skip = group > 0 ? 0 : 1;
    const struct fuzz_tensor by = scales(t, 2 - skip, shape + skip, false),
                             shift = fuzz_integers(t, 2 - skip, shape + skip, false, -4, 4);
    const int code = FUZZ_RUN(aclnnWeightQuantBatchMatmulV2, x.tensor, w.tensor, by.tensor,
                              shifted ? shift.tensor : NULL, NULL, NULL, NULL, (int)group, y.tensor);
    fuzz_explain("weight_only", code);
    for (int64_t i = 0; code == 0 && i < m * n; i++) {
        double want = 0, bound = 0;
        for (int64_t p = 0; p < k; p++) {
            const int64_t s = (group > 0 ? p / group * n : 0) + i % n;
            const double part = x.value[i / n * k + p] *
                                (w.value[p * n + i % n] + (shifted ? shift.value[s] : 0)) * by.value[s];
            want += part, bound += fabs(part);
        }
        if (!fuzz_is(&y, i, want, bound, 4 * fuzz_error(t))) return false;
    }
    return code == 0;
}

static aclTensorList *one_of(const struct fuzz_tensor *t) {
    const aclTensor *const tensors[] = {t->tensor};
    return aclCreateTensorList(tensors, 1);
}

/* Groups of rows, each with its matrix of int8 and scales of its columns; scales of rows. */
static bool groups(void) {
    const aclDataType t = half();
    const int64_t count = fuzz_below(GROUPS) + 1, k = size(), n = size();
    struct fuzz_tensor list = fuzz_zeros(ACL_INT64, FUZZ_SHAPE(count), true);
    int64_t end[GROUPS], m = 0;
    for (int64_t i = 0; i < count; i++)
        fuzz_set(&list, i, (double)(end[i] = m += fuzz_one_in(3) ? 0 : size()));
    const struct fuzz_tensor x = fuzz_integers(ACL_INT8, FUZZ_SHAPE(m, k), false, -128, 127),
                             w = fuzz_integers(ACL_INT8, FUZZ_SHAPE(count, k, n), false, -128, 127),
                             columns =
                                 scales(t == ACL_BF16 ? ACL_BF16 : ACL_FLOAT, FUZZ_SHAPE(count, n), false),
                             rows = scales(ACL_FLOAT, FUZZ_SHAPE(m), false),
                             out = fuzz_result(t, FUZZ_SHAPE(m, n), false);
    aclTensorList *xs = one_of(&x), *ws = one_of(&w), *of_columns = one_of(&columns),
                  *of_rows = one_of(&rows), *outs = one_of(&out);
    const int code = FUZZ_RUN(aclnnGroupedMatmulV4, xs, ws, NULL, of_columns, NULL, NULL, NULL, of_rows,
                              list.tensor, NULL, NULL, NULL, 3, 0, 0, 0, outs, NULL, NULL);
    free(xs), free(ws), free(of_columns), free(of_rows), free(outs);
    fuzz_explain("groups", code);
    for (int64_t i = 0; code == 0 && i < m * n; i++) {
        int64_t g = 0;
        while (i / n >= end[g]) g++;
        const double want = whole(&x, 0, &w, g * k * n, k, n, i / n, i % n) * columns.value[g * n + i % n] *
                            rows.value[i / n];
        if (!fuzz_is(&out, i, want, 1e-3, 2 * fuzz_error(t))) return false;
    }
    return code == 0;
}

static const struct fuzz_operator OPERATORS[] = {{"dynamic", dynamic},
                                                 {"given", given},
                                                 {"product", product},
                                                 {"weight_only", weight_only},
                                                 {"groups", groups}};

TEST(quant) {
    CHECK(aclInit(NULL) == 0 && aclrtSetDevice(0) == 0);
    CHECK(fuzz_all(OPERATORS, sizeof OPERATORS / sizeof OPERATORS[0], CASES));
    CHECK(aclFinalize() == 0);
}
