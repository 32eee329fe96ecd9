// SPDX-License-Identifier: Apache-2.0
/* selfRef = one value everywhere: a scalar, a tensor of one element, zero or one. A copy of a repeated
 * element. */
#include "temporary.h"

static aclnnStatus run_value(const struct hc_call *call) { return hc_fill(hc_arg(call, 0), call->args); }
static aclnnStatus run_tensor(const struct hc_call *call) {
    return hc_copy(hc_arg(call, 0), hc_arg(call, 1));
}

/* The scalar becomes bytes of the tensor's type here, so that the run copies without converting. */
static aclnnStatus plan_value(const char *name, const aclTensor *selfRef, const aclScalar *value,
                              uint64_t *workspaceSize, aclOpExecutor **executor) {
    HC_CHECK(selfRef && value, ACLNN_ERR_PARAM_NULLPTR, "%s: %s is null", name,
             selfRef ? "value" : "selfRef");
    HC_CHECK(selfRef->item_size > 0, ACLNN_ERR_PARAM_INVALID,
             "%s: selfRef has element type %s, which is not supported", name, hc_dtype_name(selfRef->dtype));
    const struct hc_element element = hc_scalar_element(value, selfRef->dtype);
    return HC_PLAN(name, run_value, &element, HC_OUT(selfRef));
}

/* self.fill_(number): what the type cannot hold is converted as in an assignment. */
HC_API aclnnStatus aclnnInplaceFillScalarGetWorkspaceSize(aclTensor *selfRef, const aclScalar *value,
                                                          uint64_t *workspaceSize, aclOpExecutor **executor) {
    return plan_value("aclnnInplaceFillScalar", selfRef, value, workspaceSize, executor);
}
HC_OP_LAUNCH(aclnnInplaceFillScalar)

/* self.zero_(): an element of zero bytes, repeated. No memset, since self may have gaps. */
HC_API aclnnStatus aclnnInplaceZeroGetWorkspaceSize(aclTensor *selfRef, uint64_t *workspaceSize,
                                                    aclOpExecutor **executor) {
    return plan_value("aclnnInplaceZero", selfRef, &(aclScalar){ACL_INT64, {.i = 0}}, workspaceSize,
                      executor);
}
HC_OP_LAUNCH(aclnnInplaceZero)

/* The interface takes this one as const; it is written all the same. */
HC_API aclnnStatus aclnnInplaceOneGetWorkspaceSize(const aclTensor *selfRef, uint64_t *workspaceSize,
                                                   aclOpExecutor **executor) {
    return plan_value("aclnnInplaceOne", selfRef, &(aclScalar){ACL_INT64, {.i = 1}}, workspaceSize, executor);
}
HC_OP_LAUNCH(aclnnInplaceOne)

/* self.fill_(tensor): the value lies in device memory and is read in the run, so a task before this one
 * may still be about to write it. */
HC_API aclnnStatus aclnnInplaceFillTensorGetWorkspaceSize(aclTensor *selfRef, const aclTensor *value,
                                                          uint64_t *workspaceSize, aclOpExecutor **executor) {
    HC_CHECK(selfRef && value, ACLNN_ERR_PARAM_NULLPTR, "aclnnInplaceFillTensor: %s is null",
             selfRef ? "value" : "selfRef");
    HC_CHECK(value->numel == 1 && value->rank <= 1, ACLNN_ERR_PARAM_INVALID,
             "aclnnInplaceFillTensor: value is %s, wanted one element and at most one dimension",
             HC_SHOW(value));
    return HC_PLAN0("aclnnInplaceFillTensor", run_tensor, HC_OUT(selfRef), HC_IN(value));
}
HC_OP_LAUNCH(aclnnInplaceFillTensor)
