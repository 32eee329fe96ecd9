// SPDX-License-Identifier: Apache-2.0
/* A batch of products of permuted operands: with a = x1 permuted to [B, M, K] and b = x2 permuted to [B, K,
 * N], out is a @ b permuted by permY; batchSplitFactor f > 1 cuts [M, B N] into f parts [f, M, B N / f].
 *
 * Nothing is moved: permutations and cuts are strides of four-dimensional views, the batch as [f, B / f]. */
#include "matmul.h"

static aclnnStatus check_permutation(const char *name, const char *arg, const aclIntArray *p) {
    bool seen[3] = {false};
    bool is_one = p != NULL && p->size == 3;
    for (size_t i = 0; is_one && i < 3; i++) {
        is_one = p->data[i] >= 0 && p->data[i] < 3 && !seen[p->data[i]];
        if (is_one) seen[p->data[i]] = true;
    }
    HC_CHECK(is_one, ACLNN_ERR_PARAM_INVALID, "%s: %s should be a permutation of 0, 1 and 2", name, arg);
    return 0;
}

/* A view of t with sizes and steps of the product's four dimensions. */
static aclTensor as_batch(const aclTensor *t, const int64_t sizes[4], const int64_t strides[4]) {
    aclTensor view = *t;
    view.rank = 4;
    for (int d = 0; d < 4; d++) {
        view.shape[d] = sizes[d];
        view.stride[d] = strides[d];
    }
    return view;
}

static aclTensor permuted(const aclTensor *t, const int64_t *p, int64_t split) {
    const int64_t batch = t->shape[p[0]] / split, step = t->stride[p[0]];
    return as_batch(t, (const int64_t[]){split, batch, t->shape[p[1]], t->shape[p[2]]},
                    (const int64_t[]){step * batch, step, t->stride[p[1]], t->stride[p[2]]});
}

/* Dimension i of out is dimension p[i] of the product. */
static aclnnStatus output_view(const char *name, const aclTensor *out, const int64_t *p,
                               const int64_t sizes[4], aclTensor *view) {
    const int64_t whole[] = {sizes[0] * sizes[1], sizes[2], sizes[3]};
    int64_t want[3], strides[4];
    if (sizes[0] > 1) {
        want[0] = sizes[0];
        want[1] = sizes[2];
        want[2] = sizes[1] * sizes[3];
        strides[0] = out->rank == 3 ? out->stride[0] : 0;
        strides[1] = out->rank == 3 ? sizes[3] * out->stride[2] : 0;
        strides[2] = out->rank == 3 ? out->stride[1] : 0;
        strides[3] = out->rank == 3 ? out->stride[2] : 0;
    } else {
        for (int i = 0; i < 3; i++) {
            want[i] = whole[p[i]];
            strides[1 + p[i]] = out->rank == 3 ? out->stride[i] : 0;
        }
        strides[0] = strides[1];
    }
    const aclTensor wanted = hc_tensor_view(out->dtype, want, 3, NULL);
    HC_CHECK(hc_same_shape(out, &wanted), ACLNN_ERR_PARAM_INVALID,
             "%s: out is %s, the result has the shape of %s", name, HC_SHOW(out), HC_SHOW(&wanted));
    *view = as_batch(out, sizes, strides);
    return 0;
}

/* A scale asks for int8, which no client that is public has a tensor for; a bias has no shape in any. */
HC_API aclnnStatus aclnnTransposeBatchMatMulGetWorkspaceSize(
    const aclTensor *x1, const aclTensor *x2, const aclTensor *bias, const aclTensor *scale,
    const aclIntArray *permX1, const aclIntArray *permX2, const aclIntArray *permY, int8_t cubeMathType,
    const int32_t batchSplitFactor, aclTensor *out, uint64_t *workspaceSize, aclOpExecutor **executor) {
    static const char *const NAME = "aclnnTransposeBatchMatMul";
    HC_CHECK(x1 && x2 && out, ACLNN_ERR_PARAM_NULLPTR, "%s: x1, x2 or out is null", NAME);
    HC_CHECK(bias == NULL && scale == NULL, ACLNN_ERR_PARAM_INVALID,
             "%s: %s is not supported, want neither bias nor scale", NAME, bias != NULL ? "bias" : "scale");
    HC_CHECK(x1->rank == 3 && x2->rank == 3 && hc_dtype_is_float(x1->dtype) && hc_dtype_is_float(x2->dtype),
             ACLNN_ERR_PARAM_INVALID, "%s: x1 is %s, x2 %s, want floating point of three dimensions", NAME,
             HC_SHOW(x1), HC_SHOW(x2));
    HC_TRY(check_permutation(NAME, "perm_x1", permX1));
    HC_TRY(check_permutation(NAME, "perm_x2", permX2));
    HC_TRY(check_permutation(NAME, "perm_y", permY));
    const int64_t batch = x1->shape[permX1->data[0]], split = batchSplitFactor;
    HC_CHECK(x2->shape[permX2->data[0]] == batch && x1->shape[permX1->data[2]] == x2->shape[permX2->data[1]],
             ACLNN_ERR_PARAM_INVALID, "%s: x1 is %s, x2 %s, which do not multiply as they are permuted", NAME,
             HC_SHOW(x1), HC_SHOW(x2));
    HC_CHECK(split >= 1 && batch % split == 0, ACLNN_ERR_PARAM_INVALID,
             "%s: batchSplitFactor is %lld, want a divisor of the batch of %lld", NAME, (long long)split,
             (long long)batch);
    const aclTensor a = permuted(x1, permX1->data, split), b = permuted(x2, permX2->data, split);
    const int64_t sizes[] = {split, batch / split, a.shape[2], b.shape[3]};
    aclTensor to;
    HC_TRY(output_view(NAME, out, permY->data, sizes, &to));
    const struct hc_matmul op = {.name = NAME,
                                 .a = &a,
                                 .b = &b,
                                 .out = &to,
                                 .a_name = "x1",
                                 .b_name = "x2",
                                 .cube_math_type = cubeMathType};
    return hc_matmul_plan(&op, workspaceSize, executor);
}
HC_OP_LAUNCH(aclnnTransposeBatchMatMul)
