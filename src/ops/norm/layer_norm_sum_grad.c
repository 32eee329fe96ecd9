// SPDX-License-Identifier: Apache-2.0
/* Gradients of layer norms of a sum s = alpha * x1 + x2. With z = (s - mean) rstd and h = dy * gamma:
 *
 *   ds = rstd (h - mean(h) - z mean(h z)), dgamma = sum over rows of dy z, dbeta of dy,
 *   dx2 = ds (+ dsum, the gradient of the sum itself), dx1 = alpha ds.
 *
 * The sum is formed again where it is used, for one operation an element: kept from the forward pass it would
 * cost as much memory as an input. */
#include "rows.h"

HC_ROWS_KERNEL(layer_norm_sum_grad_F32)
HC_ROWS_KERNEL(layer_norm_sum_grad_F64)

struct args {
    double alpha;
    uint32_t mask;
    enum hc_block block;
};

/* Sums over rows follow the outputs of the kernel; operands of the call are outputs, sums, inputs. */
enum { DX2, DX1, NUM_OUTS, DGAMMA = NUM_OUTS, DBETA, FIRST_IN };
enum { DY, X1, X2, MEAN, RSTD, GAMMA, DSUM, NUM_INS };

#ifdef HC_ISA
#include "simd_rows.h"

void HC_FN(layer_norm_sum_grad_F32)(size_t n, void *const *out, const void *const *in, size_t row,
                                    const void *args) {
    float *dx2 = out[DX2], *dx1 = out[DX1], *dgamma = out[DGAMMA], *dbeta = out[DBETA];
    const float *dy = in[DY], *x1 = in[X1], *x2 = in[X2], *w = in[GAMMA], *dsum = in[DSUM];
    const float mean = *(const float *)in[MEAN], rstd = *(const float *)in[RSTD];
    const float alpha = (float)((const struct args *)args)->alpha;
    (void)row;
    double sum_h = 0, sum_hs = 0; /* of h and h (s - mean) */
    HC_ROW_SUM(sum_h, n, vf_load(dy + at) * vf_load(w + at),
               vf_load_part(dy + at, rest) * vf_load_part(w + at, rest));
    HC_ROW_SUM(sum_hs, n,
               (vf_load(dy + at) * vf_load(w + at)) *
                   (vf_fma(vf_set(alpha), vf_load(x1 + at), vf_load(x2 + at)) - mean),
               (vf_load_part(dy + at, rest) * vf_load_part(w + at, rest)) *
                   (vf_fma(vf_set(alpha), vf_load_part(x1 + at, rest), vf_load_part(x2 + at, rest)) - mean));
    const float a = (float)(sum_h / (double)n), b = (float)(sum_hs * (double)rstd / (double)n);
    for (size_t i = 0; i < n; i++) {
        const float g = dy[i], z = (alpha * x1[i] + x2[i] - mean) * rstd;
        const float ds = (g * w[i] - a - z * b) * rstd;
        dgamma[i] += g * z;
        dbeta[i] += g;
        if (dx1 != NULL) dx1[i] = alpha * ds;
        dx2[i] = dsum != NULL ? ds + dsum[i] : ds;
    }
}

/* As above, all sums in double. */
void HC_FN(layer_norm_sum_grad_F64)(size_t n, void *const *out, const void *const *in, size_t row,
                                    const void *args) {
    double *dx2 = out[DX2], *dx1 = out[DX1], *dgamma = out[DGAMMA], *dbeta = out[DBETA], a = 0, b = 0;
    const double *dy = in[DY], *x1 = in[X1], *x2 = in[X2], *w = in[GAMMA], *dsum = in[DSUM];
    const double mean = *(const double *)in[MEAN], rstd = *(const double *)in[RSTD];
    const double alpha = ((const struct args *)args)->alpha;
    (void)row;
    for (size_t i = 0; i < n; i++) {
        a += dy[i] * w[i];
        b += dy[i] * w[i] * ((alpha * x1[i] + x2[i] - mean) * rstd);
    }
    a /= (double)n;
    b /= (double)n;
    for (size_t i = 0; i < n; i++) {
        const double g = dy[i], z = (alpha * x1[i] + x2[i] - mean) * rstd;
        const double ds = (g * w[i] - a - z * b) * rstd;
        dgamma[i] += g * z;
        dbeta[i] += g;
        if (dx1 != NULL) dx1[i] = alpha * ds;
        dx2[i] = dsum != NULL ? ds + dsum[i] : ds;
    }
}

#else
#include "norm.h"

static aclnnStatus run(const struct hc_call *call) {
    const struct args *a = call->args;
    const enum hc_block block = a->block;
#define INPUT(i) hc_arg(call, FIRST_IN + (i))
    return hc_rows_run(&(const struct hc_rows){.name = call->name,
                                               .shape = INPUT(X1),
                                               .mask = a->mask,
                                               .args = a,
                                               .kernel = block == HC_F64
                                                             ? HC_DISPATCH(layer_norm_sum_grad_F64)
                                                             : HC_DISPATCH(layer_norm_sum_grad_F32),
                                               .num_outs = NUM_OUTS,
                                               .num_ins = NUM_INS,
                                               .num_sums = 2,
                                               .work = 3,
                                               .sum_block = block,
                                               .operand = {{hc_arg(call, DX2), HC_ROWS_VECTOR, block},
                                                           {hc_arg(call, DX1), HC_ROWS_VECTOR, block},
                                                           {INPUT(DY), HC_ROWS_VECTOR, block},
                                                           {INPUT(X1), HC_ROWS_VECTOR, block},
                                                           {INPUT(X2), HC_ROWS_VECTOR, block},
                                                           {INPUT(MEAN), HC_ROWS_ONE, block},
                                                           {INPUT(RSTD), HC_ROWS_ONE, block},
                                                           {INPUT(GAMMA), HC_ROWS_SHARED, block},
                                                           {INPUT(DSUM), HC_ROWS_VECTOR, block}},
                                               .sum = {hc_arg(call, DGAMMA), hc_arg(call, DBETA)}});
#undef INPUT
}

struct operands {
    const char *names; /* of those that are not optional, for the error */
    const aclTensor *dy, *x1, *x2, *mean, *rstd, *gamma, *dsum, *dx2, *dx1, *dgamma, *dbeta;
};

static aclnnStatus plan(const char *name, const struct operands *t, double alpha, uint64_t *workspaceSize,
                        aclOpExecutor **executor) {
    struct args args = {.alpha = alpha};
    HC_CHECK(t->dy && t->x1 && t->x2 && t->mean && t->rstd && t->gamma && t->dx2 && t->dgamma && t->dbeta,
             ACLNN_ERR_PARAM_NULLPTR, "%s: %s is null", name, t->names);
    const int64_t *shape = t->gamma->shape;
    const size_t rank = (size_t)t->gamma->rank;
    HC_TRY(hc_norm_mask(name, t->x1, shape, rank, &args.mask));
    HC_TRY(hc_norm_check_same(name, t->x1, "the second input", t->x2));
    HC_TRY(hc_norm_check_same(name, t->x1, "dy", t->dy));
    if (t->dsum != NULL) HC_TRY(hc_norm_check_same(name, t->x1, "dsumOptional", t->dsum));
    HC_TRY(hc_norm_check_same(name, t->x1, "an output", t->dx2));
    if (t->dx1 != NULL) HC_TRY(hc_norm_check_same(name, t->x1, "dxOut", t->dx1));
    HC_TRY(hc_norm_check_shared(name, "gamma", t->gamma, shape, rank));
    HC_TRY(hc_norm_check_shared(name, "dgammaOut", t->dgamma, shape, rank));
    HC_TRY(hc_norm_check_shared(name, "dbetaOut", t->dbeta, shape, rank));
    HC_TRY(hc_norm_check_rows(name, "mean", t->mean, t->x1, args.mask));
    HC_TRY(hc_norm_check_rows(name, "rstd", t->rstd, t->x1, args.mask));
    args.block =
        hc_compute_block(hc_dtype_promote(t->dy->dtype, hc_dtype_promote(t->x1->dtype, t->x2->dtype)));
    return HC_PLAN(name, run, &args, HC_OUT(t->dx2), HC_OUT_OPT(t->dx1), HC_OUT(t->dgamma), HC_OUT(t->dbeta),
                   HC_IN(t->dy), HC_IN(t->x1), HC_IN(t->x2), HC_IN(t->mean), HC_IN(t->rstd), HC_IN(t->gamma),
                   HC_IN_OPT(t->dsum));
}

/* Both inputs have the one gradient. */
HC_API aclnnStatus aclnnAddLayerNormGradGetWorkspaceSize(const aclTensor *dy, const aclTensor *x1,
                                                         const aclTensor *x2, const aclTensor *rstd,
                                                         const aclTensor *mean, const aclTensor *gamma,
                                                         const aclTensor *dsumOptional,
                                                         const aclTensor *dxOut, const aclTensor *dgammaOut,
                                                         const aclTensor *dbetaOut, uint64_t *workspaceSize,
                                                         aclOpExecutor **executor) {
    const struct operands t = {"dy, x1, x2, rstd, mean, gamma, dxOut, dgammaOut or dbetaOut",
                               dy,
                               x1,
                               x2,
                               mean,
                               rstd,
                               gamma,
                               dsumOptional,
                               dxOut,
                               NULL,
                               dgammaOut,
                               dbetaOut};
    return plan("aclnnAddLayerNormGrad", &t, 1, workspaceSize, executor);
}
HC_OP_LAUNCH(aclnnAddLayerNormGrad)

HC_API aclnnStatus aclnnDeepNormGradGetWorkspaceSize(const aclTensor *dy, const aclTensor *x,
                                                     const aclTensor *gx, const aclTensor *gamma,
                                                     const aclTensor *mean, const aclTensor *rstd,
                                                     double alpha, const aclTensor *dxOut,
                                                     const aclTensor *dgxOut, const aclTensor *dbetaOut,
                                                     const aclTensor *dgammaOut, uint64_t *workspaceSize,
                                                     aclOpExecutor **executor) {
    HC_CHECK(dxOut != NULL, ACLNN_ERR_PARAM_NULLPTR, "aclnnDeepNormGrad: dxOut is null");
    const struct operands t = {"dy, x, gx, gamma, mean, rstd, dgxOut, dbetaOut or dgammaOut",
                               dy,
                               x,
                               gx,
                               mean,
                               rstd,
                               gamma,
                               NULL,
                               dgxOut,
                               dxOut,
                               dgammaOut,
                               dbetaOut};
    return plan("aclnnDeepNormGrad", &t, alpha, workspaceSize, executor);
}
HC_OP_LAUNCH(aclnnDeepNormGrad)
#endif
