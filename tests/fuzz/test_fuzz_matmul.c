// SPDX-License-Identifier: Apache-2.0
/* Matrix products, of batches and of groups of rows or steps, on small matrices of random shapes, strides and
 * types, against sums in double. */
#include "fuzz_tensors.h"
#include "harness.h"

enum { CASES = 6000, GROUPS = 5 };

static int64_t size(void) { return fuzz_one_in(10) ? fuzz_below(150) : fuzz_below(20); }
/* Of inputs of the type, of at most a few hundred steps. */
static double error_of(aclDataType t) { return 4 * fuzz_error(t); }

/* sum over p of a[i, p] b[p, j], where matrices begin at `a0` and `b0`; *bound: sum of absolute values. */
static double dot(const struct fuzz_tensor *a, int64_t a0, const struct fuzz_tensor *b, int64_t b0, int64_t k,
                  int64_t n, int64_t i, int64_t j, double *bound) {
    double sum = 0;
    *bound = 0;
    for (int64_t p = 0; p < k; p++) {
        const double x = a->value[a0 + i * k + p] * b->value[b0 + p * n + j];
        sum += x, *bound += fabs(x);
    }
    return sum;
}

static bool mm(void) {
    const aclDataType t = fuzz_float_type();
    const int64_t m = size(), k = size(), n = size();
    const struct fuzz_tensor a = fuzz_reals(t, FUZZ_SHAPE(m, k), false),
                             b = fuzz_reals(t, FUZZ_SHAPE(k, n), false),
                             out = fuzz_result(t, FUZZ_SHAPE(m, n), false);
    const int code = FUZZ_RUN(aclnnMm, a.tensor, b.tensor, out.tensor, 0);
    fuzz_explain("mm", code);
    double bound;
    for (int64_t i = 0; code == 0 && i < m * n; i++) {
        const double want = dot(&a, 0, &b, 0, k, n, i / n, i % n, &bound);
        if (!fuzz_is(&out, i, want, bound, error_of(t))) return false;
    }
    return code == 0;
}

/* Where batch `index` of `sizes` lies in t, whose last two dimensions are a matrix: dimensions of 1 repeat.
 */
static int64_t batch_of(const struct fuzz_tensor *t, int64_t index, const int64_t *sizes, int64_t dims) {
    int64_t at = 0, step = t->shape[t->rank - 2] * t->shape[t->rank - 1];
    for (int64_t d = 0; d < dims; d++) {
        const int64_t own = t->rank - 3 - d, i = index % sizes[dims - 1 - d];
        index /= sizes[dims - 1 - d];
        if (own < 0) continue;
        if (t->shape[own] > 1) at += i * step;
        step *= t->shape[own];
    }
    return at;
}

/* Batches broadcast against each other. */
static bool matmul(void) {
    const aclDataType t = fuzz_float_type();
    const int64_t m = size(), k = size(), n = size(), sizes[2] = {fuzz_below(3) + 1, fuzz_below(4) + 1};
    int64_t of_a[4] = {sizes[0], sizes[1], m, k}, of_b[4] = {sizes[0], sizes[1], k, n};
    for (int d = 0; d < 2; d++) {
        if (fuzz_one_in(4)) of_a[d] = 1;
        else if (fuzz_one_in(4)) of_b[d] = 1;
    }
    /* Where a has no batch of its own in front it may lack the dimension. */
    const int64_t lack = fuzz_below(3), first = lack < 2 ? 2 - lack : 0;
    for (int64_t d = 0; d < first; d++) of_a[d] = 1;
    const struct fuzz_tensor a = fuzz_reals(t, 4 - first, of_a + first, false),
                             b = fuzz_reals(t, 4, of_b, false);
    const int64_t batch[2] = {of_a[0] > of_b[0] ? of_a[0] : of_b[0], of_a[1] > of_b[1] ? of_a[1] : of_b[1]};
    const struct fuzz_tensor out = fuzz_result(t, FUZZ_SHAPE(batch[0], batch[1], m, n), false);
    const int code = FUZZ_RUN(aclnnMatmul, a.tensor, b.tensor, out.tensor, 0);
    fuzz_explain("matmul", code);
    for (int64_t i = 0; code == 0 && i < out.numel; i++) {
        double bound;
        const int64_t of = i / (m * n), within = i % (m * n);
        const double want = dot(&a, batch_of(&a, of, batch, 2), &b, batch_of(&b, of, batch, 2), k, n,
                                within / n, within % n, &bound);
        if (!fuzz_is(&out, i, want, bound, error_of(t))) return false;
    }
    return code == 0;
}

/* beta self + alpha a b, where self broadcasts; one matrix, or a batch of them. */
static bool add(bool batched) {
    const aclDataType t = fuzz_float_type();
    const int64_t b_ = batched ? fuzz_below(4) + 1 : 1, m = size(), k = size(), n = size();
    const int64_t skip = batched ? 0 : 1, of_a[] = {b_, m, k}, of_b[] = {b_, k, n}, of_out[] = {b_, m, n};
    const int64_t of_self[] = {fuzz_one_in(3) ? 1 : b_, fuzz_one_in(3) ? 1 : m, fuzz_one_in(4) ? 1 : n};
    const struct fuzz_tensor a = fuzz_reals(t, 3 - skip, of_a + skip, false),
                             b = fuzz_reals(t, 3 - skip, of_b + skip, false),
                             self = fuzz_reals(t, 3 - skip, of_self + skip, false),
                             out = fuzz_result(t, 3 - skip, of_out + skip, false);
    float beta = fuzz_one_in(4) ? 0 : (float)fuzz_real(), alpha = fuzz_one_in(4) ? 1 : (float)fuzz_real();
    aclScalar *of_beta = aclCreateScalar(&beta, ACL_FLOAT), *of_alpha = aclCreateScalar(&alpha, ACL_FLOAT);
    const int code =
        batched ? FUZZ_RUN(aclnnBaddbmm, self.tensor, a.tensor, b.tensor, of_beta, of_alpha, out.tensor, 0)
                : FUZZ_RUN(aclnnAddmm, self.tensor, a.tensor, b.tensor, of_beta, of_alpha, out.tensor, 0);
    aclDestroyScalar(of_beta), aclDestroyScalar(of_alpha);
    fuzz_explain("add", code);
    for (int64_t i = 0; code == 0 && i < out.numel; i++) {
        double bound;
        const int64_t batch = i / (m * n), row = i / n % m, column = i % n;
        const double sum = dot(&a, batch * m * k, &b, batch * k * n, k, n, row, column, &bound);
        const int64_t at =
            ((of_self[0] > 1 ? batch : 0) * of_self[1] + (of_self[1] > 1 ? row : 0)) * of_self[2] +
            (of_self[2] > 1 ? column : 0);
        const double first = (double)beta * self.value[at];
        if (!fuzz_is(&out, i, first + (double)alpha * sum, fabs(first) + fabs((double)alpha) * bound,
                     error_of(t)))
            return false;
    }
    return code == 0;
}
static bool addmm(void) { return add(false); }
static bool baddbmm(void) { return add(true); }

/* ---- groups ---- */

/* Rows, or steps of the sum, are divided among groups; some may be left over. */
struct groups {
    int64_t count, length[GROUPS], first[GROUPS + 1], all;
};
static struct groups divide(void) {
    struct groups g = {.count = fuzz_below(GROUPS) + 1};
    for (int64_t i = 0; i < g.count; i++) {
        g.length[i] = fuzz_one_in(3) ? 0 : size();
        g.first[i + 1] = g.first[i] + g.length[i];
    }
    g.all = g.first[g.count];
    return g;
}
static struct fuzz_tensor list_of(const struct groups *g, bool counts) {
    struct fuzz_tensor t = fuzz_zeros(ACL_INT64, FUZZ_SHAPE(g->count), true);
    for (int64_t i = 0; i < g->count; i++) fuzz_set(&t, i, (double)(counts ? g->length[i] : g->first[i + 1]));
    return t;
}
static aclTensorList *one(const struct fuzz_tensor *t) {
    const aclTensor *const tensors[] = {t->tensor};
    return aclCreateTensorList(tensors, 1);
}

static bool rows(void) {
    const aclDataType t = fuzz_float_type();
    const struct groups g = divide();
    const int64_t k = size() + 1, n = size() + 1, left = fuzz_one_in(3) ? fuzz_below(4) : 0, m = g.all + left;
    const bool counts = fuzz_one_in(2), has_bias = fuzz_one_in(3), each = fuzz_one_in(3);
    const struct fuzz_tensor x = fuzz_reals(t, FUZZ_SHAPE(m, k), false),
                             weight = fuzz_reals(t, FUZZ_SHAPE(g.count, k, n), false),
                             bias = fuzz_reals(t == ACL_BF16 ? ACL_FLOAT : t, FUZZ_SHAPE(g.count, n), false),
                             out = fuzz_result(t, FUZZ_SHAPE(m, n), false), list = list_of(&g, counts);
    /* The same weights as a tensor for each group. */
    const aclTensor *own[GROUPS];
    struct fuzz_tensor own_weight[GROUPS];
    for (int64_t i = 0; each && i < g.count; i++) {
        own_weight[i] = fuzz_reals(t, FUZZ_SHAPE(k, n), false);
        for (int64_t p = 0; p < k * n; p++) fuzz_set(&own_weight[i], p, weight.value[i * k * n + p]);
        own[i] = own_weight[i].tensor;
    }
    aclTensorList *xs = one(&x), *weights = each ? aclCreateTensorList(own, (uint64_t)g.count) : one(&weight),
                  *biases = has_bias && !each ? one(&bias) : NULL, *outs = one(&out);
    const int code = FUZZ_RUN(aclnnGroupedMatmulV4, xs, weights, biases, NULL, NULL, NULL, NULL, NULL,
                              list.tensor, NULL, NULL, NULL, 3, 0, counts, 0, outs, NULL, NULL);
    free(xs), free(weights), free(biases), free(outs);
    fuzz_explain("rows", code);
    for (int64_t group = 0; code == 0 && group <= g.count; group++) {
        const int64_t end = group < g.count ? g.first[group + 1] : m;
        for (int64_t i = g.first[group]; i < end; i++)
            for (int64_t j = 0; j < n; j++) {
                double bound = 0, want = 0;
                if (group < g.count) want = dot(&x, 0, &weight, group * k * n, k, n, i, j, &bound);
                if (group < g.count && biases != NULL) want += bias.value[group * n + j];
                if (!fuzz_is(&out, i * n + j, want, bound + 2, error_of(t))) return false;
            }
    }
    return code == 0;
}

/* The gradient of weights: x transposed [k, m], of which a group has some columns. */
static bool steps(void) {
    const aclDataType t = fuzz_float_type();
    const struct groups g = divide();
    const int64_t m = size() + 1, n = size() + 1;
    const bool counts = fuzz_one_in(2);
    const struct fuzz_tensor x = fuzz_reals(t, FUZZ_SHAPE(m, g.all), false),
                             dy = fuzz_reals(t, FUZZ_SHAPE(g.all, n), false),
                             out = fuzz_result(t, FUZZ_SHAPE(g.count, m, n), false),
                             list = list_of(&g, counts);
    aclTensorList *xs = one(&x), *dys = one(&dy), *outs = one(&out);
    const int code = FUZZ_RUN(aclnnGroupedMatmulV4, xs, dys, NULL, NULL, NULL, NULL, NULL, NULL, list.tensor,
                              NULL, NULL, NULL, 3, 2, counts, 0, outs, NULL, NULL);
    free(xs), free(dys), free(outs);
    fuzz_explain("steps", code);
    for (int64_t i = 0; code == 0 && i < out.numel; i++) {
        const int64_t group = i / (m * n), row = i / n % m, column = i % n;
        double want = 0, bound = 0;
        for (int64_t p = g.first[group]; p < g.first[group + 1]; p++) {
            const double part = x.value[row * g.all + p] * dy.value[p * n + column];
            want += part, bound += fabs(part);
        }
        if (!fuzz_is(&out, i, want, bound, error_of(t))) return false;
    }
    return code == 0;
}

static const struct fuzz_operator OPERATORS[] = {{"mm", mm},           {"matmul", matmul}, {"addmm", addmm},
                                                 {"baddbmm", baddbmm}, {"rows", rows},     {"steps", steps}};

TEST(matmul) {
    CHECK(aclInit(NULL) == 0 && aclrtSetDevice(0) == 0);
    CHECK(fuzz_all(OPERATORS, sizeof OPERATORS / sizeof OPERATORS[0], CASES));
    CHECK(aclFinalize() == 0);
}
