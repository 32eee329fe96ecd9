// SPDX-License-Identifier: Apache-2.0
/* y = ln(1 + e^(beta x)) / beta, and x itself where beta x > threshold; and its gradient, g sigmoid(beta
 * x), or g there. The threshold is PyTorch's guard against overflow; the formula below does not need it
 * but follows it. */
#include "binary.h"

/* Rounded to float once for float tensors. */
struct softplus {
    double beta, threshold;
};

HC_EW_KERNELS_FLOAT(softplus)
HC_EW_KERNELS_FLOAT(softplus_backward)

#ifdef HC_ISA
#include "simd_math.h"

/* max(u, 0) + ln(1 + e^-|u|): no overflow whatever the threshold. */
void HC_FN(softplus_F32)(size_t n, void *const *out, const void *const *in, const void *args) {
    const struct softplus *a = args;
    const float beta = (float)a->beta, threshold = (float)a->threshold;
    for (size_t i = 0; i < n; i += HC_VL) {
        const size_t rest = n - i;
        const float *from = (const float *)in[0] + i;
        float *to = (float *)out[0] + i;
        const vf x = rest >= HC_VL ? vf_load(from) : vf_load_part(from, rest);
        const vf u = x * beta;
        const vf soft = (vf_max(u, vf_zero()) + vf_log1p(vf_exp(-vf_abs(u)))) / beta;
        const vf y = vf_select(u > threshold, x, soft);
        if (rest >= HC_VL) vf_store(to, y);
        else vf_store_part(to, y, rest);
    }
}
void HC_FN(softplus_F64)(size_t n, void *const *out, const void *const *in, const void *args) {
    const struct softplus *a = args;
    const double *x = in[0];
    double *y = out[0];
    for (size_t i = 0; i < n; i++) {
        const double u = x[i] * a->beta;
        y[i] = u > a->threshold ? x[i] : ((u > 0 ? u : 0) + log1p(exp(-fabs(u)))) / a->beta;
    }
}
/* Both F32 kernels go vector by vector with a padded tail in the same loop: the arguments make a function
 * too long for the macros of the skeleton. */
void HC_FN(softplus_backward_F32)(size_t n, void *const *out, const void *const *in, const void *args) {
    const struct softplus *a = args;
    const float beta = (float)a->beta, threshold = (float)a->threshold;
    for (size_t i = 0; i < n; i += HC_VL) {
        const size_t rest = n - i;
        const float *grad = (const float *)in[0] + i, *from = (const float *)in[1] + i;
        float *to = (float *)out[0] + i;
        const vf g = rest >= HC_VL ? vf_load(grad) : vf_load_part(grad, rest);
        const vf u = (rest >= HC_VL ? vf_load(from) : vf_load_part(from, rest)) * beta;
        const vf y = vf_select(u > threshold, g, g * vf_sigmoid(u));
        if (rest >= HC_VL) vf_store(to, y);
        else vf_store_part(to, y, rest);
    }
}
void HC_FN(softplus_backward_F64)(size_t n, void *const *out, const void *const *in, const void *args) {
    const struct softplus *a = args;
    const double *g = in[0], *x = in[1];
    double *y = out[0];
    for (size_t i = 0; i < n; i++)
        y[i] = x[i] * a->beta > a->threshold ? g[i] : g[i] / (1 + exp(-x[i] * a->beta));
}
#else
static const struct hc_ew FORWARD = {"aclnnSoftplus", HC_EW_TABLE_FLOAT(softplus), 0, HC_CLASS_FLOAT};
static const struct hc_ew BACKWARD = {"aclnnSoftplusBackward", HC_EW_TABLE_FLOAT(softplus_backward), 0,
                                      HC_CLASS_FLOAT};

/* F.softplus(self, beta, threshold). */
HC_API aclnnStatus aclnnSoftplusGetWorkspaceSize(const aclTensor *self, const aclScalar *beta,
                                                 const aclScalar *threshold, aclTensor *out,
                                                 uint64_t *workspaceSize, aclOpExecutor **executor) {
    HC_CHECK(beta && threshold, ACLNN_ERR_PARAM_NULLPTR, "aclnnSoftplus: %s is null",
             beta ? "threshold" : "beta");
    const struct softplus args = {hc_scalar_f64(beta), hc_scalar_f64(threshold)};
    const aclTensor *outs[] = {out}, *ins[] = {self};
    return hc_ew_plan(&FORWARD, HC_CLASS_BOOL, outs, 1, ins, 1, &args, sizeof args, workspaceSize, executor);
}
HC_OP_LAUNCH(aclnnSoftplus)

HC_API aclnnStatus aclnnSoftplusBackwardGetWorkspaceSize(const aclTensor *gradOutput, const aclTensor *self,
                                                         const aclScalar *beta, const aclScalar *threshold,
                                                         aclTensor *gradInput, uint64_t *workspaceSize,
                                                         aclOpExecutor **executor) {
    HC_CHECK(beta && threshold, ACLNN_ERR_PARAM_NULLPTR, "aclnnSoftplusBackward: %s is null",
             beta ? "threshold" : "beta");
    const struct softplus args = {hc_scalar_f64(beta), hc_scalar_f64(threshold)};
    const aclTensor *outs[] = {gradInput}, *ins[] = {gradOutput, self};
    return hc_ew_plan(&BACKWARD, HC_CLASS_BOOL, outs, 1, ins, 2, &args, sizeof args, workspaceSize, executor);
}
HC_OP_LAUNCH(aclnnSoftplusBackward)
#endif
