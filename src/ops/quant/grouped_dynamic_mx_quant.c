// SPDX-License-Identifier: Apache-2.0
/* Quantisation to MX formats along the rows of each group of a matrix (mx.h): blocks begin anew at every
 * group. */
#include "mx.h"

#include "quant.h"

enum slot { X, GROUPS, Y, SCALE };

/* What is not contiguous goes by way of a copy; x too where y lies in its memory. */
static aclnnStatus run(const struct hc_call *call) {
    const aclTensor *given = hc_arg(call, X), *groups = hc_arg(call, GROUPS), *y = hc_arg(call, Y),
                    *scale = hc_arg(call, SCALE);
    aclTensor x, to, to_scale;
    void *owned[3] = {NULL};
    int64_t *ends = hc_block_take_array(hc_numel(groups), sizeof *ends);
    HC_CHECK(ends != NULL, ACLNN_ERR_INNER, "%s: out of host memory for %zu groups", call->name,
             hc_numel(groups));
    aclnnStatus status = hc_quant_read_groups(call->name, "groupIndex", groups, given->shape[0], false, ends);
    if (status == 0) status = hc_contiguous_apart(given, given->dtype, y, &x, &owned[0]);
    if (status == 0) status = hc_contiguous_out(y, y->dtype, &to, &owned[1]);
    if (status == 0) status = hc_contiguous_out(scale, scale->dtype, &to_scale, &owned[2]);
    if (status == 0)
        status = hc_mx_quantise_groups(call->name, call->args, &x, ends, hc_numel(groups), &to, &to_scale);
    if (status == 0 && owned[1] != NULL) status = hc_copy(y, &to);
    if (status == 0 && owned[2] != NULL) status = hc_copy(scale, &to_scale);
    for (size_t i = 0; i < HC_ARRAY_SIZE(owned); i++) hc_block_give(owned[i]);
    hc_block_give(ends);
    return status;
}

/* Phase one of both versions. */
/* y of fp4 is planned by its bytes. */
static aclnnStatus plan(const char *name, const struct hc_mx *mx, const aclTensor *x,
                        const aclTensor *groupIndex, const aclTensor *y_given, const aclTensor *mxscale,
                        uint64_t *workspaceSize, aclOpExecutor **executor) {
    HC_TRY(hc_quant_check_float(name, "x", x));
    HC_CHECK(x->rank == 2, ACLNN_ERR_PARAM_INVALID, "%s: x is %s, wanted two dimensions", name, HC_SHOW(x));
    HC_CHECK(groupIndex != NULL && y_given != NULL && mxscale != NULL, ACLNN_ERR_PARAM_NULLPTR,
             "%s: %s is null", name,
             groupIndex == NULL ? "groupIndex"
             : y_given == NULL  ? "y"
                                : "mxscale");
    HC_CHECK(hc_dtype_class(groupIndex->dtype) == HC_CLASS_INT && groupIndex->rank == 1 &&
                 groupIndex->numel > 0,
             ACLNN_ERR_PARAM_INVALID, "%s: groupIndex is %s, wanted integers of one dimension", name,
             HC_SHOW(groupIndex));
    HC_CHECK(mx->block == 32, ACLNN_ERR_PARAM_INVALID, "%s: blocksize is %zu, wanted 32", name, mx->block);
    HC_CHECK(y_given->dtype == mx->format.dtype && hc_same_shape(x, y_given), ACLNN_ERR_PARAM_INVALID,
             "%s: y is %s, wanted the shape of x %s and dstType %d", name, HC_SHOW(y_given), HC_SHOW(x),
             (int)mx->format.dtype);
    if (hc_is_fp4(y_given->dtype)) HC_TRY(hc_fp4_check(name, "y", y_given));
    const int64_t shape[] = {x->shape[0] / (int64_t)(2 * mx->block) + groupIndex->numel, x->shape[1], 2};
    const aclTensor wanted = hc_tensor_view(ACL_FLOAT8_E8M0, shape, 3, NULL);
    HC_CHECK(mxscale->dtype == ACL_FLOAT8_E8M0 && hc_same_shape(mxscale, &wanted), ACLNN_ERR_PARAM_INVALID,
             "%s: mxscale is %s, wanted %s", name, HC_SHOW(mxscale), HC_SHOW(&wanted));
    const aclTensor bytes = hc_fp4_bytes(y_given), *const y = hc_is_fp4(y_given->dtype) ? &bytes : y_given;
    return HC_PLAN(name, run, mx, HC_IN(x), HC_IN(groupIndex), HC_OUT(y), HC_OUT(mxscale));
}

/* By the largest exponent only. */
HC_API aclnnStatus aclnnGroupedDynamicMxQuantGetWorkspaceSize(const aclTensor *x, const aclTensor *groupIndex,
                                                              const char *roundMode, int64_t dstType,
                                                              int64_t blocksize, const aclTensor *y,
                                                              const aclTensor *mxscale,
                                                              uint64_t *workspaceSize,
                                                              aclOpExecutor **executor) {
    static const char *const NAME = "aclnnGroupedDynamicMxQuant";
    struct hc_mx mx;
    HC_TRY(hc_mx_check(NAME, roundMode, dstType, blocksize, 0, 0, &mx));
    return plan(NAME, &mx, x, groupIndex, y, mxscale, workspaceSize, executor);
}
HC_OP_LAUNCH(aclnnGroupedDynamicMxQuant)

/* torch_npu.npu_grouped_dynamic_mx_quant takes this one. */
HC_API aclnnStatus aclnnGroupedDynamicMxQuantV2GetWorkspaceSize(
    const aclTensor *x, const aclTensor *groupIndex, const char *roundMode, int64_t dstType,
    int64_t blocksize, int64_t scaleAlg, double dstTypeMax, const aclTensor *y, const aclTensor *mxscale,
    uint64_t *workspaceSize, aclOpExecutor **executor) {
    static const char *const NAME = "aclnnGroupedDynamicMxQuantV2";
    struct hc_mx mx;
    HC_TRY(hc_mx_check(NAME, roundMode, dstType, blocksize, scaleAlg, dstTypeMax, &mx));
    return plan(NAME, &mx, x, groupIndex, y, mxscale, workspaceSize, executor);
}
HC_OP_LAUNCH(aclnnGroupedDynamicMxQuantV2)
