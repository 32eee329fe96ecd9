// SPDX-License-Identifier: Apache-2.0
/* Quantisation to MX formats along the last axis and, a second time, along the last but one: what the
 * products of a layer need of one tensor forward and backward (mx.h). */
#include "mx.h"

enum slot { X, Y1, SCALE1, Y2, SCALE2 };

/* Twice the work of one axis: x is read from the caches the second time where it fits. Apart from both
 * results, as the first is written before the second is made. */
static aclnnStatus run(const struct hc_call *call) {
    const struct hc_mx *mx = call->args;
    const aclTensor *given = hc_arg(call, X);
    aclTensor x, apart;
    void *owned = NULL, *own_apart = NULL;
    HC_TRY(hc_contiguous_apart(given, given->dtype, hc_arg(call, Y1), &x, &owned));
    aclnnStatus status = hc_contiguous_apart(&x, x.dtype, hc_arg(call, Y2), &apart, &own_apart);
    if (status == 0)
        status = hc_mx_quantise(call->name, mx, &apart, x.rank - 1, hc_arg(call, Y1), hc_arg(call, SCALE1));
    if (status == 0)
        status = hc_mx_quantise(call->name, mx, &apart, x.rank - 2, hc_arg(call, Y2), hc_arg(call, SCALE2));
    hc_block_give(owned);
    hc_block_give(own_apart);
    return status;
}

/* Phase one of both versions. */
static aclnnStatus plan(const char *name, const aclTensor *x, const struct hc_mx *mx, const aclTensor *y1,
                        const aclTensor *mxscale1Out, const aclTensor *y2, const aclTensor *mxscale2Out,
                        uint64_t *workspaceSize, aclOpExecutor **executor) {
    HC_CHECK(x != NULL, ACLNN_ERR_PARAM_NULLPTR, "%s: x is null", name);
    HC_CHECK(hc_fits_f32(x->dtype) && x->rank >= 2 && x->rank < HC_MAX_RANK, ACLNN_ERR_PARAM_INVALID,
             "%s: x is %s, wanted float32, float16 or bfloat16 of two dimensions at least", name, HC_SHOW(x));
    HC_TRY(hc_mx_check_outputs(name, mx, x, x->rank - 1, "y1Out", y1, "mxscale1Out", mxscale1Out));
    HC_TRY(hc_mx_check_outputs(name, mx, x, x->rank - 2, "y2Out", y2, "mxscale2Out", mxscale2Out));
    const bool four = hc_is_fp4(y1->dtype);
    const aclTensor bytes1 = hc_fp4_bytes(y1), bytes2 = hc_fp4_bytes(y2), *const y1Out = four ? &bytes1 : y1,
                    *const y2Out = four ? &bytes2 : y2;
    return HC_PLAN(name, run, mx, HC_IN(x), HC_OUT(y1Out), HC_OUT(mxscale1Out), HC_OUT(y2Out),
                   HC_OUT(mxscale2Out));
}

/* Blocks are of 32 here, whatever the format. */
HC_API aclnnStatus aclnnDynamicMxQuantWithDualAxisGetWorkspaceSize(
    const aclTensor *x, char *roundModeOptional, int64_t dstType, int64_t scaleAlg, const aclTensor *y1Out,
    const aclTensor *mxscale1Out, const aclTensor *y2Out, const aclTensor *mxscale2Out,
    uint64_t *workspaceSize, aclOpExecutor **executor) {
    static const char *const NAME = "aclnnDynamicMxQuantWithDualAxis";
    struct hc_mx mx;
    HC_TRY(hc_mx_check(NAME, roundModeOptional, dstType, 32, scaleAlg, 0, &mx));
    return plan(NAME, x, &mx, y1Out, mxscale1Out, y2Out, mxscale2Out, workspaceSize, executor);
}
HC_OP_LAUNCH(aclnnDynamicMxQuantWithDualAxis)

HC_API aclnnStatus aclnnDynamicMxQuantWithDualAxisV2GetWorkspaceSize(
    const aclTensor *x, char *roundModeOptional, int64_t dstType, int64_t scaleAlg, double dstTypeMax,
    const aclTensor *y1Out, const aclTensor *mxscale1Out, const aclTensor *y2Out,
    const aclTensor *mxscale2Out, uint64_t *workspaceSize, aclOpExecutor **executor) {
    static const char *const NAME = "aclnnDynamicMxQuantWithDualAxisV2";
    struct hc_mx mx;
    HC_TRY(hc_mx_check(NAME, roundModeOptional, dstType, 32, scaleAlg, dstTypeMax, &mx));
    return plan(NAME, x, &mx, y1Out, mxscale1Out, y2Out, mxscale2Out, workspaceSize, executor);
}
HC_OP_LAUNCH(aclnnDynamicMxQuantWithDualAxisV2)
