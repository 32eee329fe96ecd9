// SPDX-License-Identifier: Apache-2.0
/* Softmax cross entropy of [N, C] logits with class weights, label smoothing and an ignored class, which also
 * gives the log-probabilities that its gradient needs. With w the weights, t the target of row i and p its
 * probabilities: loss_i = -(1 - s) w[t] ln p[t] - s/C sum_c w[c] ln p[c], and nothing for an ignored row; the
 * mean is over the sum of w[t]. Rows run in parallel, the losses are added in order, in double. The z-loss is
 * announced by the interface but not computed by the vendor either: asking for it is an error. */
#include <string.h>

#include "rows.h"

HC_ROWS_KERNEL(cross_entropy_F32)
HC_ROWS_KERNEL(cross_entropy_F64)
HC_ROWS_KERNEL(cross_entropy_grad_F32)
HC_ROWS_KERNEL(cross_entropy_grad_F64)

/* What becomes of the rows' losses, by the interface's names none, mean, sum. */
enum { NONE, MEAN, SUM };

/* Rows whose target is `ignore` count nothing. */
struct args {
    int64_t reduction, ignore;
    double smoothing;
    enum hc_block block;
};

#ifdef HC_ISA
#include "simd_math.h"
#include "simd_rows.h"

/* ln of the sum of e^(x - max): with max apart, neither overflows nor loses the small terms. Returned
 * apart, so that the logits' differences are formed before the logarithm is subtracted. */
static float log_sum_F32(size_t n, const float *x, float *max) {
    double sum = 0;
    *max = vf_row_max(x, n);
    const vf m = vf_set(*max);
    HC_ROW_SUM(sum, n, vf_exp(vf_load(x + at) - m), vf_exp(vf_load_fill(x + at, rest, -INFINITY) - m));
    return (float)log(sum);
}
/* As above with the C library; a NaN in the row is its maximum, and so its result. */
static double log_sum_F64(size_t n, const double *x, double *max) {
    double sum = 0;
    *max = -INFINITY;
    for (size_t i = 0; i < n; i++) *max = (x[i] > *max) | (x[i] != x[i]) ? x[i] : *max;
    for (size_t i = 0; i < n; i++) sum += exp(x[i] - *max);
    return log(sum);
}

/* out: log-probabilities, loss and weight of the row; in: logits, target, weights. The target was checked. */
#define DEFINE(block, type)                                                                                  \
    void HC_FN(cross_entropy_##block)(size_t n, void *const *out, const void *const *in, size_t row,         \
                                      const void *args) {                                                    \
        const struct args *a = args;                                                                         \
        type *y = out[0], max;                                                                               \
        const type *x = in[0], *w = in[2], log_sum = log_sum_##block(n, x, &max);                            \
        const int64_t t = *(const int64_t *)in[1];                                                           \
        const bool ignored = t == a->ignore;                                                                 \
        double smooth = 0;                                                                                   \
        (void)row;                                                                                           \
        for (size_t i = 0; i < n; i++) y[i] = (x[i] - max) - log_sum;                                        \
        for (size_t i = 0; i < n && a->smoothing != 0; i++)                                                  \
            smooth -= (double)(w != NULL ? y[i] * w[i] : y[i]);                                              \
        const double weight = ignored ? 0 : w != NULL ? (double)w[t] : 1;                                    \
        const double loss =                                                                                  \
            ignored ? 0 : (a->smoothing - 1) * weight * (double)y[t] + smooth * a->smoothing / (double)n;    \
        *(double *)out[1] = loss;                                                                            \
        *(double *)out[2] = weight;                                                                          \
    }                                                                                                        \
    /* in: log-probabilities, target, weights, scale of the row (its share of the upstream gradient). */     \
    void HC_FN(cross_entropy_grad_##block)(size_t n, void *const *out, const void *const *in, size_t row,    \
                                           const void *args) {                                               \
        const struct args *a = args;                                                                         \
        type *dx = out[0];                                                                                   \
        const type *y = in[0], *w = in[2];                                                                   \
        const int64_t t = *(const int64_t *)in[1];                                                           \
        const double scale = t == a->ignore ? 0 : *(const double *)in[3];                                    \
        const type each = (type)(scale * a->smoothing / (double)n);                                          \
        double total = 0; /* of the coefficients of ln p */                                                  \
        (void)row;                                                                                           \
        for (size_t i = 0; i < n && w != NULL && each != 0; i++) total += (double)(each * w[i]);             \
        if (w == NULL) total = (double)each * (double)n;                                                     \
        const double hit = t == a->ignore ? 0 : scale * (1 - a->smoothing) * (w != NULL ? (double)w[t] : 1); \
        const type sum = (type)(total + hit);                                                                \
        EXP_ROW_##block(dx, y, n);                                                                           \
        for (size_t i = 0; i < n; i++) dx[i] = dx[i] * sum - (w != NULL ? each * w[i] : each);               \
        if (t != a->ignore) dx[t] -= (type)hit;                                                              \
    }
/* Probabilities from log-probabilities; `to` and `from` are rows of n. */
#define EXP_ROW_F64(to, from, n)                                                                             \
    for (size_t i = 0; i < (n); i++) (to)[i] = exp((from)[i])
#define EXP_ROW_F32(to, from, n)                                                                             \
    do {                                                                                                     \
        size_t i = 0;                                                                                        \
        for (; i + HC_VL <= (n); i += HC_VL) vf_store((to) + i, vf_exp(vf_load((from) + i)));                \
        if (i < (n)) vf_store_part((to) + i, vf_exp(vf_load_part((from) + i, (n) - i)), (n) - i);            \
    } while (0)
DEFINE(F32, float)
DEFINE(F64, double)

#else

/* Every target is a class or ignored; also the sum of the targets' weights, which the gradient of the mean
 * needs. Kernels use `own`, the copy that was checked: the tensor may be written meanwhile. */
static aclnnStatus read_targets(const struct hc_call *call, const aclTensor *target, const aclTensor *weight,
                                int64_t classes, int64_t *own, double *total) {
    const struct args *a = call->args;
    const aclTensor copy = hc_tensor_view(ACL_INT64, target->shape, target->rank, own);
    *total = 0;
    HC_TRY(hc_copy(&copy, target));
    for (int64_t i = 0; i < target->numel; i++) {
        const int64_t t = own[i];
        double w = 1;
        if (t == a->ignore) continue;
        HC_CHECK(t >= 0 && t < classes, ACLNN_ERR_PARAM_INVALID,
                 "%s: target[%lld] is %lld, there are %lld classes", call->name, (long long)i, (long long)t,
                 (long long)classes);
        if (weight != NULL)
            hc_load_for(weight->dtype,
                        HC_F64)(1, &w, hc_data(weight) + t * weight->stride[0] * weight->item_size, 0);
        *total += w;
    }
    return 0;
}

/* Operands input, target, weight, loss, logProb. */
static aclnnStatus run(const struct hc_call *call) {
    const struct args *a = call->args;
    const aclTensor *input = hc_arg(call, 0), *target = hc_arg(call, 1), *weight = hc_arg(call, 2),
                    *loss = hc_arg(call, 3);
    const int64_t rows = input->shape[0];
    double total, sum = 0;
    double *memory = hc_block_take_array((size_t)(3 * rows + 1), sizeof *memory);
    HC_CHECK(memory != NULL, ACLNN_ERR_INNER, "%s: out of host memory for %lld losses", call->name,
             (long long)rows);
    int64_t *own = (int64_t *)(void *)(memory + 2 * rows); /* as long as a double */
    const aclTensor losses = hc_tensor_view(ACL_DOUBLE, &rows, 1, memory),
                    weights = hc_tensor_view(ACL_DOUBLE, &rows, 1, memory + rows),
                    targets = hc_tensor_view(ACL_INT64, &rows, 1, own);
    aclnnStatus status = read_targets(call, target, weight, input->shape[1], own, &total);
    if (status == 0)
        status = hc_rows_run(&(const struct hc_rows){
            .name = call->name,
            .shape = input,
            .mask = 2,
            .args = a,
            .num_outs = 3,
            .num_ins = 3,
            .work = 4,
            .kernel = a->block == HC_F64 ? HC_DISPATCH(cross_entropy_F64) : HC_DISPATCH(cross_entropy_F32),
            .operand = {{hc_arg(call, 4), HC_ROWS_VECTOR, a->block},
                        {&losses, HC_ROWS_ONE, HC_F64},
                        {&weights, HC_ROWS_ONE, HC_F64},
                        {input, HC_ROWS_VECTOR, a->block},
                        {&targets, HC_ROWS_ONE, HC_I64},
                        {weight, HC_ROWS_SHARED, a->block}}});
    for (int64_t i = 0; i < rows && status == 0; i++) sum += memory[i];
    if (a->reduction == MEAN) sum /= total;
    const int64_t one = 1;
    const aclTensor scalar = hc_tensor_view(ACL_DOUBLE, &one, 1, &sum);
    aclTensor flat = *loss;
    if (status == 0 && a->reduction == NONE) status = hc_copy(loss, &losses);
    if (status == 0 && a->reduction != NONE) {
        flat.rank = 0;
        status = hc_copy(
            &flat, &(const aclTensor){.base = scalar.base, .numel = 1, .dtype = ACL_DOUBLE, .item_size = 8});
    }
    hc_block_give(memory);
    return status;
}

/* Operands gradLoss, logProb, target, weight, out. */
static aclnnStatus run_grad(const struct hc_call *call) {
    const struct args *a = call->args;
    const aclTensor *grad = hc_arg(call, 0), *log_prob = hc_arg(call, 1), *target = hc_arg(call, 2),
                    *weight = hc_arg(call, 3);
    const int64_t rows = log_prob->shape[0];
    double total;
    double *memory = hc_block_take_array((size_t)(2 * rows + 1), sizeof *memory);
    HC_CHECK(memory != NULL, ACLNN_ERR_INNER, "%s: out of host memory for %lld rows", call->name,
             (long long)rows);
    int64_t *own = (int64_t *)(void *)(memory + rows);
    const aclTensor targets = hc_tensor_view(ACL_INT64, &rows, 1, own);
    aclnnStatus status = read_targets(call, target, weight, log_prob->shape[1], own, &total);
    const int64_t step = a->reduction == NONE ? grad->stride[0] * grad->item_size : 0;
    for (int64_t i = 0; i < rows && status == 0; i++) {
        hc_load_for(grad->dtype, HC_F64)(1, &memory[i], hc_data(grad) + i * step, 0);
        if (a->reduction == MEAN) memory[i] /= total;
    }
    const aclTensor scales = hc_tensor_view(ACL_DOUBLE, &rows, 1, memory);
    if (status == 0)
        status = hc_rows_run(&(const struct hc_rows){.name = call->name,
                                                     .shape = log_prob,
                                                     .mask = 2,
                                                     .args = a,
                                                     .num_outs = 1,
                                                     .num_ins = 4,
                                                     .work = 3,
                                                     .kernel = a->block == HC_F64
                                                                   ? HC_DISPATCH(cross_entropy_grad_F64)
                                                                   : HC_DISPATCH(cross_entropy_grad_F32),
                                                     .operand = {{hc_arg(call, 4), HC_ROWS_VECTOR, a->block},
                                                                 {log_prob, HC_ROWS_VECTOR, a->block},
                                                                 {&targets, HC_ROWS_ONE, HC_I64},
                                                                 {weight, HC_ROWS_SHARED, a->block},
                                                                 {&scales, HC_ROWS_ONE, HC_F64}}});
    hc_block_give(memory);
    return status;
}

/* What forward and backward have in common. A missing reduction is the mean. */
static aclnnStatus check(const char *name, const aclTensor *x, const aclTensor *target,
                         const aclTensor *weight, const char *reduction, double smoothing, double z_scale,
                         struct args *args) {
    static const char *const REDUCTIONS[] = {"none", "mean", "sum"};
    HC_CHECK(x && target, ACLNN_ERR_PARAM_NULLPTR, "%s: %s is null", name, x ? "target" : "logits");
    HC_CHECK(x->rank == 2 && hc_dtype_is_float(x->dtype), ACLNN_ERR_PARAM_INVALID,
             "%s: logits are %s, want floating point [N, C]", name, HC_SHOW(x));
    HC_CHECK(target->rank == 1 && target->numel == x->shape[0] &&
                 hc_dtype_class(target->dtype) == HC_CLASS_INT,
             ACLNN_ERR_PARAM_INVALID, "%s: target is %s, want %lld integers", name, HC_SHOW(target),
             (long long)x->shape[0]);
    HC_CHECK(weight == NULL ||
                 (weight->rank == 1 && weight->numel == x->shape[1] && hc_dtype_is_float(weight->dtype)),
             ACLNN_ERR_PARAM_INVALID, "%s: weight is %s, want %lld floating point values", name,
             HC_SHOW(weight), (long long)x->shape[1]);
    args->reduction = reduction == NULL ? MEAN : -1;
    for (int i = 0; i < 3 && reduction != NULL; i++)
        if (strcmp(reduction, REDUCTIONS[i]) == 0) args->reduction = i;
    HC_CHECK(args->reduction >= 0, ACLNN_ERR_PARAM_INVALID, "%s: reduction is \"%s\", want none, mean or sum",
             name, reduction);
    HC_CHECK(smoothing >= 0 && smoothing <= 1, ACLNN_ERR_PARAM_INVALID,
             "%s: labelSmoothing is %g, want 0 to 1", name, smoothing);
    HC_CHECK(z_scale == 0, ACLNN_ERR_PARAM_INVALID,
             "%s: lseSquareScaleForZloss is %g, want 0: there is no z-loss", name, z_scale);
    args->smoothing = smoothing;
    args->block = hc_compute_block(x->dtype);
    return 0;
}

/* F.cross_entropy(input, target, ...) with logProbOut besides, which the gradient takes instead of the
 * logits. Outputs of the z-loss may be there, as empty tensors, and are not touched. */
HC_API aclnnStatus aclnnCrossEntropyLossGetWorkspaceSize(
    const aclTensor *input, const aclTensor *target, const aclTensor *weightOptional, char *reductionOptional,
    int64_t ignoreIndex, double labelSmoothing, double lseSquareScaleForZloss, bool returnZloss,
    const aclTensor *lossOut, const aclTensor *logProbOut, const aclTensor *zlossOut,
    const aclTensor *lseForZlossOut, uint64_t *workspaceSize, aclOpExecutor **executor) {
    static const char *const NAME = "aclnnCrossEntropyLoss";
    struct args args = {.ignore = ignoreIndex};
    (void)zlossOut;
    (void)lseForZlossOut;
    HC_TRY(check(NAME, input, target, weightOptional, reductionOptional, labelSmoothing,
                 lseSquareScaleForZloss, &args));
    HC_CHECK(!returnZloss, ACLNN_ERR_PARAM_INVALID, "%s: returnZloss is true, want false: there is no z-loss",
             NAME);
    HC_CHECK(lossOut && logProbOut, ACLNN_ERR_PARAM_NULLPTR, "%s: %s is null", NAME,
             lossOut ? "logProbOut" : "lossOut");
    const int64_t losses = args.reduction == NONE ? input->shape[0] : 1;
    HC_CHECK(lossOut->numel == losses && lossOut->rank <= 1, ACLNN_ERR_PARAM_INVALID,
             "%s: lossOut is %s, want %lld values", NAME, HC_SHOW(lossOut), (long long)losses);
    HC_CHECK(hc_same_shape(logProbOut, input), ACLNN_ERR_PARAM_INVALID,
             "%s: logProbOut is %s, want the shape of %s", NAME, HC_SHOW(logProbOut), HC_SHOW(input));
    return HC_PLAN(NAME, run, &args, HC_IN(input), HC_IN(target), HC_IN_OPT(weightOptional), HC_OUT(lossOut),
                   HC_OUT(logProbOut));
}
HC_OP_LAUNCH(aclnnCrossEntropyLoss)

/* Softmax minus one-hot, scaled: from the log-probabilities, so one exponential per element and no
 * maximum to find again. */
HC_API aclnnStatus aclnnCrossEntropyLossGradGetWorkspaceSize(
    const aclTensor *gradLoss, const aclTensor *logProb, const aclTensor *target,
    const aclTensor *weightOptional, const aclTensor *gradZlossOptional, const aclTensor *lseForZlossOptional,
    char *reductionOptional, int64_t ignoreIndex, double labelSmoothing, double lseSquareScaleForZloss,
    const aclTensor *out, uint64_t *workspaceSize, aclOpExecutor **executor) {
    static const char *const NAME = "aclnnCrossEntropyLossGrad";
    struct args args = {.ignore = ignoreIndex};
    (void)gradZlossOptional; /* empty: the forward operator gives no z-loss */
    (void)lseForZlossOptional;
    HC_TRY(check(NAME, logProb, target, weightOptional, reductionOptional, labelSmoothing,
                 lseSquareScaleForZloss, &args));
    HC_CHECK(gradLoss && out, ACLNN_ERR_PARAM_NULLPTR, "%s: %s is null", NAME, gradLoss ? "out" : "gradLoss");
    const int64_t losses = args.reduction == NONE ? logProb->shape[0] : 1;
    HC_CHECK(gradLoss->numel == losses && gradLoss->rank <= 1 && hc_dtype_is_float(gradLoss->dtype),
             ACLNN_ERR_PARAM_INVALID, "%s: gradLoss is %s, want %lld floating point values", NAME,
             HC_SHOW(gradLoss), (long long)losses);
    HC_CHECK(hc_same_shape(out, logProb) && hc_dtype_is_float(out->dtype), ACLNN_ERR_PARAM_INVALID,
             "%s: out is %s, want the shape of %s", NAME, HC_SHOW(out), HC_SHOW(logProb));
    return HC_PLAN(NAME, run_grad, &args, HC_IN(gradLoss), HC_IN(logProb), HC_IN(target),
                   HC_IN_OPT(weightOptional), HC_OUT(out));
}
HC_OP_LAUNCH(aclnnCrossEntropyLossGrad)
#endif
