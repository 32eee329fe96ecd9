// SPDX-License-Identifier: Apache-2.0
/* AdamW, PyTorch's fused one. `step` is a one-element tensor that counts the steps already taken, so t = step
 * + 1. */
#include <math.h>

#include "adam_step.h"

static const char NAME[] = "aclnnApplyAdamWV2";

/* beta^t in double, from the betas that the caller wrote (adam_attribute). */
static aclnnStatus run(const struct hc_call *call) {
    struct adam a = *(const struct adam *)call->args;
    const double t = hc_foreach_read(hc_arg(call, 5), 0).F64 + 1;
    a.bias1 = 1 - pow(a.beta1, t);
    a.bias2 = 1 - pow(a.beta2, t);
    const aclTensor *max_v = a.flags & ADAM_AMSGRAD ? hc_arg(call, 3) : NULL;
    return adam_run(NAME, 1, hc_arg(call, 0), hc_arg(call, 1), hc_arg(call, 2), max_v, hc_arg(call, 4), &a,
                    false);
}

/* torch._fused_adamw_ for one tensor, settings by value. */
HC_API aclnnStatus aclnnApplyAdamWV2GetWorkspaceSize(aclTensor *varRef, aclTensor *mRef, aclTensor *vRef,
                                                     aclTensor *maxGradNormOptionalRef, const aclTensor *grad,
                                                     const aclTensor *step, float lr, float beta1,
                                                     float beta2, float weightDecay, float eps, bool amsgrad,
                                                     bool maximize, uint64_t *workspaceSize,
                                                     aclOpExecutor **executor) {
    aclTensor *max_v = amsgrad ? maxGradNormOptionalRef : NULL;
    HC_CHECK(!amsgrad || max_v, ACLNN_ERR_PARAM_NULLPTR,
             "%s: amsgrad needs maxGradNormOptionalRef, which is null", NAME);
    HC_TRY(adam_check(NAME, varRef, mRef, vRef, max_v, grad));
    HC_CHECK(step && step->numel == 1, ACLNN_ERR_PARAM_INVALID, "%s: step is %s, wanted one element", NAME,
             step ? HC_SHOW(step) : "null");
    const unsigned flags = ADAM_DECOUPLED | (amsgrad ? ADAM_AMSGRAD : 0u) | (maximize ? ADAM_MAXIMIZE : 0u);
    const struct adam args = {adam_attribute(lr),
                              adam_attribute(beta1),
                              adam_attribute(beta2),
                              adam_attribute(weightDecay),
                              adam_attribute(eps),
                              0,
                              0,
                              flags};
    return HC_PLAN(NAME, run, &args, HC_INOUT(varRef), HC_INOUT(mRef), HC_INOUT(vRef),
                   {maxGradNormOptionalRef, NULL, HC_ROLE_INOUT | HC_ROLE_OPTIONAL, "maxGradNormOptionalRef"},
                   HC_IN(grad), HC_IN(step));
}
HC_OP_LAUNCH(aclnnApplyAdamWV2)
