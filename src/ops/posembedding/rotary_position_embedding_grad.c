// SPDX-License-Identifier: Apache-2.0
/* Gradients of the rotary embedding. dcos and dsin need x; without it they are not wanted, and become zero.
 */
#include "rotary.h"
#include "temporary.h"

static const char NAME[] = "aclnnRotaryPositionEmbeddingGrad";
/* Operands in the order of the plan. */
enum { DY, COS, SIN, X, DX, DCOS, DSIN };

/* dx is the rotation back; the tables' gradients are needed only where they are learnt, which they hardly
 * ever are. */
static aclnnStatus run(const struct hc_call *call) {
    const int mode = *(const int *)call->args;
    HC_TRY(rotary_backward(hc_arg(call, DY), hc_arg(call, COS), hc_arg(call, SIN), hc_arg(call, DX), mode));
    const aclTensor *x = hc_arg(call, X), *dcos = hc_arg(call, DCOS), *dsin = hc_arg(call, DSIN);
    if (dcos == NULL || dsin == NULL) return 0;
    if (x != NULL && x->numel > 0) return rotary_table_backward(hc_arg(call, DY), x, dcos, dsin, mode);
    const struct hc_element zero = {{0}};
    HC_TRY(hc_fill(dcos, &zero));
    return hc_fill(dsin, &zero);
}

/* The tables' gradients have the tables' shapes: summed over what they were repeated along. */
HC_API aclnnStatus aclnnRotaryPositionEmbeddingGradGetWorkspaceSize(
    const aclTensor *dy, const aclTensor *cos, const aclTensor *sin, const aclTensor *xOptional, int64_t mode,
    const aclTensor *dxOut, const aclTensor *dcosOut, const aclTensor *dsinOut, uint64_t *workspaceSize,
    aclOpExecutor **executor) {
    HC_TRY(rotary_check(NAME, dy, cos, sin, dxOut, mode, false));
    HC_CHECK(xOptional == NULL || hc_same_shape(xOptional, dy), ACLNN_ERR_PARAM_INVALID,
             "%s: xOptional is %s, dy is %s, wanted the same shape", NAME, HC_SHOW(xOptional), HC_SHOW(dy));
    HC_CHECK(xOptional == NULL || (dcosOut && dsinOut), ACLNN_ERR_PARAM_NULLPTR,
             "%s: xOptional is given but dcosOut or dsinOut is null", NAME);
    HC_CHECK((dcosOut == NULL || hc_same_shape(dcosOut, cos)) &&
                 (dsinOut == NULL || hc_same_shape(dsinOut, sin)),
             ACLNN_ERR_PARAM_INVALID, "%s: dcosOut and dsinOut must have the shape of cos, %s", NAME,
             HC_SHOW(cos));
    const int args = (int)mode;
    return HC_PLAN(NAME, run, &args, HC_IN(dy), HC_IN(cos), HC_IN(sin), HC_IN_OPT(xOptional), HC_OUT(dxOut),
                   HC_OUT_OPT(dcosOut), HC_OUT_OPT(dsinOut));
}
HC_OP_LAUNCH(aclnnRotaryPositionEmbeddingGrad)
