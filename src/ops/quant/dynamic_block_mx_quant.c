// SPDX-License-Identifier: Apache-2.0
/* Quantisation to MX formats with a scale for each square of 32 by 32 (mx.h): a weight whose one y serves
 * products along either axis, as its transpose has the transposed scales. */
#include "mx.h"

enum slot { X, Y, SCALE1, SCALE2 };

/* x is read while y is written: a copy where they share memory. */
static aclnnStatus run(const struct hc_call *call) {
    const aclTensor *given = hc_arg(call, X), *y = hc_arg(call, Y);
    aclTensor x;
    void *owned = NULL;
    HC_TRY(hc_contiguous_apart(given, given->dtype, y, &x, &owned));
    const aclnnStatus status =
        hc_mx_square(call->name, call->args, &x, y, hc_arg(call, SCALE1), hc_arg(call, SCALE2));
    hc_block_give(owned);
    return status;
}

/* torch_npu.npu_dynamic_block_mx_quant. */
HC_API aclnnStatus aclnnDynamicBlockMxQuantGetWorkspaceSize(
    const aclTensor *x, char *roundModeOptional, int64_t dstType, int64_t scaleAlg, double dstTypeMax,
    const aclTensor *yOut, const aclTensor *scale1Out, const aclTensor *scale2Out, uint64_t *workspaceSize,
    aclOpExecutor **executor) {
    static const char *const NAME = "aclnnDynamicBlockMxQuant";
    struct hc_mx mx;
    HC_CHECK(x != NULL, ACLNN_ERR_PARAM_NULLPTR, "%s: x is null", NAME);
    HC_CHECK(hc_fits_f32(x->dtype) && x->rank >= 2 && x->rank < HC_MAX_RANK, ACLNN_ERR_PARAM_INVALID,
             "%s: x is %s, wanted float32, float16 or bfloat16 of two dimensions at least", NAME, HC_SHOW(x));
    HC_TRY(hc_mx_check(NAME, roundModeOptional, dstType, 32, scaleAlg, dstTypeMax, &mx));
    HC_TRY(hc_mx_check_outputs(NAME, &mx, x, x->rank - 1, "yOut", yOut, "scale1Out", scale1Out));
    HC_TRY(hc_mx_check_outputs(NAME, &mx, x, x->rank - 2, "yOut", yOut, "scale2Out", scale2Out));
    const aclTensor bytes = hc_fp4_bytes(yOut);
    if (hc_is_fp4(yOut->dtype)) yOut = &bytes;
    return HC_PLAN(NAME, run, &mx, HC_IN(x), HC_OUT(yOut), HC_OUT(scale1Out), HC_OUT(scale2Out));
}
HC_OP_LAUNCH(aclnnDynamicBlockMxQuant)
