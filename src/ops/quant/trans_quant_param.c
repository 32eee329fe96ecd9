// SPDX-License-Identifier: Apache-2.0
/* A scale and an offset as the 64-bit number that quantised matrix products take (quant_param.h). The scale
 * keeps the upper 19 of its 32 bits: cut off, or rounded to nearest, ties to even, with roundMode 1. */
#include "quant.h"
#include "quant_param.h"

#ifndef HC_ISA

/* Operands scale, offset, out. */
static aclnnStatus run(const struct hc_call *call) {
    const bool rounded = *(const int64_t *)call->args == 1;
    const aclTensor *given[] = {hc_arg(call, 0), hc_arg(call, 1)}, *out = hc_arg(call, 2);
    aclTensor scale, offset = {0}, y;
    void *own_scale = NULL, *own_offset = NULL, *own_y = NULL;
    aclnnStatus status = hc_contiguous(given[0], ACL_FLOAT, &scale, &own_scale);
    if (status == 0 && given[1] != NULL) status = hc_contiguous(given[1], ACL_FLOAT, &offset, &own_offset);
    if (status == 0) status = hc_contiguous_out(out, out->dtype, &y, &own_y);
    if (status == 0) {
        uint64_t *to = (uint64_t *)hc_data(&y);
        for (size_t i = 0; i < hc_numel(&y); i++) {
            const float s = ((const float *)hc_data(&scale))[scale.numel > 1 ? i : 0];
            const float o =
                given[1] != NULL ? ((const float *)hc_data(&offset))[offset.numel > 1 ? i : 0] : 0;
            to[i] = hc_quant_param(s, o, rounded);
        }
        if (own_y != NULL) status = hc_copy(out, &y);
    }
    hc_block_give(own_scale);
    hc_block_give(own_offset);
    hc_block_give(own_y);
    return status;
}

/* Dimensions of size 1 may come before. */
static aclnnStatus check_vector(const char *name, const char *arg, const aclTensor *t, int64_t count) {
    HC_CHECK(t->dtype == ACL_FLOAT && (t->numel == 1 || t->numel == count) &&
                 (t->rank == 1 || (t->rank == 2 && t->shape[0] == 1)),
             ACLNN_ERR_PARAM_INVALID, "%s: %s is %s, wanted float32 of 1 or %lld elements", name, arg,
             HC_SHOW(t), (long long)count);
    return 0;
}

/* torch_npu gives an empty tensor where there is no offset, and takes int64 for uint64. */
static aclnnStatus plan(const char *name, const aclTensor *scale, const aclTensor *offset, int64_t round_mode,
                        const aclTensor *out, uint64_t *workspaceSize, aclOpExecutor **executor) {
    HC_CHECK(scale && out, ACLNN_ERR_PARAM_NULLPTR, "%s: %s is null", name, scale ? "out" : "scale");
    HC_CHECK(out->dtype == ACL_UINT64 || out->dtype == ACL_INT64, ACLNN_ERR_PARAM_INVALID,
             "%s: out is %s, wanted uint64", name, HC_SHOW(out));
    HC_CHECK(round_mode == 0 || round_mode == 1, ACLNN_ERR_PARAM_INVALID,
             "%s: roundMode is %lld, wanted 0 (cut off) or 1 (to nearest)", name, (long long)round_mode);
    if (offset != NULL && offset->numel == 0) offset = NULL;
    const int64_t count = offset != NULL && offset->numel > scale->numel ? offset->numel : scale->numel;
    HC_TRY(check_vector(name, "scale", scale, count));
    if (offset != NULL) HC_TRY(check_vector(name, "offset", offset, count));
    HC_CHECK(out->numel == count, ACLNN_ERR_PARAM_INVALID, "%s: out is %s, wanted %lld elements", name,
             HC_SHOW(out), (long long)count);
    return HC_PLAN(name, run, &round_mode, HC_IN(scale), HC_IN_OPT(offset), HC_OUT(out));
}

HC_API aclnnStatus aclnnTransQuantParamV2GetWorkspaceSize(const aclTensor *scale, const aclTensor *offset,
                                                          const aclTensor *out, uint64_t *workspaceSize,
                                                          aclOpExecutor **executor) {
    return plan("aclnnTransQuantParamV2", scale, offset, 0, out, workspaceSize, executor);
}
HC_OP_LAUNCH(aclnnTransQuantParamV2)

HC_API aclnnStatus aclnnTransQuantParamV3GetWorkspaceSize(const aclTensor *scale, const aclTensor *offset,
                                                          int64_t roundMode, const aclTensor *out,
                                                          uint64_t *workspaceSize, aclOpExecutor **executor) {
    return plan("aclnnTransQuantParamV3", scale, offset, roundMode, out, workspaceSize, executor);
}
HC_OP_LAUNCH(aclnnTransQuantParamV3)
#endif
