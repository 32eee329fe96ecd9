// SPDX-License-Identifier: Apache-2.0
/* ln sum e^x over dimensions, as max + ln sum e^(x - max); an infinite maximum is the result. Two passes
 * over a row, the second from cache; the terms are float vectors, their sum is double. */
#include "reduce.h"
#include "rows.h"

HC_ROWS_KERNEL(logsumexp_F32)
HC_ROWS_KERNEL(logsumexp_F64)

#ifdef HC_ISA
#include "simd_math.h"
#include "simd_rows.h"

/* The terms are at most 1 after the maximum is taken out, so neither the float terms nor their double sum
 * overflow. Lanes behind the end are filled with -inf, whose term is 0. */
void HC_FN(logsumexp_F32)(size_t n, void *const *out, const void *const *in, size_t row, const void *args) {
    const float *x = in[0], max = vf_row_max(x, n);
    (void)row;
    (void)args;
    double sum = 0;
    const vf m = vf_set(max);
    HC_ROW_SUM(sum, n, vf_exp(vf_load(x + at) - m), vf_exp(vf_load_fill(x + at, rest, -INFINITY) - m));
    *(float *)out[0] = isinf(max) ? max : (float)((double)max + log(sum));
}

/* As above in scalar code; NaN is the maximum where there is one. */
void HC_FN(logsumexp_F64)(size_t n, void *const *out, const void *const *in, size_t row, const void *args) {
    const double *x = in[0];
    double max = -INFINITY, sum = 0;
    (void)row;
    (void)args;
    for (size_t i = 0; i < n; i++) max = (x[i] > max) | (x[i] != x[i]) ? x[i] : max;
    for (size_t i = 0; i < n; i++) sum += exp(x[i] - max);
    *(double *)out[0] = isinf(max) ? max : max + log(sum);
}

#else
/* double if either side is. */
struct args {
    uint32_t mask;
    enum hc_block block;
};

/* Operands self, out. 4 operations an element: a maximum, a difference and an exponential count so. */
static aclnnStatus run(const struct hc_call *call) {
    const struct args *a = call->args;
    return hc_rows_run(&(const struct hc_rows){
        .name = call->name,
        .shape = hc_arg(call, 0),
        .mask = a->mask,
        .kernel = a->block == HC_F64 ? HC_DISPATCH(logsumexp_F64) : HC_DISPATCH(logsumexp_F32),
        .num_outs = 1,
        .num_ins = 1,
        .work = 4,
        .operand = {{hc_arg(call, 1), HC_ROWS_ONE, a->block}, {hc_arg(call, 0), HC_ROWS_VECTOR, a->block}}});
}

/* torch.logsumexp(self, dim, keepdim); no dim given: over all. Over no elements it is -inf, the log of 0.
 * Integers are computed as float. */
HC_API aclnnStatus aclnnLogSumExpGetWorkspaceSize(const aclTensor *self, const aclIntArray *dim, bool keepDim,
                                                  aclTensor *out, uint64_t *workspaceSize,
                                                  aclOpExecutor **executor) {
    struct args args;
    HC_CHECK(self && out, ACLNN_ERR_PARAM_NULLPTR, "aclnnLogSumExp: %s is null", self ? "out" : "self");
    HC_CHECK(!hc_dtype_is_complex(self->dtype) && hc_dtype_is_float(out->dtype), ACLNN_ERR_PARAM_INVALID,
             "aclnnLogSumExp: self %s, out %s, want real numbers into a floating point type", HC_SHOW(self),
             HC_SHOW(out));
    HC_TRY(hc_dims_mask("aclnnLogSumExp", self, hc_dims(dim, keepDim), &args.mask));
    HC_TRY(hc_reduce_check_out("aclnnLogSumExp", self, args.mask, keepDim, out, 1));
    args.block = self->dtype == ACL_DOUBLE || out->dtype == ACL_DOUBLE ? HC_F64 : HC_F32;
    return HC_PLAN("aclnnLogSumExp", run, &args, HC_IN(self), HC_OUT(out));
}
HC_OP_LAUNCH(aclnnLogSumExp)
#endif
