// SPDX-License-Identifier: Apache-2.0
/* AdamW whose settings are one-element tensors. beta1Power and beta2Power are the betas to the power of the
 * steps already taken. */
#include "adam_step.h"

static const char NAME[] = "aclnnApplyAdamW";
enum { BETA1_POWER = 3, BETA2_POWER, LR, WEIGHT_DECAY, BETA1, BETA2, EPS, GRAD, MAX_V };

/* Settings are device memory: read when the step runs. */
static double read(const struct hc_call *call, int slot) {
    return hc_foreach_read(hc_arg(call, slot), 0).F64;
}

/* One multiplication makes the powers those of this step. */
static aclnnStatus run(const struct hc_call *call) {
    const double beta1 = read(call, BETA1), beta2 = read(call, BETA2);
    const struct adam a = {.lr = read(call, LR),
                           .beta1 = beta1,
                           .beta2 = beta2,
                           .weight_decay = read(call, WEIGHT_DECAY),
                           .eps = read(call, EPS),
                           .bias1 = 1 - read(call, BETA1_POWER) * beta1,
                           .bias2 = 1 - read(call, BETA2_POWER) * beta2,
                           .flags = *(const unsigned *)call->args};
    const aclTensor *max_v = a.flags & ADAM_AMSGRAD ? hc_arg(call, MAX_V) : NULL;
    return adam_run(NAME, 1, hc_arg(call, 0), hc_arg(call, 1), hc_arg(call, 2), max_v, hc_arg(call, GRAD), &a,
                    false);
}

/* maxGradNormOptional is, despite its name, the largest v of amsgrad; it is updated. */
HC_API aclnnStatus aclnnApplyAdamWGetWorkspaceSize(
    aclTensor *varRef, aclTensor *mRef, aclTensor *vRef, const aclTensor *beta1Power,
    const aclTensor *beta2Power, const aclTensor *lr, const aclTensor *weightDecay, const aclTensor *beta1,
    const aclTensor *beta2, const aclTensor *eps, const aclTensor *grad, const aclTensor *maxGradNormOptional,
    bool amsgrad, bool maximize, uint64_t *workspaceSize, aclOpExecutor **executor) {
    const aclTensor *max_v = amsgrad ? maxGradNormOptional : NULL;
    HC_CHECK(!amsgrad || max_v, ACLNN_ERR_PARAM_NULLPTR,
             "%s: amsgrad needs maxGradNormOptional, which is null", NAME);
    HC_TRY(adam_check(NAME, varRef, mRef, vRef, max_v, grad));
    const aclTensor *settings[] = {beta1Power, beta2Power, lr, weightDecay, beta1, beta2, eps};
    for (size_t i = 0; i < HC_ARRAY_SIZE(settings); i++) {
        HC_CHECK(settings[i] && settings[i]->numel == 1, ACLNN_ERR_PARAM_INVALID,
                 "%s: setting %zu (beta1Power, beta2Power, lr, weightDecay, beta1, beta2, eps) is %s, wanted "
                 "one element",
                 NAME, i, settings[i] ? HC_SHOW(settings[i]) : "null");
    }
    const unsigned flags = ADAM_DECOUPLED | (amsgrad ? ADAM_AMSGRAD : 0u) | (maximize ? ADAM_MAXIMIZE : 0u);
    return HC_PLAN(NAME, run, &flags, HC_INOUT(varRef), HC_INOUT(mRef), HC_INOUT(vRef), HC_IN(beta1Power),
                   HC_IN(beta2Power), HC_IN(lr), HC_IN(weightDecay), HC_IN(beta1), HC_IN(beta2), HC_IN(eps),
                   HC_IN(grad),
                   {maxGradNormOptional, NULL, HC_ROLE_INOUT | HC_ROLE_OPTIONAL, "maxGradNormOptional"});
}
HC_OP_LAUNCH(aclnnApplyAdamW)
