// SPDX-License-Identifier: Apache-2.0
/* -weight (target log self + (1 - target) log(1 - self)), element by element, its mean or its sum, and its
 * gradient. As in PyTorch logarithms are at least -100, so that the loss of a wrong certainty is finite, and
 * the gradient divides by 1e-12 at least. */
#include "pointwise.h"

HC_EW_KERNELS_FLOAT(bce)
HC_EW_KERNELS_FLOAT(bce_backward)

#ifdef HC_ISA
#include <math.h>

#include "simd_math.h"

#define LEAST_LOG (-100.0f)
#define LEAST_DIVISOR 1e-12f /* also in float64, as PyTorch has it */

/* Not a probability, or NaN: rare, and so looked for lane by lane. */
static inline void check_vf(const vf *x, const struct loss_args *a) {
    const vi wrong = ~((x[0] >= 0.0f) & (x[0] <= 1.0f) & (x[1] >= 0.0f) & (x[1] <= 1.0f));
    int32_t any = 0;
    for (int i = 0; i < HC_VL; i++) any |= wrong[i];
    if (HC_LIKELY(any == 0)) return;
    for (int i = 0; i < HC_VL; i++) {
        const int in = x[0][i] >= 0 && x[0][i] <= 1;
        if (wrong[i] != 0) loss_tell_outside(a->outside, in, (double)x[in][i]);
    }
}
static inline void check_f64(const double *x, const struct loss_args *a) {
    for (int in = 0; in < 2; in++)
        if (!(x[in] >= 0 && x[in] <= 1)) loss_tell_outside(a->outside, in, x[in]);
}

/* Inputs: self, target, weight. log1p(-x) keeps the digits of 1 - x where x is small. The padding of a last,
 * short vector is zeros, which are probabilities. */
static inline vf forward_vf(const vf *x, const struct loss_args *a) {
    check_vf(x, a);
    const vf yes = vf_max(vf_log(x[0]), vf_set(LEAST_LOG)), no = vf_max(vf_log1p(-x[0]), vf_set(LEAST_LOG));
    return ((x[1] - 1.0f) * no - x[1] * yes) * x[2];
}
static inline double forward_f64(const double *x, const struct loss_args *a) {
    check_f64(x, a);
    const double yes = fmax(log(x[0]), (double)LEAST_LOG), no = fmax(log1p(-x[0]), (double)LEAST_LOG);
    return ((x[1] - 1) * no - x[1] * yes) * x[2];
}
LOSS_BODY_F32(bce, 3, forward_vf)
LOSS_BODY_F64(bce, 3, forward_f64)

/* Inputs: gradOutput, self, target, weight. Nothing is looked at again: the forward has refused what is no
 * probability. */
static inline vf backward_vf(const vf *x, const struct loss_args *a) {
    const vf divisor = vf_max((1.0f - x[1]) * x[1], vf_set(LEAST_DIVISOR));
    return x[0] * (x[1] - x[2]) / divisor * x[3] * (float)a->scale;
}
static inline double backward_f64(const double *x, const struct loss_args *a) {
    const double product = (1 - x[1]) * x[1],
                 divisor = product < (double)LEAST_DIVISOR ? (double)LEAST_DIVISOR : product;
    return x[0] * (x[1] - x[2]) / divisor * x[3] * a->scale;
}
LOSS_BODY_F32(bce_backward, 4, backward_vf)
LOSS_BODY_F64(bce_backward, 4, backward_f64)

#else
static const struct hc_ew FORWARD = {"aclnnBinaryCrossEntropy", HC_EW_TABLE_FLOAT(bce), 0, HC_CLASS_FLOAT};
static const struct hc_ew BACKWARD = {"aclnnBinaryCrossEntropyBackward", HC_EW_TABLE_FLOAT(bce_backward), 0,
                                      HC_CLASS_FLOAT};

/* F.binary_cross_entropy(self, target, weight, reduction). An element of self or target that is no
 * probability is an error, as in PyTorch. */
HC_API aclnnStatus aclnnBinaryCrossEntropyGetWorkspaceSize(const aclTensor *self, const aclTensor *target,
                                                           const aclTensor *weight, int64_t reduction,
                                                           aclTensor *out, uint64_t *workspaceSize,
                                                           aclOpExecutor **executor) {
    return loss_plan(LOSS("aclnnBinaryCrossEntropy", FORWARD, reduction, 1, self, target, weight), out,
                     workspaceSize, executor);
}
HC_OP_LAUNCH(aclnnBinaryCrossEntropy)

HC_API aclnnStatus aclnnBinaryCrossEntropyBackwardGetWorkspaceSize(
    const aclTensor *gradOutput, const aclTensor *self, const aclTensor *target,
    const aclTensor *weightOptional, int64_t reduction, aclTensor *out, uint64_t *workspaceSize,
    aclOpExecutor **executor) {
    return loss_plan_gradient(LOSS("aclnnBinaryCrossEntropyBackward", BACKWARD, reduction, 1, gradOutput,
                                   self, target, weightOptional),
                              out, workspaceSize, executor);
}
HC_OP_LAUNCH(aclnnBinaryCrossEntropyBackward)
#endif
