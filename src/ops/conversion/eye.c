// SPDX-License-Identifier: Apache-2.0
/* out[i][j] = 1 where i == j, else 0: a fill, and a second one of the diagonal. */
#include "temporary.h"

/* The diagonal is a view: its stride is a row and a column at once. */
static aclnnStatus run(const struct hc_call *call) {
    const aclTensor *out = hc_arg(call, 0);
    const struct hc_element zero = {{0}};
    HC_TRY(hc_fill(out, &zero));
    aclTensor diagonal = *out;
    diagonal.rank = 1;
    diagonal.numel = diagonal.shape[0] = hc_min_i64(out->shape[0], out->shape[1]);
    diagonal.stride[0] = out->stride[0] + out->stride[1];
    return hc_fill(&diagonal, call->args);
}

/* torch.eye(n, m) in any dtype. */
HC_API aclnnStatus aclnnEyeGetWorkspaceSize(int64_t n, int64_t m, aclTensor *out, uint64_t *workspaceSize,
                                            aclOpExecutor **executor) {
    HC_CHECK(out != NULL, ACLNN_ERR_PARAM_NULLPTR, "aclnnEye: out is null");
    HC_CHECK(out->rank == 2 && out->shape[0] == n && out->shape[1] == m && out->item_size > 0,
             ACLNN_ERR_PARAM_INVALID, "aclnnEye: out is %s, wanted shape [%lld,%lld]", HC_SHOW(out),
             (long long)n, (long long)m);
    const struct hc_element one = hc_scalar_element(&(aclScalar){ACL_INT64, {.i = 1}}, out->dtype);
    return HC_PLAN("aclnnEye", run, &one, HC_OUT(out));
}
HC_OP_LAUNCH(aclnnEye)
