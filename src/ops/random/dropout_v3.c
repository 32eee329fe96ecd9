// SPDX-License-Identifier: Apache-2.0
/* Dropout in one operator: makes the mask and applies it, two passes. The mask is an output, for the
 * gradient; 1 bit an element, so making it moves little beside the tensor itself. */
#include "dropout.h"

struct dropout {
    struct hc_philox philox;
    double prob;
};

static aclnnStatus dropout_run(const struct hc_call *call) {
    const struct dropout *a = call->args;
    const aclTensor *self = hc_arg(call, 0);
    void *mask = hc_data(hc_arg(call, 2));
    hc_dropout_fill_mask(a->philox, a->prob, hc_numel(self), mask);
    return hc_dropout_apply(hc_arg(call, 1), self, mask, a->prob < 1 ? 1 / (1 - a->prob) : 0);
}

/* torch_npu's native_dropout. A noise shape would drop whole rows together; it is refused. */
aclnnStatus aclnnDropoutV3GetWorkspaceSize(const aclTensor *input, const aclTensor *optionalNoiseShape,
                                           double p, int64_t seed, int64_t offset, aclTensor *out,
                                           aclTensor *maskOut, uint64_t *workspaceSize,
                                           aclOpExecutor **executor) {
    HC_CHECK(input != NULL && out != NULL, ACLNN_ERR_PARAM_NULLPTR, "aclnnDropoutV3: input or out is null");
    HC_CHECK(optionalNoiseShape == NULL, ACLNN_ERR_PARAM_INVALID,
             "aclnnDropoutV3: optionalNoiseShape %s is not supported, only null",
             HC_SHOW(optionalNoiseShape));
    HC_CHECK(hc_dtype_is_float(input->dtype) && input->dtype == out->dtype && hc_same_shape(input, out),
             ACLNN_ERR_PARAM_INVALID,
             "aclnnDropoutV3: input %s and out %s must be the same floating-point type and shape",
             HC_SHOW(input), HC_SHOW(out));
    HC_TRY(hc_dropout_check("aclnnDropoutV3", p, maskOut, -1, hc_numel(input)));
    const struct dropout args = {{(uint64_t)seed, (uint64_t)offset}, p};
    return HC_PLAN("aclnnDropoutV3", dropout_run, &args, HC_IN(input), HC_OUT(out), HC_OUT(maskOut));
}
HC_OP_LAUNCH(aclnnDropoutV3)
