// SPDX-License-Identifier: Apache-2.0
/* Operators that take indices, with values near the limits of their types, on small strided tensors: legal
 * calls compute what a plain loop computes, all others fail with a text that names the operator, and no byte
 * around a tensor changes. Tensors lie in blocks of exactly their size, so that a sanitizer sees reads
 * outside, too. */
#include "fuzz_tensors.h"
#include "harness.h"
#include "hc_util.h"

enum { MOST = 8, CASES = 6000 };

/* rows x cols floats, row-major or transposed. */
struct matrix {
    float *data;
    int64_t shape[2], stride[2];
    aclTensor *tensor, *line; /* line: of one column, as one dimension */
};
static struct matrix matrix(int64_t rows, int64_t cols) {
    struct matrix m = {.shape = {rows, cols}, .stride = {cols, 1}};
    const int64_t numel = rows * cols;
    if (fuzz_one_in(3)) m.stride[0] = 1, m.stride[1] = rows;
    m.data = fuzz_take((size_t)numel * sizeof(float));
    for (int64_t i = 0; i < numel; i++) m.data[i] = (float)fuzz_below(100);
    m.tensor =
        fuzz_keep(aclCreateTensor(m.shape, 2, ACL_FLOAT, m.stride, 0, ACL_FORMAT_ND, &numel, 1, m.data));
    if (cols == 1)
        m.line = fuzz_keep(aclCreateTensor(m.shape, 1, ACL_FLOAT, NULL, 0, ACL_FORMAT_ND, &numel, 1, m.data));
    return m;
}
static float *at(const struct matrix *m, int64_t i, int64_t k) {
    return &m->data[i * m->stride[0] + k * m->stride[1]];
}

/* Index values and the tensor of them; `bad`: one is outside of [0, bound), or with wraps below -bound. Legal
 * values are made what they mean. */
struct indices {
    int64_t value[MOST * MOST], count;
    bool bad;
    aclTensor *tensor;
};
static int64_t index_value(int64_t bound, bool wraps) {
    if (fuzz_one_in(40)) return fuzz_one_in(2) ? fuzz_edge() : bound + fuzz_below(3) - 1;
    if (bound == 0) return 0;
    const int64_t x = fuzz_below(bound);
    return wraps && fuzz_one_in(3) ? x - bound : x;
}
static struct indices indices(const int64_t *shape, uint64_t rank, int64_t bound, bool wraps, bool only_64) {
    struct indices x = {.count = 1};
    int64_t strides[2] = {1, 1};
    const bool narrow = !only_64 && fuzz_one_in(3);
    const int64_t gap = fuzz_one_in(4) ? 2 : 1;
    for (uint64_t d = 0; d < rank; d++) x.count *= shape[d];
    for (uint64_t d = rank; d > 0; d--) strides[d - 1] = d == rank ? gap : strides[d] * shape[d];
    const int64_t room = x.count > 0 ? (x.count - 1) * gap + 1 : 0;
    void *memory = fuzz_take((size_t)room * (narrow ? 4 : 8));
    for (int64_t i = 0; i < x.count; i++) {
        int64_t value = index_value(bound, wraps);
        if (narrow) value = (int32_t)value;
        if (narrow) ((int32_t *)memory)[i * gap] = (int32_t)value;
        else ((int64_t *)memory)[i * gap] = value;
        if (wraps && value < 0 && value >= -bound) value += bound;
        x.bad = x.bad || value < 0 || value >= bound;
        x.value[i] = value;
    }
    x.tensor = fuzz_keep(aclCreateTensor(shape, rank, narrow ? ACL_INT32 : ACL_INT64, strides, 0,
                                         ACL_FORMAT_ND, &room, 1, memory));
    return x;
}

static bool equal(const float *want, const struct matrix *have) {
    for (int64_t i = 0; i < have->shape[0]; i++)
        for (int64_t k = 0; k < have->shape[1]; k++)
            if (want[i * MOST + k] != *at(have, i, k)) return false;
    return true;
}
static void copy_out(float *to, const struct matrix *m) {
    for (int64_t i = 0; i < m->shape[0]; i++)
        for (int64_t k = 0; k < m->shape[1]; k++) to[i * MOST + k] = *at(m, i, k);
}
static bool ends(int code, bool bad, const float *want, const struct matrix *have) {
    return bad ? code == 1 : code == 0 && equal(want, have);
}
static int64_t few(void) { return fuzz_below(MOST) + 1; }

/* One call each; true if it ended as it should. */
static bool gather(void) {
    const int64_t dim = fuzz_below(2), shape[2] = {few(), few()};
    int64_t size[2] = {few(), few()};
    size[1 - dim] = shape[1 - dim];
    const struct matrix self = matrix(size[0], size[1]), out = matrix(shape[0], shape[1]);
    const struct indices x = indices(shape, 2, size[dim], false, false);
    float want[MOST * MOST] = {0};
    for (int64_t i = 0; i < shape[0] && !x.bad; i++)
        for (int64_t k = 0; k < shape[1]; k++) {
            const int64_t v = x.value[i * shape[1] + k];
            want[i * MOST + k] = *at(&self, dim == 0 ? v : i, dim == 0 ? k : v);
        }
    return ends(FUZZ_RUN(aclnnGather, self.tensor, dim, x.tensor, out.tensor), x.bad, want, &out);
}

static bool index_select(void) {
    const int64_t dim = fuzz_below(2), n = few();
    const struct matrix self = matrix(few(), few());
    const struct matrix out = dim == 0 ? matrix(n, self.shape[1]) : matrix(self.shape[0], n);
    const struct indices x = indices(&n, 1, self.shape[dim], false, false);
    float want[MOST * MOST] = {0};
    for (int64_t i = 0; i < out.shape[0] && !x.bad; i++)
        for (int64_t k = 0; k < out.shape[1]; k++)
            want[i * MOST + k] = dim == 0 ? *at(&self, x.value[i], k) : *at(&self, i, x.value[k]);
    return ends(FUZZ_RUN(aclnnIndexSelect, self.tensor, dim, x.tensor, out.tensor), x.bad, want, &out);
}

static bool embedding(void) {
    const int64_t n = few();
    const struct matrix weight = matrix(few(), few()), out = matrix(n, weight.shape[1]);
    const struct indices x = indices(&n, 1, weight.shape[0], false, false);
    float want[MOST * MOST] = {0};
    for (int64_t i = 0; i < n && !x.bad; i++)
        for (int64_t k = 0; k < weight.shape[1]; k++) want[i * MOST + k] = *at(&weight, x.value[i], k);
    return ends(FUZZ_RUN(aclnnEmbedding, weight.tensor, x.tensor, out.tensor), x.bad, want, &out);
}

static bool embedding_backward(void) {
    const int64_t n = few(), rows = few();
    const struct matrix grad = matrix(n, few()), out = matrix(rows, grad.shape[1]);
    const struct indices x = indices(&n, 1, rows, false, false);
    float want[MOST * MOST] = {0};
    for (int64_t i = 0; i < n && !x.bad; i++)
        for (int64_t k = 0; k < grad.shape[1]; k++) want[x.value[i] * MOST + k] += *at(&grad, i, k);
    const uint64_t none = UINT64_MAX;
    return ends(
        FUZZ_RUN(aclnnEmbeddingDenseBackward, grad.tensor, x.tensor, (uint64_t)rows, none, false, out.tensor),
        x.bad, want, &out);
}

static bool take_or_put(void) {
    const struct matrix self = matrix(few(), few());
    const int64_t shape[2] = {few(), few()}, cols = self.shape[1];
    const struct matrix other = matrix(shape[0], shape[1]);
    const struct indices x = indices(shape, 2, self.shape[0] * cols, true, false);
    const bool put = fuzz_one_in(2), add = fuzz_one_in(2);
    float want[MOST * MOST] = {0};
    if (put) copy_out(want, &self);
    for (int64_t p = 0; p < x.count && !x.bad; p++) {
        const int64_t i = p / shape[1], k = p % shape[1], row = x.value[p] / cols, col = x.value[p] % cols;
        if (!put) want[i * MOST + k] = *at(&self, row, col);
        else if (add) want[row * MOST + col] += *at(&other, i, k);
        else want[row * MOST + col] = *at(&other, i, k);
    }
    if (!put) return ends(FUZZ_RUN(aclnnTake, self.tensor, x.tensor, other.tensor), x.bad, want, &other);
    return ends(FUZZ_RUN(aclnnInplacePut, self.tensor, x.tensor, other.tensor, add), x.bad, want, &self);
}

/* self[i, j], or self[i] */
static bool advanced(bool put) {
    const struct matrix self = matrix(few(), few());
    const int64_t n = few();
    const bool two = fuzz_one_in(2), add = put && fuzz_one_in(2);
    const struct indices x = indices(&n, 1, self.shape[0], true, false),
                         y = indices(&n, 1, self.shape[1], true, false);
    const struct matrix other = matrix(n, two ? 1 : self.shape[1]);
    const bool bad = x.bad || (two && y.bad);
    float want[MOST * MOST] = {0};
    if (put) copy_out(want, &self);
    for (int64_t i = 0; i < n && !bad; i++)
        for (int64_t k = 0; k < other.shape[1]; k++) {
            const int64_t row = x.value[i], col = two ? y.value[i] : k;
            if (!put) want[i * MOST + k] = *at(&self, row, col);
            else if (add) want[row * MOST + col] += *at(&other, i, k);
            else want[row * MOST + col] = *at(&other, i, k);
        }
    const aclTensor *members[] = {x.tensor, y.tensor};
    aclTensorList *list = aclCreateTensorList(members, two ? 2 : 1);
    aclTensor *t = two ? other.line : other.tensor;
    const bool good =
        put ? ends(FUZZ_RUN(aclnnIndexPutImpl, self.tensor, list, t, add, false), bad, want, &self)
            : ends(FUZZ_RUN(aclnnIndex, self.tensor, list, t), bad, want, &other);
    free(list); /* its members are destroyed with the other tensors */
    return good;
}
static bool index_read(void) { return advanced(false); }
static bool index_put(void) { return advanced(true); }

static bool scatter(void) {
    const int64_t dim = fuzz_below(2), reduce = fuzz_below(3);
    const struct matrix self = matrix(few(), few());
    int64_t shape[2] = {few(), few()};
    shape[1 - dim] = fuzz_below(self.shape[1 - dim]) + 1;
    const struct matrix src = matrix(shape[0], shape[1]);
    const struct indices x = indices(shape, 2, self.shape[dim], false, false);
    float want[MOST * MOST] = {0};
    copy_out(want, &self);
    for (int64_t p = 0; p < x.count && !x.bad; p++) {
        const int64_t i = p / shape[1], k = p % shape[1], v = x.value[p];
        float *to = &want[(dim == 0 ? v : i) * MOST + (dim == 0 ? k : v)], value = *at(&src, i, k);
        *to = reduce == 0 ? value : reduce == 1 ? *to + value : *to * value;
    }
    return ends(FUZZ_RUN(aclnnInplaceScatter, self.tensor, dim, x.tensor, src.tensor, reduce), x.bad, want,
                &self);
}

static bool index_slices(void) {
    const struct matrix self = matrix(few(), few()), out = matrix(self.shape[0], self.shape[1]);
    const int64_t n = few(), kind = fuzz_below(3);
    const struct matrix source = matrix(n, self.shape[1]);
    const struct indices x = indices(&n, 1, self.shape[0], kind == 2, false);
    float want[MOST * MOST] = {0}, three = 3;
    copy_out(want, &self);
    for (int64_t i = 0; i < n && !x.bad; i++)
        for (int64_t k = 0; k < self.shape[1]; k++) {
            float *to = &want[x.value[i] * MOST + k];
            *to = kind == 0 ? *to + three * *at(&source, i, k) : kind == 1 ? *at(&source, i, k) : three;
        }
    aclScalar *s = aclCreateScalar(&three, ACL_FLOAT);
    const int code =
        kind == 0   ? FUZZ_RUN(aclnnIndexAdd, self.tensor, 0, x.tensor, source.tensor, s, out.tensor)
        : kind == 1 ? FUZZ_RUN(aclnnIndexCopy, self.tensor, 0, x.tensor, source.tensor, out.tensor)
                    : FUZZ_RUN(aclnnIndexFill, self.tensor, 0, x.tensor, s, out.tensor);
    aclDestroyScalar(s);
    return ends(code, x.bad, want, &out);
}

static bool one_hot(void) {
    const int64_t n = few(), classes = few();
    const struct matrix out = matrix(n, classes), on = matrix(1, 1), off = matrix(1, 1);
    const struct indices x = indices(&n, 1, classes, false, false);
    float want[MOST * MOST] = {0};
    for (int64_t i = 0; i < n; i++)
        for (int64_t k = 0; k < classes; k++) want[i * MOST + k] = k == x.value[i] ? *on.data : *off.data;
    return ends(FUZZ_RUN(aclnnOneHot, x.tensor, classes, on.line, off.line, -1, out.tensor), x.bad, want,
                &out);
}

static bool scatter_update(void) {
    const int64_t n = few(), length = fuzz_below(4);
    const struct matrix data = matrix(n, few()), updates = matrix(n, length);
    const struct indices x = indices(&n, 1, data.shape[1], false, false);
    float want[MOST * MOST] = {0};
    bool bad = false;
    copy_out(want, &data);
    for (int64_t i = 0; i < n; i++)
        bad = bad || x.value[i] < 0 || x.value[i] > data.shape[1] || x.value[i] + length > data.shape[1];
    for (int64_t i = 0; i < n && !bad; i++)
        for (int64_t k = 0; k < length; k++) want[i * MOST + x.value[i] + k] = *at(&updates, i, k);
    return ends(FUZZ_RUN(aclnnInplaceScatterUpdate, data.tensor, x.tensor, updates.tensor, 1), bad, want,
                &data);
}

static bool scatter_nd_update(void) {
    const int64_t n = few(), shape[] = {n, 1};
    const struct matrix data = matrix(few(), few()), updates = matrix(n, data.shape[1]);
    const struct indices x = indices(shape, 2, data.shape[0], true, false);
    float want[MOST * MOST] = {0};
    copy_out(want, &data);
    for (int64_t i = 0; i < n && !x.bad; i++)
        for (int64_t k = 0; k < data.shape[1]; k++) want[x.value[i] * MOST + k] = *at(&updates, i, k);
    return ends(FUZZ_RUN(aclnnScatterNdUpdate, data.tensor, x.tensor, updates.tensor), x.bad, want, &data);
}

static bool losses(void) {
    const int64_t n = few(), ignore = fuzz_one_in(3) ? fuzz_below(MOST) : -100;
    const struct matrix self = matrix(n, few()), weight = matrix(self.shape[1], 1), out = matrix(n, 1),
                        total = matrix(1, 1);
    const struct indices x = indices(&n, 1, self.shape[1], false, false);
    float want[MOST * MOST] = {0};
    bool bad = false;
    for (int64_t i = 0; i < n; i++)
        bad = bad || (x.value[i] != ignore && (x.value[i] < 0 || x.value[i] >= self.shape[1]));
    for (int64_t i = 0; i < n && !bad; i++)
        want[i * MOST] = x.value[i] == ignore ? 0 : -weight.data[x.value[i]] * *at(&self, i, x.value[i]);
    if (fuzz_one_in(2))
        return ends(
            FUZZ_RUN(aclnnNLLLoss, self.tensor, x.tensor, weight.line, 0, ignore, out.line, total.line), bad,
            want, &out);
    char none[] = "none";
    const struct matrix logs = matrix(n, self.shape[1]);
    const int code = FUZZ_RUN(aclnnCrossEntropyLoss, self.tensor, x.tensor, weight.line, none, ignore, 0.0,
                              0.0, false, out.line, logs.tensor, NULL, NULL);
    return code == (bad ? 1 : 0);
}

static bool counts(void) {
    const int64_t n = few(), bins = few();
    const struct matrix weights = matrix(n, 1), out = matrix(bins, 1);
    const struct indices x = indices(&n, 1, bins, false, false);
    float want[MOST * MOST] = {0};
    for (int64_t i = 0; i < n && !x.bad; i++) want[x.value[i] * MOST] += weights.data[i];
    return ends(FUZZ_RUN(aclnnBincount, x.tensor, weights.line, 0, out.line), x.bad, want, &out);
}

static bool repeat_interleave(void) {
    const int64_t n = fuzz_below(4) + 1;
    const struct indices x = indices(&n, 1, 3, false, false);
    int64_t total = 0;
    bool bad = false;
    for (int64_t i = 0; i < n; i++) {
        bad = bad || x.value[i] < 0 || x.value[i] > MOST;
        if (!bad) total += x.value[i];
    }
    bad = bad || total > MOST;
    const struct matrix self = matrix(n, few()), out = matrix(bad ? few() : total, self.shape[1]);
    float want[MOST * MOST] = {0};
    for (int64_t i = 0, row = 0; i < n && !bad; i++)
        for (int64_t r = 0; r < x.value[i]; r++, row++)
            for (int64_t k = 0; k < self.shape[1]; k++) want[row * MOST + k] = *at(&self, i, k);
    return ends(FUZZ_RUN(aclnnRepeatInterleaveWithDim, self.tensor, x.tensor, 0, 0, out.tensor), bad, want,
                &out);
}

static bool search_sorted(void) {
    const int64_t n = few(), numel = n;
    const struct matrix sequence = matrix(n, 1), value = matrix(1, 1);
    const struct indices sorter = indices(&n, 1, n, false, true);
    int64_t *out = fuzz_take(sizeof *out), one = 1;
    (void)numel;
    aclTensor *result = fuzz_keep(aclCreateTensor(&one, 1, ACL_INT64, NULL, 0, ACL_FORMAT_ND, &one, 1, out));
    const int code =
        FUZZ_RUN(aclnnSearchSorted, sequence.line, value.line, false, false, sorter.tensor, result);
    return sorter.bad ? code == 1 : code == 0 && *out >= 0 && *out <= n;
}

static const struct fuzz_operator OPERATORS[] = {{"gather", gather},
                                                 {"index_select", index_select},
                                                 {"embedding", embedding},
                                                 {"embedding_backward", embedding_backward},
                                                 {"take_or_put", take_or_put},
                                                 {"index", index_read},
                                                 {"index_put", index_put},
                                                 {"scatter", scatter},
                                                 {"index_slices", index_slices},
                                                 {"one_hot", one_hot},
                                                 {"scatter_update", scatter_update},
                                                 {"scatter_nd_update", scatter_nd_update},
                                                 {"losses", losses},
                                                 {"counts", counts},
                                                 {"repeat_interleave", repeat_interleave},
                                                 {"search_sorted", search_sorted}};

TEST(indices) {
    CHECK(aclInit(NULL) == 0 && aclrtSetDevice(0) == 0);
    CHECK(fuzz_all(OPERATORS, HC_ARRAY_SIZE(OPERATORS), CASES));
    CHECK(aclFinalize() == 0);
}
