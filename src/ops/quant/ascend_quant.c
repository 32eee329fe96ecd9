// SPDX-License-Identifier: Apache-2.0
/* Quantisation with given scales: y = round(x * scale + offset), to int8, int4 in int32 or a float of a byte.
 * Scale and offset are one number, or one for each index of the last dimension (of the last but one in the
 * third version). The product is that of float32 whatever x is. */
#include "quant.h"

#ifndef HC_ISA
#include <string.h>

static const char *const ROUNDINGS[] = {[HC_QUANT_NEAREST] = "round",
                                        [HC_QUANT_FLOOR] = "floor",
                                        [HC_QUANT_CEIL] = "ceil",
                                        [HC_QUANT_TRUNC] = "trunc"};

/* Operands x, scale, offset, y. */
struct args {
    struct hc_quant_given by;
    bool squared; /* the factor is the square of the scale */
};

/* The scale is always ours, as it may be squared in place. */
static aclnnStatus take_scale(const aclTensor *t, bool squared, aclTensor *view, void **owned) {
    HC_TRY(hc_contiguous(t, ACL_FLOAT, view, owned));
    if (!squared) return 0;
    float *to = hc_block_take_array(hc_numel(t), sizeof *to);
    if (to != NULL)
        for (size_t i = 0; i < hc_numel(t); i++)
            to[i] = ((const float *)hc_data(view))[i] * ((const float *)hc_data(view))[i];
    hc_block_give(*owned);
    *owned = to;
    HC_CHECK(to != NULL, ACLNN_ERR_INNER, "out of host memory for a copy of %s", HC_SHOW(t));
    *view = hc_tensor_view(ACL_FLOAT, t->shape, t->rank, to);
    return 0;
}

/* Copies of what is not contiguous, or lies in the memory of y. */
static aclnnStatus run(const struct hc_call *call) {
    const struct args *a = call->args;
    const aclTensor *given_x = hc_arg(call, 0), *given_offset = hc_arg(call, 2), *given_y = hc_arg(call, 3);
    aclTensor x, scale, offset = {0};
    void *own_x = NULL, *own_scale = NULL, *own_offset = NULL;
    aclnnStatus status = hc_contiguous_apart(given_x, given_x->dtype, given_y, &x, &own_x);
    if (status == 0) status = take_scale(hc_arg(call, 1), a->squared, &scale, &own_scale);
    if (status == 0 && given_offset != NULL)
        status = hc_contiguous(given_offset, ACL_FLOAT, &offset, &own_offset);
    if (status == 0)
        status = hc_quant_by_given(call->name, &a->by, &x, (const float *)hc_data(&scale),
                                   given_offset != NULL ? (const float *)hc_data(&offset) : NULL, given_y);
    hc_block_give(own_x);
    hc_block_give(own_scale);
    hc_block_give(own_offset);
    return status;
}

/* Phase one of both versions. */
static aclnnStatus plan(const char *name, const aclTensor *x, const aclTensor *scale, const aclTensor *offset,
                        bool sqrt_mode, const char *round_mode, int32_t dst_type, int32_t axis,
                        const aclTensor *y, uint64_t *workspaceSize, aclOpExecutor **executor) {
    struct args args = {.squared = sqrt_mode};
    HC_TRY(hc_quant_check_float(name, "x", x));
    HC_TRY(hc_quant_check_float(name, "scale", scale));
    if (offset != NULL) HC_TRY(hc_quant_check_float(name, "offset", offset));
    HC_CHECK(round_mode != NULL, ACLNN_ERR_PARAM_NULLPTR, "%s: roundMode is null", name);
    size_t mode = 0;
    while (mode < HC_ARRAY_SIZE(ROUNDINGS) && strcmp(round_mode, ROUNDINGS[mode]) != 0) mode++;
    HC_CHECK(mode < HC_ARRAY_SIZE(ROUNDINGS), ACLNN_ERR_PARAM_INVALID,
             "%s: roundMode is '%.32s', wanted round, floor, ceil or trunc", name, round_mode);
    args.by.rounding = (enum hc_quant_rounding)mode;
    const int64_t d = hc_wrap_dim(axis, x->rank);
    HC_CHECK(d >= 0 && d >= x->rank - 2, ACLNN_ERR_PARAM_INVALID,
             "%s: axis is %d, x %s allows its last two dimensions", name, (int)axis, HC_SHOW(x));
    HC_TRY(hc_quant_check_target(name, x, "y", y, dst_type, &args.by.target));
    HC_CHECK(mode == HC_QUANT_NEAREST || !hc_quant_is_float(&args.by.target), ACLNN_ERR_PARAM_INVALID,
             "%s: roundMode is '%.32s', wanted round for y %s", name, round_mode, HC_SHOW(y));
    HC_TRY(hc_quant_check_axis(name, "scale", scale, x, (int32_t)d, &args.by.scale));
    if (offset != NULL) HC_TRY(hc_quant_check_axis(name, "offset", offset, x, (int32_t)d, &args.by.offset));
    return HC_PLAN(name, run, &args, HC_IN(x), HC_IN(scale), HC_IN_OPT(offset), HC_OUT(y));
}

/* torch_npu.npu_quantize(div_mode=False), as older versions call it. */
HC_API aclnnStatus aclnnAscendQuantGetWorkspaceSize(const aclTensor *x, const aclTensor *scale,
                                                    const aclTensor *offset, bool sqrtMode,
                                                    const char *roundMode, int32_t dstType,
                                                    const aclTensor *y, uint64_t *workspaceSize,
                                                    aclOpExecutor **executor) {
    return plan("aclnnAscendQuant", x, scale, offset, sqrtMode, roundMode, dstType, -1, y, workspaceSize,
                executor);
}
HC_OP_LAUNCH(aclnnAscendQuant)

/* The same with a choice of the axis. */
HC_API aclnnStatus aclnnAscendQuantV3GetWorkspaceSize(const aclTensor *x, const aclTensor *scale,
                                                      const aclTensor *offset, bool sqrtMode,
                                                      const char *roundMode, int32_t dstType, int32_t axis,
                                                      const aclTensor *y, uint64_t *workspaceSize,
                                                      aclOpExecutor **executor) {
    return plan("aclnnAscendQuantV3", x, scale, offset, sqrtMode, roundMode, dstType, axis, y, workspaceSize,
                executor);
}
HC_OP_LAUNCH(aclnnAscendQuantV3)
#endif
