// SPDX-License-Identifier: Apache-2.0
/* Kullback-Leibler divergence of self, logarithms of probabilities, from target, element by element, its mean
 * or its sum: target (log target - self), where target is 0: 0; or with logarithms in target too
 * e^target (target - self). Gradients for both. As in PyTorch, but that the gradient for a target of 0 is 0.
 */
#include "pointwise.h"

HC_EW_KERNELS_FLOAT(kl_div)
HC_EW_KERNELS_FLOAT(kl_div_log)
HC_EW_KERNELS_FLOAT(kl_div_backward)
HC_EW_KERNELS_FLOAT(kl_div_log_backward)
HC_EW_KERNELS_FLOAT(kl_div_target_backward)
HC_EW_KERNELS_FLOAT(kl_div_log_target_backward)

#ifdef HC_ISA
#include <math.h>

#include "simd_math.h"

/* Inputs: self, target. The product with log 0 would be NaN: it is selected away, not branched around. */
static inline vf forward_vf(const vf *x, const struct loss_args *a) {
    (void)a;
    return vf_select(x[1] == 0.0f, vf_zero(), x[1] * vf_log(x[1])) - x[1] * x[0];
}
static inline double forward_f64(const double *x, const struct loss_args *a) {
    (void)a;
    return (x[1] == 0 ? 0 : x[1] * log(x[1])) - x[1] * x[0];
}
static inline vf forward_log_vf(const vf *x, const struct loss_args *a) {
    (void)a;
    return vf_exp(x[1]) * (x[1] - x[0]);
}
static inline double forward_log_f64(const double *x, const struct loss_args *a) {
    (void)a;
    return exp(x[1]) * (x[1] - x[0]);
}
LOSS_BODY_F32(kl_div, 2, forward_vf)
LOSS_BODY_F64(kl_div, 2, forward_f64)
LOSS_BODY_F32(kl_div_log, 2, forward_log_vf)
LOSS_BODY_F64(kl_div_log, 2, forward_log_f64)

/* Inputs: gradOutput, self, target. With respect to self the logarithm of target does not matter. */
static inline vf backward_vf(const vf *x, const struct loss_args *a) {
    return -x[2] * x[0] * (float)a->scale;
}
static inline double backward_f64(const double *x, const struct loss_args *a) {
    return -x[2] * x[0] * a->scale;
}
static inline vf backward_log_vf(const vf *x, const struct loss_args *a) {
    return -vf_exp(x[2]) * x[0] * (float)a->scale;
}
static inline double backward_log_f64(const double *x, const struct loss_args *a) {
    return -exp(x[2]) * x[0] * a->scale;
}
LOSS_BODY_F32(kl_div_backward, 3, backward_vf)
LOSS_BODY_F64(kl_div_backward, 3, backward_f64)
LOSS_BODY_F32(kl_div_log_backward, 3, backward_log_vf)
LOSS_BODY_F64(kl_div_log_backward, 3, backward_log_f64)

/* With respect to target: log target + 1 - self, and the same times e^target of its logarithm. */
static inline vf target_vf(const vf *x, const struct loss_args *a) {
    const vf y = (vf_log(x[2]) + 1.0f - x[1]) * x[0] * (float)a->scale;
    return vf_select(x[2] == 0.0f, vf_zero(), y);
}
static inline double target_f64(const double *x, const struct loss_args *a) {
    return x[2] == 0 ? 0 : (log(x[2]) + 1 - x[1]) * x[0] * a->scale;
}
static inline vf target_log_vf(const vf *x, const struct loss_args *a) {
    return vf_exp(x[2]) * (x[2] + 1.0f - x[1]) * x[0] * (float)a->scale;
}
static inline double target_log_f64(const double *x, const struct loss_args *a) {
    return exp(x[2]) * (x[2] + 1 - x[1]) * x[0] * a->scale;
}
LOSS_BODY_F32(kl_div_target_backward, 3, target_vf)
LOSS_BODY_F64(kl_div_target_backward, 3, target_f64)
LOSS_BODY_F32(kl_div_log_target_backward, 3, target_log_vf)
LOSS_BODY_F64(kl_div_log_target_backward, 3, target_log_f64)

#else
#define SPEC(name, op) {name, HC_EW_TABLE_FLOAT(op), 0, HC_CLASS_FLOAT}
/* By logTarget. */
static const struct hc_ew FORWARD[] = {SPEC("aclnnKlDiv", kl_div), SPEC("aclnnKlDiv", kl_div_log)};
static const struct hc_ew BACKWARD[] = {SPEC("aclnnKlDivBackward", kl_div_backward),
                                        SPEC("aclnnKlDivBackward", kl_div_log_backward)};
static const struct hc_ew TARGET[] = {SPEC("aclnnKlDivTargetBackward", kl_div_target_backward),
                                      SPEC("aclnnKlDivTargetBackward", kl_div_log_target_backward)};

/* F.kl_div(self, target, reduction, log_target) */
HC_API aclnnStatus aclnnKlDivGetWorkspaceSize(const aclTensor *self, const aclTensor *target,
                                              int64_t reduction, bool logTarget, aclTensor *out,
                                              uint64_t *workspaceSize, aclOpExecutor **executor) {
    return loss_plan(LOSS("aclnnKlDiv", FORWARD[logTarget], reduction, 0, self, target), out, workspaceSize,
                     executor);
}
HC_OP_LAUNCH(aclnnKlDiv)

HC_API aclnnStatus aclnnKlDivBackwardGetWorkspaceSize(const aclTensor *gradOutput, const aclTensor *self,
                                                      const aclTensor *target, int64_t reduction,
                                                      bool logTarget, aclTensor *out, uint64_t *workspaceSize,
                                                      aclOpExecutor **executor) {
    return loss_plan_gradient(
        LOSS("aclnnKlDivBackward", BACKWARD[logTarget], reduction, 0, gradOutput, self, target), out,
        workspaceSize, executor);
}
HC_OP_LAUNCH(aclnnKlDivBackward)

HC_API aclnnStatus aclnnKlDivTargetBackwardGetWorkspaceSize(const aclTensor *gradOutput,
                                                            const aclTensor *self, const aclTensor *target,
                                                            int64_t reduction, bool logTarget,
                                                            aclTensor *gradTarget, uint64_t *workspaceSize,
                                                            aclOpExecutor **executor) {
    return loss_plan_gradient(
        LOSS("aclnnKlDivTargetBackward", TARGET[logTarget], reduction, 0, gradOutput, self, target),
        gradTarget, workspaceSize, executor);
}
HC_OP_LAUNCH(aclnnKlDivTargetBackward)
#endif
