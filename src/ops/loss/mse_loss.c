// SPDX-License-Identifier: Apache-2.0
/* Squared error (self - target)^2, element by element, its mean or its sum; and its gradient 2 (self -
 * target) gradOutput [/ n]. */

#include "reduce.h"
#include "elementwise.h"

/* Float and double only: half and bfloat16 are computed as float. */
HC_EW_KERNEL(mse_F32)
HC_EW_KERNEL(mse_F64)
HC_EW_KERNEL(mse_backward_F32)
HC_EW_KERNEL(mse_backward_F64)

/* Of the mean and the sum; without reduction the elementwise plan needs none. */
struct args {
    int64_t reduction;
    enum hc_block block;
};
/* X / n of the mean, 1 otherwise. */
struct backward_args {
    double scale;
};

#ifdef HC_ISA
#define DEFINE(block, type)                                                                                  \
    static inline type square_##block(type a, type b) { return (a - b) * (a - b); }                          \
    HC_EW_BODY2(mse_##block, type, type, square_##block)                                                     \
    void HC_FN(mse_backward_##block)(size_t n, void *const *out, const void *const *in, const void *args) {  \
        type *y = out[0];                                                                                    \
        const type *g = in[0], *a = in[1], *b = in[2],                                                       \
                   scale = (type)((const struct backward_args *)args)->scale;                                \
        _Pragma("GCC ivdep") for (size_t i = 0; i < n; i++) y[i] = scale * (a[i] - b[i]) * g[i];             \
    }
DEFINE(F32, float)
DEFINE(F64, double)

#else
/* The interface's numbers. */
enum { NONE, MEAN, SUM };

/* HC_CLASS_FLOAT: integers become float, as a mean of them needs. */
static const struct hc_ew MSE = {
    "aclnnMseLoss", {[HC_F32] = mse_F32_table, [HC_F64] = mse_F64_table}, 0, HC_CLASS_FLOAT};
static const struct hc_ew MSE_BACKWARD = {
    "aclnnMseLossBackward",
    {[HC_F32] = mse_backward_F32_table, [HC_F64] = mse_backward_F64_table},
    0,
    HC_CLASS_FLOAT};

/* Squares are stored, then reduced: two passes, but the reduction's order and accuracy are those of every
 * sum here. */
static aclnnStatus run(const struct hc_call *call) {
    const struct args *a = call->args;
    const aclTensor *ins[] = {hc_arg(call, 0), hc_arg(call, 1)};
    const aclDataType dtype = a->block == HC_F64 ? ACL_DOUBLE : ACL_FLOAT;
    int64_t shape[HC_MAX_RANK], count = 1;
    int32_t rank;
    hc_broadcast_shape(ins[0], ins[1], shape, &rank);
    for (int32_t d = 0; d < rank; d++) count *= shape[d];
    void *memory = hc_block_take_array((size_t)count, hc_dtype_size(dtype));
    HC_CHECK(memory != NULL, ACLNN_ERR_INNER, "%s: out of host memory for %lld squares", call->name,
             (long long)count);
    const aclTensor squares = hc_tensor_view(dtype, shape, rank, memory), *outs[] = {&squares};
    aclnnStatus status = hc_ew_run(&MSE, (int)a->block, outs, 1, ins, 2, NULL);
    if (status == 0)
        status = hc_reduce_sum(&squares, (1u << rank) - 1, a->reduction == MEAN, hc_arg(call, 2));
    hc_block_give(memory);
    return status;
}

/* F.mse_loss(self, target, reduction), with broadcasting; out is a scalar unless there is no reduction.
 * Squares of half
 * are float: they do not overflow at 256. */
HC_API aclnnStatus aclnnMseLossGetWorkspaceSize(const aclTensor *self, const aclTensor *target,
                                                int64_t reduction, aclTensor *out, uint64_t *workspaceSize,
                                                aclOpExecutor **executor) {
    HC_CHECK(self && target && out, ACLNN_ERR_PARAM_NULLPTR, "aclnnMseLoss: self, target or out is null");
    HC_CHECK(reduction >= NONE && reduction <= SUM, ACLNN_ERR_PARAM_INVALID,
             "aclnnMseLoss: reduction is %lld, want 0 (none), 1 (mean) or 2 (sum)", (long long)reduction);
    const aclTensor *outs[] = {out}, *ins[] = {self, target};
    if (reduction == NONE)
        return hc_ew_plan(&MSE, HC_CLASS_BOOL, outs, 1, ins, 2, NULL, 0, workspaceSize, executor);
    int64_t shape[HC_MAX_RANK];
    int32_t rank;
    HC_CHECK(hc_broadcast_shape(self, target, shape, &rank), ACLNN_ERR_PARAM_INVALID,
             "aclnnMseLoss: self %s and target %s do not broadcast", HC_SHOW(self), HC_SHOW(target));
    HC_CHECK(out->numel == 1, ACLNN_ERR_PARAM_INVALID, "aclnnMseLoss: out is %s, want a scalar",
             HC_SHOW(out));
    const struct args args = {reduction, hc_ew_compute(&MSE, outs, 1, ins, 2)};
    HC_TRY(hc_ew_check_types("aclnnMseLoss", &MSE, HC_CLASS_BOOL, outs, 1, ins, 2));
    return HC_PLAN("aclnnMseLoss", run, &args, HC_IN(self), HC_IN(target), HC_OUT(out));
}
HC_OP_LAUNCH(aclnnMseLoss)

/* gradOutput broadcasts: a scalar after a mean or a sum. n counts out's elements, which are the pairs
 * that the forward compared. */
HC_API aclnnStatus aclnnMseLossBackwardGetWorkspaceSize(const aclTensor *gradOutput, const aclTensor *self,
                                                        const aclTensor *target, int64_t reduction,
                                                        aclTensor *out, uint64_t *workspaceSize,
                                                        aclOpExecutor **executor) {
    HC_CHECK(gradOutput && self && target && out, ACLNN_ERR_PARAM_NULLPTR,
             "aclnnMseLossBackward: gradOutput, self, target or out is null");
    HC_CHECK(reduction >= NONE && reduction <= SUM, ACLNN_ERR_PARAM_INVALID,
             "aclnnMseLossBackward: reduction is %lld, want 0 (none), 1 (mean) or 2 (sum)",
             (long long)reduction);
    const aclTensor *outs[] = {out}, *ins[] = {gradOutput, self, target};
    const struct backward_args args = {reduction == MEAN ? 2.0 / (double)out->numel : 2};
    return hc_ew_plan(&MSE_BACKWARD, HC_CLASS_BOOL, outs, 1, ins, 3, &args, sizeof args, workspaceSize,
                      executor);
}
HC_OP_LAUNCH(aclnnMseLossBackward)
#endif
