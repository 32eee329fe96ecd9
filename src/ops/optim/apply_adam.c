// SPDX-License-Identifier: Apache-2.0
/* Adam in the older form: the bias corrections make one rate, and eps is added to the uncorrected square
 * root. lr_t = lr * sqrt(1 - beta2Power) / (1 - beta1Power);  var -= lr_t * m / (sqrt(v) + eps) beta1Power
 * and beta2Power include this step. useLocking asks for exclusion that a stream gives anyway. */
#include <math.h>

#include "adam_step.h"

static const char NAME[] = "aclnnApplyAdam";
enum { BETA1_POWER = 3, BETA2_POWER, LR, BETA1, BETA2, EPSILON, GRAD };

/* Settings are device memory: read when the step runs. */
static double read(const struct hc_call *call, int slot) {
    return hc_foreach_read(hc_arg(call, slot), 0).F64;
}

/* bias1 and bias2 of 1 switch the corrections of adam_step.h off: they are in the rate. */
static aclnnStatus run(const struct hc_call *call) {
    const double lr = read(call, LR) * sqrt(1 - read(call, BETA2_POWER)) / (1 - read(call, BETA1_POWER));
    const struct adam a = {.lr = lr,
                           .beta1 = read(call, BETA1),
                           .beta2 = read(call, BETA2),
                           .eps = read(call, EPSILON),
                           .bias1 = 1,
                           .bias2 = 1,
                           .flags = *(const unsigned *)call->args};
    return adam_run(NAME, 1, hc_arg(call, 0), hc_arg(call, 1), hc_arg(call, 2), NULL, hc_arg(call, GRAD), &a,
                    false);
}

/* Settings are tensors of one element, so a schedule can run on the device. */
HC_API aclnnStatus aclnnApplyAdamGetWorkspaceSize(aclTensor *varRef, const aclTensor *m, const aclTensor *v,
                                                  const aclTensor *beta1Power, const aclTensor *beta2Power,
                                                  const aclTensor *lr, const aclTensor *beta1,
                                                  const aclTensor *beta2, const aclTensor *epsilon,
                                                  const aclTensor *grad, bool useLocking, bool useNesterov,
                                                  uint64_t *workspaceSize, aclOpExecutor **executor) {
    (void)useLocking;
    HC_TRY(adam_check(NAME, varRef, m, v, NULL, grad));
    const aclTensor *settings[] = {beta1Power, beta2Power, lr, beta1, beta2, epsilon};
    for (size_t i = 0; i < HC_ARRAY_SIZE(settings); i++) {
        HC_CHECK(
            settings[i] && settings[i]->numel == 1, ACLNN_ERR_PARAM_INVALID,
            "%s: setting %zu (beta1Power, beta2Power, lr, beta1, beta2, epsilon) is %s, wanted one element",
            NAME, i, settings[i] ? HC_SHOW(settings[i]) : "null");
    }
    const unsigned flags = useNesterov ? ADAM_NESTEROV : 0u;
    return HC_PLAN(NAME, run, &flags, HC_INOUT(varRef), HC_INOUT(m), HC_INOUT(v), HC_IN(beta1Power),
                   HC_IN(beta2Power), HC_IN(lr), HC_IN(beta1), HC_IN(beta2), HC_IN(epsilon), HC_IN(grad));
}
HC_OP_LAUNCH(aclnnApplyAdam)
