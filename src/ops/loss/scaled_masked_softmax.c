// SPDX-License-Identifier: Apache-2.0
/* y = softmax of x * scale along the last dimension, where masked elements count as -10000, and its gradient,
 * which is 0 there: attention scores of Megatron. The mask broadcasts to x; a fixed one is the causal one of
 * the last two dimensions, and is not read. A row that is masked altogether is uniform.
 *
 * torch_npu reaches both by name on devices of the virtual NPU's generation: the rows of the table below. */
#include <math.h>

#include "by_name.h"
#include "rows.h"

HC_ROWS_KERNEL(masked_softmax_F32)
HC_ROWS_KERNEL(masked_softmax_F64)
HC_ROWS_KERNEL(masked_softmax_grad_F32)
HC_ROWS_KERNEL(masked_softmax_grad_F64)

/* fixed: each row has the number of elements that the causal mask leaves. */
struct args {
    double scale;
    bool fixed;
    enum hc_block block;
};

#ifdef HC_ISA
#include "simd_softmax.h"

#define MASKED (-10000)

/* First element of the row that the causal mask hides. */
static inline size_t visible(const int64_t *count, size_t n) {
    return count != NULL ? hc_min_size(n, (size_t)*count) : n;
}

/* in: x, mask, number of visible elements. */
#define DEFINE(block, type, softmax)                                                                         \
    void HC_FN(masked_softmax_##block)(size_t n, void *const *out, const void *const *in, size_t row,        \
                                       const void *args) {                                                   \
        const struct args *a = args;                                                                         \
        type *y = out[0];                                                                                    \
        const type *x = in[0], scale = (type)a->scale;                                                       \
        const uint8_t *mask = in[1];                                                                         \
        const size_t end = visible(in[2], n);                                                                \
        (void)row;                                                                                           \
        if (mask == NULL) {                                                                                  \
            for (size_t i = 0; i < end; i++) y[i] = x[i] * scale;                                            \
        } else {                                                                                             \
            for (size_t i = 0; i < end; i++) y[i] = mask[i] ? MASKED : x[i] * scale;                         \
        }                                                                                                    \
        for (size_t i = end; i < n; i++) y[i] = MASKED;                                                      \
        softmax(y, n);                                                                                       \
    }                                                                                                        \
    /* in: gradient of y, y, mask, number; masked elements of y count in the sum, as they do in the forward. \
     */                                                                                                      \
    void HC_FN(masked_softmax_grad_##block)(size_t n, void *const *out, const void *const *in, size_t row,   \
                                            const void *args) {                                              \
        const struct args *a = args;                                                                         \
        type *dx = out[0];                                                                                   \
        const type *g = in[0], *y = in[1], scale = (type)a->scale;                                           \
        const uint8_t *mask = in[2];                                                                         \
        const size_t end = visible(in[3], n);                                                                \
        (void)row;                                                                                           \
        const type sum = (type)dot_##block(g, y, n);                                                         \
        if (mask == NULL) {                                                                                  \
            for (size_t i = 0; i < end; i++) dx[i] = y[i] * (g[i] - sum) * scale;                            \
        } else {                                                                                             \
            for (size_t i = 0; i < end; i++) dx[i] = mask[i] ? 0 : y[i] * (g[i] - sum) * scale;              \
        }                                                                                                    \
        for (size_t i = end; i < n; i++) dx[i] = 0;                                                          \
    }

static void softmax_F32(float *y, size_t n) { vf_row_softmax(y, y, n); }
static void softmax_F64(double *y, size_t n) {
    double max = -INFINITY, sum = 0;
    for (size_t i = 0; i < n; i++) max = (y[i] > max) | (y[i] != y[i]) ? y[i] : max;
    for (size_t i = 0; i < n; i++) sum += exp(y[i] - max);
    for (size_t i = 0; i < n; i++) y[i] = exp(y[i] - max) / sum;
}
static double dot_F32(const float *a, const float *b, size_t n) { return vf_row_dot(a, b, n); }
static double dot_F64(const double *a, const double *b, size_t n) {
    double sum = 0;
    for (size_t i = 0; i < n; i++) sum += a[i] * b[i];
    return sum;
}
DEFINE(F32, float, softmax_F32)
DEFINE(F64, double, softmax_F64)

#else
/* Number of visible elements of every row of `like`, which rows.h takes as one value for each: 1, 2, ...
 * along the last dimension but one. Nothing where the mask is not fixed. */
static aclnnStatus count_visible(const char *name, const struct args *a, const aclTensor *like,
                                 aclTensor *view, void **owned) {
    *owned = NULL;
    if (!a->fixed) return 0;
    const int64_t rows = like->shape[like->rank - 2];
    int64_t *count = *owned = hc_block_take_array((size_t)rows, sizeof *count);
    HC_CHECK(count != NULL, ACLNN_ERR_INNER, "%s: out of host memory for %lld numbers", name,
             (long long)rows);
    for (int64_t i = 0; i < rows; i++) count[i] = i + 1;
    *view = hc_tensor_view(ACL_INT64, like->shape, like->rank - 1, count);
    for (int32_t d = 0; d + 1 < view->rank; d++) view->stride[d] = 0;
    return 0;
}

/* Operands x, mask, y. */
static aclnnStatus run(const struct hc_call *call) {
    const struct args *a = call->args;
    const aclTensor *x = hc_arg(call, 0);
    aclTensor count;
    void *owned;
    HC_TRY(count_visible(call->name, a, x, &count, &owned));
    const aclnnStatus status = hc_rows_run(&(const struct hc_rows){
        .name = call->name,
        .shape = x,
        .mask = UINT32_C(1) << (x->rank - 1),
        .kernel = a->block == HC_F64 ? HC_DISPATCH(masked_softmax_F64) : HC_DISPATCH(masked_softmax_F32),
        .args = a,
        .num_outs = 1,
        .num_ins = 3,
        .work = 6,
        .operand = {{hc_arg(call, 2), HC_ROWS_VECTOR, a->block},
                    {x, HC_ROWS_VECTOR, a->block},
                    {hc_arg(call, 1), HC_ROWS_VECTOR, HC_B8},
                    {a->fixed ? &count : NULL, HC_ROWS_ONE, HC_I64}}});
    hc_block_give(owned);
    return status;
}

/* Operands gradOutput, y, mask, out. */
static aclnnStatus run_grad(const struct hc_call *call) {
    const struct args *a = call->args;
    const aclTensor *y = hc_arg(call, 1);
    aclTensor count;
    void *owned;
    HC_TRY(count_visible(call->name, a, y, &count, &owned));
    const aclnnStatus status = hc_rows_run(
        &(const struct hc_rows){.name = call->name,
                                .shape = y,
                                .mask = UINT32_C(1) << (y->rank - 1),
                                .kernel = a->block == HC_F64 ? HC_DISPATCH(masked_softmax_grad_F64)
                                                             : HC_DISPATCH(masked_softmax_grad_F32),
                                .args = a,
                                .num_outs = 1,
                                .num_ins = 4,
                                .work = 3,
                                .operand = {{hc_arg(call, 3), HC_ROWS_VECTOR, a->block},
                                            {hc_arg(call, 0), HC_ROWS_VECTOR, a->block},
                                            {y, HC_ROWS_VECTOR, a->block},
                                            {hc_arg(call, 2), HC_ROWS_VECTOR, HC_B8},
                                            {a->fixed ? &count : NULL, HC_ROWS_ONE, HC_I64}}});
    hc_block_give(owned);
    return status;
}

/* All are of x's shape; the mask as a view of it, *view, or none where a fixed one takes its place. */
static aclnnStatus check(const char *name, const aclTensor *const *tensors, const char *const *names, int num,
                         const aclTensor *mask, bool fixed, double scale, aclTensor *view,
                         struct args *args) {
    const aclTensor *x = tensors[0];
    *args = (struct args){.scale = scale};
    for (int i = 0; i < num; i++) {
        HC_CHECK(tensors[i] != NULL, ACLNN_ERR_PARAM_NULLPTR, "%s: %s is null", name, names[i]);
        HC_CHECK(hc_dtype_is_float(tensors[i]->dtype) && hc_same_shape(tensors[i], x) && x->rank > 0,
                 ACLNN_ERR_PARAM_INVALID, "%s: %s is %s, %s %s, want floating point and one shape", name,
                 names[i], HC_SHOW(tensors[i]), names[0], HC_SHOW(x));
    }
    args->block = hc_compute_block(hc_dtype_promote(x->dtype, tensors[num - 1]->dtype));
    if (fixed) {
        HC_CHECK(x->rank > 1, ACLNN_ERR_PARAM_INVALID,
                 "%s: %s is %s, want two dimensions or more for a fixed mask", name, names[0], HC_SHOW(x));
        args->fixed = true;
        return 0;
    }
    HC_CHECK(mask != NULL, ACLNN_ERR_PARAM_NULLPTR, "%s: mask is null", name);
    HC_CHECK(mask->item_size == 1 && !hc_dtype_is_float(mask->dtype), ACLNN_ERR_PARAM_INVALID,
             "%s: mask is %s, want bool", name, HC_SHOW(mask));
    HC_CHECK(hc_broadcast_to(mask, x->shape, x->rank, view), ACLNN_ERR_PARAM_INVALID,
             "%s: mask is %s, which does not broadcast to %s", name, HC_SHOW(mask), HC_SHOW(x));
    return 0;
}

static aclnnStatus plan(const char *name, const aclTensor *x, const aclTensor *mask, double scale, bool fixed,
                        const aclTensor *y, uint64_t *workspaceSize, aclOpExecutor **executor) {
    struct args args;
    aclTensor view;
    HC_TRY(check(name, (const aclTensor *const[]){x, y}, (const char *const[]){"x", "y"}, 2, mask, fixed,
                 scale, &view, &args));
    mask = fixed ? NULL : &view;
    return HC_PLAN(name, run, &args, HC_IN(x), HC_IN_OPT(mask), HC_OUT(y));
}

static aclnnStatus plan_grad(const char *name, const aclTensor *gradOutput, const aclTensor *y,
                             const aclTensor *mask, double scale, bool fixed, const aclTensor *out,
                             uint64_t *workspaceSize, aclOpExecutor **executor) {
    struct args args;
    aclTensor view;
    HC_TRY(check(name, (const aclTensor *const[]){gradOutput, out, y},
                 (const char *const[]){"gradOutput", "out", "y"}, 3, mask, fixed, scale, &view, &args));
    mask = fixed ? NULL : &view;
    return HC_PLAN(name, run_grad, &args, HC_IN(gradOutput), HC_IN(y), HC_IN_OPT(mask), HC_OUT(out));
}

HC_API aclnnStatus aclnnScaledMaskedSoftmaxGetWorkspaceSize(const aclTensor *x, const aclTensor *mask,
                                                            double scale, bool fixedTriuMask, aclTensor *y,
                                                            uint64_t *workspaceSize,
                                                            aclOpExecutor **executor) {
    return plan("aclnnScaledMaskedSoftmax", x, mask, scale, fixedTriuMask, y, workspaceSize, executor);
}
HC_OP_LAUNCH(aclnnScaledMaskedSoftmax)

HC_API aclnnStatus aclnnScaledMaskedSoftmaxBackwardGetWorkspaceSize(const aclTensor *gradOutput,
                                                                    const aclTensor *y, const aclTensor *mask,
                                                                    double scale, bool fixTriuMask,
                                                                    aclTensor *out, uint64_t *workspaceSize,
                                                                    aclOpExecutor **executor) {
    return plan_grad("aclnnScaledMaskedSoftmaxBackward", gradOutput, y, mask, scale, fixTriuMask, out,
                     workspaceSize, executor);
}
HC_OP_LAUNCH(aclnnScaledMaskedSoftmaxBackward)

struct choice {
    float scale;
    bool fixed;
};

static aclnnStatus read_choice(const aclopAttr *attr, struct choice *c) {
    *c = (struct choice){1, false};
    HC_TRY(hc_attr_float(attr, "scale", &c->scale));
    return hc_attr_bool(attr, "fixed_triu_mask", &c->fixed);
}

static aclnnStatus by_name(const struct hc_by_name_call *call, uint64_t *workspaceSize,
                           aclOpExecutor **executor) {
    struct choice c;
    HC_TRY(read_choice(call->attr, &c));
    return plan(call->op->type, &call->in[0], &call->in[1], c.scale, c.fixed, &call->out[0], workspaceSize,
                executor);
}

static aclnnStatus grad_by_name(const struct hc_by_name_call *call, uint64_t *workspaceSize,
                                aclOpExecutor **executor) {
    struct choice c;
    HC_TRY(read_choice(call->attr, &c));
    return plan_grad(call->op->type, &call->in[0], &call->in[1], &call->in[2], c.scale, c.fixed,
                     &call->out[0], workspaceSize, executor);
}

#define TENSOR HC_BY_NAME_TENSOR
static const struct hc_by_name OPERATORS[] = {
    {.type = "ScaledMaskedSoftmax",
     .meaning = "softmax of x * scale along the last dimension, masked elements as -10000",
     .plan = by_name,
     .inputs = {TENSOR("x"), TENSOR("mask")},
     .outputs = {"y"},
     .attrs = {"scale", "fixed_triu_mask"}},
    {.type = "ScaledMaskedSoftmaxGrad",
     .meaning = "gradient of ScaledMaskedSoftmax",
     .plan = grad_by_name,
     .inputs = {TENSOR("y_grad"), TENSOR("y"), TENSOR("mask")},
     .outputs = {"x_grad"},
     .attrs = {"scale", "fixed_triu_mask"}},
};
HC_BY_NAME_TABLE("loss", OPERATORS)
#endif
