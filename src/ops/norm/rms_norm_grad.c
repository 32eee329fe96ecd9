// SPDX-License-Identifier: Apache-2.0
/* Gradients of root mean square normalisation. With z = x rstd and h = dy * gamma:
 *
 *   dx = rstd (h - z mean(h z)), dgamma = sum over rows of dy z.
 *
 * Two passes over a row in cache, sums over rows as in layer_norm_backward.c. */
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
#include "norm.h"

/* Computed in the promoted type of dy and x. */
struct args {
    uint32_t mask;
    enum hc_block block;
};

/* Operands dy, x, rstd, gamma, dx, dgamma; the sum over rows is a sum of the skeleton's (rows.h). */
static aclnnStatus run(const struct hc_call *call) {
    const struct args *a = call->args;
    const enum hc_block block = a->block;
    return hc_rows_run(&(const struct hc_rows){.name = call->name,
                                               .shape = hc_arg(call, 1),
                                               .mask = a->mask,
                                               .kernel = block == HC_F64 ? HC_DISPATCH(rms_norm_grad_F64)
                                                                         : HC_DISPATCH(rms_norm_grad_F32),
                                               .num_outs = 1,
                                               .num_ins = 4,
                                               .num_sums = 1,
                                               .work = 2,
                                               .sum_block = block,
                                               .operand = {{hc_arg(call, 4), HC_ROWS_VECTOR, block},
                                                           {hc_arg(call, 0), HC_ROWS_VECTOR, block},
                                                           {hc_arg(call, 1), HC_ROWS_VECTOR, block},
                                                           {hc_arg(call, 2), HC_ROWS_ONE, block},
                                                           {hc_arg(call, 3), HC_ROWS_SHARED, block}},
                                               .sum = {hc_arg(call, 5)}});
}

/* dgammaOut may be wider than gamma, float32 for a 16-bit one: sums are rounded to its type, once. */
HC_API aclnnStatus aclnnRmsNormGradGetWorkspaceSize(const aclTensor *dy, const aclTensor *x,
                                                    const aclTensor *rstd, const aclTensor *gamma,
                                                    const aclTensor *dxOut, const aclTensor *dgammaOut,
                                                    uint64_t *workspaceSize, aclOpExecutor **executor) {
    static const char *const NAME = "aclnnRmsNormGrad";
    struct args args;
    HC_CHECK(dy && x && rstd && gamma && dxOut && dgammaOut, ACLNN_ERR_PARAM_NULLPTR,
             "%s: dy, x, rstd, gamma, dxOut or dgammaOut is null", NAME);
    HC_TRY(hc_norm_mask(NAME, x, gamma->shape, (size_t)gamma->rank, &args.mask));
    HC_TRY(hc_norm_check_shared(NAME, "gamma", gamma, gamma->shape, (size_t)gamma->rank));
    HC_TRY(hc_norm_check_shared(NAME, "dgammaOut", dgammaOut, gamma->shape, (size_t)gamma->rank));
    HC_TRY(hc_norm_check_same(NAME, x, "dy", dy));
    HC_TRY(hc_norm_check_same(NAME, x, "dxOut", dxOut));
    HC_TRY(hc_norm_check_rows(NAME, "rstd", rstd, x, args.mask));
    args.block = hc_compute_block(hc_dtype_promote(dy->dtype, x->dtype));
    return HC_PLAN(NAME, run, &args, HC_IN(dy), HC_IN(x), HC_IN(rstd), HC_IN(gamma), HC_OUT(dxOut),
                   HC_OUT(dgammaOut));
}
HC_OP_LAUNCH(aclnnRmsNormGrad)
#endif
