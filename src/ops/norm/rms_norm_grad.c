// SPDX-License-Identifier: Apache-2.0
/* Gradients of root mean square normalisation. With z = x rstd and h = dy * gamma:
 *
 *   dx = rstd (h - z mean(h z)), dgamma = sum over rows of dy z.
 *
 * Two passes over a row in cache, sums over rows as in layer_norm_backward.c. RmsNormGradQuant rounds dx to
 * dy's type, as the operators in turn would, and then quantises it with given scales. */
#include "rows.h"

HC_ROWS_KERNEL(rms_norm_grad_F32)
HC_ROWS_KERNEL(rms_norm_grad_F64)

#ifdef HC_ISA
#include "simd_rows.h"

/* dw is a running sum over rows, and so is read and written for each. */
void HC_FN(rms_norm_grad_F32)(size_t n, void *const *out, const void *const *in, size_t row,
                              const void *args) {
    float *dx = out[0], *dw = out[1];
    const float *dy = in[0], *x = in[1], *w = in[3], rstd = *(const float *)in[2];
    (void)row;
    (void)args;
    double dot = 0;
    HC_ROW_SUM(dot, n, (vf_load(dy + at) * vf_load(w + at)) * vf_load(x + at),
               (vf_load_part(dy + at, rest) * vf_load_part(w + at, rest)) * vf_load_part(x + at, rest));
    const float b = (float)(dot * (double)rstd / (double)n);
    size_t i = 0;
    for (; i + HC_VL <= n; i += HC_VL) {
        const vf g = vf_load(dy + i), z = vf_load(x + i) * rstd;
        vf_store(dw + i, vf_load(dw + i) + g * z);
        vf_store(dx + i, (g * vf_load(w + i) - z * b) * rstd);
    }
    for (; i < n; i++) {
        const float g = dy[i], z = x[i] * rstd;
        dw[i] += g * z;
        dx[i] = (g * w[i] - z * b) * rstd;
    }
}

void HC_FN(rms_norm_grad_F64)(size_t n, void *const *out, const void *const *in, size_t row,
                              const void *args) {
    double *dx = out[0], *dw = out[1], b = 0;
    const double *dy = in[0], *x = in[1], *w = in[3], rstd = *(const double *)in[2];
    (void)row;
    (void)args;
    for (size_t i = 0; i < n; i++) b += dy[i] * w[i] * (x[i] * rstd);
    b /= (double)n;
    for (size_t i = 0; i < n; i++) {
        const double g = dy[i], z = x[i] * rstd;
        dw[i] += g * z;
        dx[i] = (g * w[i] - z * b) * rstd;
    }
}

#else
#include <string.h>

#include "norm.h"
#include "quant.h"

enum slot { DY, X, RSTD, GAMMA, DX, DGAMMA, SCALES, OFFSET };

/* Computed in the promoted type of dy and x. The rest counts where dx is quantised. */
struct args {
    uint32_t mask;
    enum hc_block block;
    struct hc_quant_given by;
};

/* The sum over rows is a sum of the skeleton's (rows.h). */
static aclnnStatus gradients(const struct hc_call *call, const aclTensor *dx) {
    const struct args *a = call->args;
    const enum hc_block block = a->block;
    return hc_rows_run(&(const struct hc_rows){.name = call->name,
                                               .shape = hc_arg(call, X),
                                               .mask = a->mask,
                                               .kernel = block == HC_F64 ? HC_DISPATCH(rms_norm_grad_F64)
                                                                         : HC_DISPATCH(rms_norm_grad_F32),
                                               .num_outs = 1,
                                               .num_ins = 4,
                                               .num_sums = 1,
                                               .work = 2,
                                               .sum_block = block,
                                               .operand = {{dx, HC_ROWS_VECTOR, block},
                                                           {hc_arg(call, DY), HC_ROWS_VECTOR, block},
                                                           {hc_arg(call, X), HC_ROWS_VECTOR, block},
                                                           {hc_arg(call, RSTD), HC_ROWS_ONE, block},
                                                           {hc_arg(call, GAMMA), HC_ROWS_SHARED, block}},
                                               .sum = {hc_arg(call, DGAMMA)}});
}

/* Without quantisation. */
static aclnnStatus run(const struct hc_call *call) { return gradients(call, hc_arg(call, DX)); }

/* Scales and offsets in float32, apart from the memory that is written. */
static aclnnStatus quantise(const struct hc_call *call, const aclTensor *dx) {
    const aclTensor *given = hc_arg(call, OFFSET), *out = hc_arg(call, DX);
    const struct args *a = call->args;
    aclTensor scale, offset = {0};
    void *own_scale = NULL, *own_offset = NULL;
    aclnnStatus status = hc_contiguous_apart(hc_arg(call, SCALES), ACL_FLOAT, out, &scale, &own_scale);
    if (status == 0 && given != NULL)
        status = hc_contiguous_apart(given, ACL_FLOAT, out, &offset, &own_offset);
    if (status == 0)
        status = hc_quant_by_given(call->name, &a->by, dx, (const float *)hc_data(&scale),
                                   given != NULL ? (const float *)hc_data(&offset) : NULL, out);
    hc_block_give(own_scale);
    hc_block_give(own_offset);
    return status;
}

/* dx lies in memory of ours first. */
static aclnnStatus run_quantised(const struct hc_call *call) {
    const aclTensor *dy = hc_arg(call, DY);
    char *memory = hc_block_take_array(hc_numel(dy), (size_t)dy->item_size);
    HC_CHECK(memory != NULL, ACLNN_ERR_INNER, "%s: out of host memory for the gradient of %s", call->name,
             HC_SHOW(dy));
    const aclTensor dx = hc_tensor_view(dy->dtype, dy->shape, dy->rank, memory);
    aclnnStatus status = gradients(call, &dx);
    if (status == 0) status = quantise(call, &dx);
    hc_block_give(memory);
    return status;
}

/* ---- phase one ---- */

/* What both have in common but dx. dgammaOut may be wider than gamma, float32 for a 16-bit one: sums are
 * rounded to its type, once. */
static aclnnStatus check(const char *name, const aclTensor *dy, const aclTensor *x, const aclTensor *rstd,
                         const aclTensor *gamma, const aclTensor *dgamma, struct args *args) {
    HC_TRY(hc_norm_mask(name, x, gamma->shape, (size_t)gamma->rank, &args->mask));
    HC_TRY(hc_norm_check_shared(name, "gamma", gamma, gamma->shape, (size_t)gamma->rank));
    HC_TRY(hc_norm_check_shared(name, "dgammaOut", dgamma, gamma->shape, (size_t)gamma->rank));
    HC_TRY(hc_norm_check_same(name, x, "dy", dy));
    HC_TRY(hc_norm_check_rows(name, "rstd", rstd, x, args->mask));
    args->block = hc_compute_block(hc_dtype_promote(dy->dtype, x->dtype));
    return 0;
}

/* torch_npu.npu_rms_norm's backward. */
HC_API aclnnStatus aclnnRmsNormGradGetWorkspaceSize(const aclTensor *dy, const aclTensor *x,
                                                    const aclTensor *rstd, const aclTensor *gamma,
                                                    const aclTensor *dxOut, const aclTensor *dgammaOut,
                                                    uint64_t *workspaceSize, aclOpExecutor **executor) {
    static const char *const NAME = "aclnnRmsNormGrad";
    struct args args = {0};
    HC_CHECK(dy && x && rstd && gamma && dxOut && dgammaOut, ACLNN_ERR_PARAM_NULLPTR,
             "%s: dy, x, rstd, gamma, dxOut or dgammaOut is null", NAME);
    HC_TRY(check(NAME, dy, x, rstd, gamma, dgammaOut, &args));
    HC_TRY(hc_norm_check_same(NAME, x, "dxOut", dxOut));
    return HC_PLAN(NAME, run, &args, HC_IN(dy), HC_IN(x), HC_IN(rstd), HC_IN(gamma), HC_OUT(dxOut),
                   HC_OUT(dgammaOut));
}
HC_OP_LAUNCH(aclnnRmsNormGrad)

/* One scale for all, or one for each element of the last dimension; offsets, too, which may be integers. */
static aclnnStatus check_scales(const char *name, const aclTensor *dy, const aclTensor *scales,
                                const aclTensor *offset, const char *mode, const aclTensor *dx,
                                struct args *args) {
    HC_CHECK(dy->rank >= 1 && hc_fits_f32(dy->dtype), ACLNN_ERR_PARAM_INVALID,
             "%s: dy is %s, wanted float32, float16 or bfloat16 of one dimension at least", name,
             HC_SHOW(dy));
    HC_CHECK(mode != NULL, ACLNN_ERR_PARAM_NULLPTR, "%s: quantMode is null", name);
    HC_CHECK(strcmp(mode, "static") == 0, ACLNN_ERR_PARAM_INVALID, "%s: quantMode is '%.32s', wanted static",
             name, mode);
    HC_TRY(hc_quant_check_target(name, dy, "dxOut", dx, -1, &args->by.target));
    HC_TRY(hc_quant_check_float(name, "scalesX", scales));
    HC_TRY(hc_quant_check_axis(name, "scalesX", scales, dy, dy->rank - 1, &args->by.scale));
    if (offset == NULL) return 0;
    HC_CHECK(hc_fits_f32(offset->dtype) || hc_dtype_class(offset->dtype) == HC_CLASS_INT,
             ACLNN_ERR_PARAM_INVALID, "%s: offsetXOptional is %s, wanted integers or floating point", name,
             HC_SHOW(offset));
    return hc_quant_check_axis(name, "offsetXOptional", offset, dy, dy->rank - 1, &args->by.offset);
}

/* torch_npu._npu_rms_norm_backward_quant. */
HC_API aclnnStatus aclnnRmsNormGradQuantGetWorkspaceSize(
    const aclTensor *dy, const aclTensor *x, const aclTensor *rstd, const aclTensor *gamma,
    const aclTensor *scalesX, const aclTensor *offsetXOptional, const char *quantMode, bool divMode,
    aclTensor *dxOut, aclTensor *dgammaOut, uint64_t *workspaceSize, aclOpExecutor **executor) {
    static const char *const NAME = "aclnnRmsNormGradQuant";
    struct args args = {.by.divide = divMode};
    HC_CHECK(dy && x && rstd && gamma && dxOut && dgammaOut, ACLNN_ERR_PARAM_NULLPTR,
             "%s: dy, x, rstd, gamma, dxOut or dgammaOut is null", NAME);
    HC_TRY(check(NAME, dy, x, rstd, gamma, dgammaOut, &args));
    HC_TRY(check_scales(NAME, dy, scalesX, offsetXOptional, quantMode, dxOut, &args));
    return HC_PLAN(NAME, run_quantised, &args, HC_IN(dy), HC_IN(x), HC_IN(rstd), HC_IN(gamma), HC_OUT(dxOut),
                   HC_OUT(dgammaOut), HC_IN(scalesX), HC_IN_OPT(offsetXOptional));
}
HC_OP_LAUNCH(aclnnRmsNormGradQuant)
#endif
