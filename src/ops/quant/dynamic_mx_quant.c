// SPDX-License-Identifier: Apache-2.0
/* Quantisation to MX formats along an axis (mx.h). */
#include "mx.h"

/* Operands x, y, scale. */
struct args {
    struct hc_mx mx;
    int32_t axis;
};

/* x is read while y is written: a copy where they share memory. */
static aclnnStatus run(const struct hc_call *call) {
    const struct args *a = call->args;
    const aclTensor *given = hc_arg(call, 0), *y = hc_arg(call, 1);
    aclTensor x;
    void *owned = NULL;
    HC_TRY(hc_contiguous_apart(given, given->dtype, y, &x, &owned));
    const aclnnStatus status = hc_mx_quantise(call->name, &a->mx, &x, a->axis, y, hc_arg(call, 2));
    hc_block_give(owned);
    return status;
}

/* Phase one of all versions. */
static aclnnStatus plan(const char *name, const aclTensor *x, int64_t axis, double low_bound,
                        struct args *args, const aclTensor *y, const aclTensor *mxscaleOut,
                        uint64_t *workspaceSize, aclOpExecutor **executor) {
    HC_CHECK(x != NULL, ACLNN_ERR_PARAM_NULLPTR, "%s: x is null", name);
    HC_CHECK(hc_fits_f32(x->dtype) && x->rank >= 1 && x->rank < HC_MAX_RANK, ACLNN_ERR_PARAM_INVALID,
             "%s: x is %s, wanted float32, float16 or bfloat16 of one dimension at least", name, HC_SHOW(x));
    const int64_t d = hc_wrap_dim(axis, x->rank);
    HC_CHECK(d >= 0, ACLNN_ERR_PARAM_INVALID, "%s: axis is %lld, x is %s", name, (long long)axis, HC_SHOW(x));
    const bool by_value = args->mx.divisor > 0 && !hc_is_fp4(args->mx.format.dtype);
    HC_CHECK(low_bound == 0 || (low_bound > 0 && by_value), ACLNN_ERR_PARAM_INVALID,
             "%s: maxLowBound is %g, wanted 0, or more with scaleAlg 1", name, low_bound);
    args->mx.low_bound = (float)low_bound;
    args->axis = (int32_t)d;
    HC_TRY(hc_mx_check_outputs(name, &args->mx, x, args->axis, "yOut", y, "mxscaleOut", mxscaleOut));
    const aclTensor bytes = hc_fp4_bytes(y), *const yOut = hc_is_fp4(y->dtype) ? &bytes : y;
    return HC_PLAN(name, run, args, HC_IN(x), HC_OUT(yOut), HC_OUT(mxscaleOut));
}

/* Versions differ in what may be said of the scales. */
HC_API aclnnStatus aclnnDynamicMxQuantGetWorkspaceSize(const aclTensor *x, int64_t axis,
                                                       char *roundModeOptional, int64_t dstType,
                                                       int64_t blocksize, int64_t scaleAlg,
                                                       const aclTensor *yOut, const aclTensor *mxscaleOut,
                                                       uint64_t *workspaceSize, aclOpExecutor **executor) {
    static const char *const NAME = "aclnnDynamicMxQuant";
    struct args args;
    HC_TRY(hc_mx_check(NAME, roundModeOptional, dstType, blocksize, scaleAlg, 0, &args.mx));
    return plan(NAME, x, axis, 0, &args, yOut, mxscaleOut, workspaceSize, executor);
}
HC_OP_LAUNCH(aclnnDynamicMxQuant)

/* With the value that fp4's scales are made from. */
HC_API aclnnStatus aclnnDynamicMxQuantV2GetWorkspaceSize(const aclTensor *x, int64_t axis,
                                                         char *roundModeOptional, int64_t dstType,
                                                         int64_t blocksize, int64_t scaleAlg,
                                                         double dstTypeMax, const aclTensor *yOut,
                                                         const aclTensor *mxscaleOut, uint64_t *workspaceSize,
                                                         aclOpExecutor **executor) {
    static const char *const NAME = "aclnnDynamicMxQuantV2";
    struct args args;
    HC_TRY(hc_mx_check(NAME, roundModeOptional, dstType, blocksize, scaleAlg, dstTypeMax, &args.mx));
    return plan(NAME, x, axis, 0, &args, yOut, mxscaleOut, workspaceSize, executor);
}
HC_OP_LAUNCH(aclnnDynamicMxQuantV2)

/* torch_npu.npu_dynamic_mx_quant takes the newest version. */
HC_API aclnnStatus aclnnDynamicMxQuantV3GetWorkspaceSize(const aclTensor *x, int64_t axis,
                                                         char *roundModeOptional, int64_t dstType,
                                                         int64_t blocksize, int64_t scaleAlg,
                                                         double dstTypeMax, double maxLowBound,
                                                         const aclTensor *yOut, const aclTensor *mxscaleOut,
                                                         uint64_t *workspaceSize, aclOpExecutor **executor) {
    static const char *const NAME = "aclnnDynamicMxQuantV3";
    struct args args;
    HC_TRY(hc_mx_check(NAME, roundModeOptional, dstType, blocksize, scaleAlg, dstTypeMax, &args.mx));
    return plan(NAME, x, axis, maxLowBound, &args, yOut, mxscaleOut, workspaceSize, executor);
}
HC_OP_LAUNCH(aclnnDynamicMxQuantV3)
