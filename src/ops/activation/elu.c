// SPDX-License-Identifier: Apache-2.0
/* y = scale x for x > 0, else scale alpha (e^(inputScale x) - 1), element by element, and its gradient
 * from x or, with isResult, from y.
 *
 * ELU, SELU and CELU are this with other numbers. expm1 and not exp(x) - 1: near 0, where activations
 * live, the difference would cancel. */
#include "binary.h"

/* Products that are the same for every element are taken once. */
struct elu {
    double negative, positive, input; /* scale alpha, scale, inputScale */
    bool is_result;
};

HC_EW_KERNELS_FLOAT(elu)
HC_EW_KERNELS_FLOAT(elu_backward)

#ifdef HC_ISA
#include "simd_math.h"

static inline vf elu_vf(vf x, const struct elu *a) {
    return vf_select(x <= 0.0f, vf_expm1(x * (float)a->input) * (float)a->negative, x * (float)a->positive);
}
/* From the result: scale alpha e^(inputScale x) = y + scale alpha, so no exponential is needed. */
static inline vf elu_backward_vf(vf g, vf x, const struct elu *a) {
    const float negative = (float)a->negative, input = (float)a->input;
    const vf slope = a->is_result ? (x + negative) * input : vf_exp(x * input) * (negative * input);
    return g * vf_select(x <= 0.0f, slope, vf_set((float)a->positive));
}
/* Not through HC_EW_BODY1_VF, whose functions take no arguments. */
void HC_FN(elu_F32)(size_t n, void *const *out, const void *const *in, const void *args) {
    const float *x = in[0];
    float *y = out[0];
    size_t i = 0;
    for (; i + HC_VL <= n; i += HC_VL) vf_store(y + i, elu_vf(vf_load(x + i), args));
    if (i < n) vf_store_part(y + i, elu_vf(vf_load_part(x + i, n - i), args), n - i);
}
void HC_FN(elu_backward_F32)(size_t n, void *const *out, const void *const *in, const void *args) {
    const float *g = in[0], *x = in[1];
    float *y = out[0];
    size_t i = 0;
    for (; i + HC_VL <= n; i += HC_VL) vf_store(y + i, elu_backward_vf(vf_load(g + i), vf_load(x + i), args));
    if (i < n)
        vf_store_part(y + i, elu_backward_vf(vf_load_part(g + i, n - i), vf_load_part(x + i, n - i), args),
                      n - i);
}
static inline double elu_f64(double x, const struct elu *a) {
    return x <= 0 ? expm1(x * a->input) * a->negative : x * a->positive;
}
static inline double elu_backward_f64(double g, double x, const struct elu *a) {
    if (x > 0) return g * a->positive;
    return g * (a->is_result ? (x + a->negative) * a->input : exp(x * a->input) * a->negative * a->input);
}
HC_EW_BODY1_ARGS(elu_F64, double, double, struct elu, elu_f64)
HC_EW_BODY2_ARGS(elu_backward_F64, double, double, struct elu, elu_backward_f64)
#else
static const struct hc_ew FORWARD = {"aclnnElu", HC_EW_TABLE_FLOAT(elu), 0, HC_CLASS_FLOAT};
static const struct hc_ew BACKWARD = {"aclnnEluBackward", HC_EW_TABLE_FLOAT(elu_backward), 0, HC_CLASS_FLOAT};

/* All three scalars are required; PyTorch always passes them. */
static aclnnStatus set_args(const char *name, const aclScalar *alpha, const aclScalar *scale,
                            const aclScalar *inputScale, struct elu *args) {
    HC_CHECK(alpha && scale && inputScale, ACLNN_ERR_PARAM_NULLPTR, "%s: %s is null", name,
             !alpha   ? "alpha"
             : !scale ? "scale"
                      : "inputScale");
    *args = (struct elu){.negative = hc_scalar_f64(alpha) * hc_scalar_f64(scale),
                         .positive = hc_scalar_f64(scale),
                         .input = hc_scalar_f64(inputScale)};
    return 0;
}

/* `args` by set_args. */
static aclnnStatus plan(const char *name, const aclTensor *self, const struct elu *args, const aclTensor *out,
                        uint64_t *workspaceSize, aclOpExecutor **executor) {
    const aclTensor *outs[] = {out}, *ins[] = {self};
    return hc_ew_plan_as(name, &FORWARD, HC_CLASS_BOOL, outs, 1, ins, 1, args, sizeof *args, workspaceSize,
                         executor);
}

/* F.elu(self, alpha), with scale and inputScale for its relatives. */
HC_API aclnnStatus aclnnEluGetWorkspaceSize(const aclTensor *self, const aclScalar *alpha,
                                            const aclScalar *scale, const aclScalar *inputScale,
                                            aclTensor *out, uint64_t *workspaceSize,
                                            aclOpExecutor **executor) {
    struct elu args;
    HC_TRY(set_args("aclnnElu", alpha, scale, inputScale, &args));
    return plan("aclnnElu", self, &args, out, workspaceSize, executor);
}
HC_OP_LAUNCH(aclnnElu)

HC_API aclnnStatus aclnnInplaceEluGetWorkspaceSize(aclTensor *selfRef, const aclScalar *alpha,
                                                   const aclScalar *scale, const aclScalar *inputScale,
                                                   uint64_t *workspaceSize, aclOpExecutor **executor) {
    struct elu args;
    HC_TRY(set_args("aclnnInplaceElu", alpha, scale, inputScale, &args));
    return plan("aclnnInplaceElu", selfRef, &args, selfRef, workspaceSize, executor);
}
HC_OP_LAUNCH(aclnnInplaceElu)

/* PyTorch saves the result, not the input, where the forward was in place. */
HC_API aclnnStatus aclnnEluBackwardGetWorkspaceSize(const aclTensor *gradOutput, const aclScalar *alpha,
                                                    const aclScalar *scale, const aclScalar *inputScale,
                                                    bool isResult, const aclTensor *selfOrResult,
                                                    aclTensor *gradInput, uint64_t *workspaceSize,
                                                    aclOpExecutor **executor) {
    struct elu args;
    HC_TRY(set_args("aclnnEluBackward", alpha, scale, inputScale, &args));
    args.is_result = isResult;
    const aclTensor *outs[] = {gradInput}, *ins[] = {gradOutput, selfOrResult};
    return hc_ew_plan(&BACKWARD, HC_CLASS_BOOL, outs, 1, ins, 2, &args, sizeof args, workspaceSize, executor);
}
HC_OP_LAUNCH(aclnnEluBackward)
#endif
