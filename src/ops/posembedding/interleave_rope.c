// SPDX-License-Identifier: Apache-2.0
/* Rotary embedding of rows whose pairs are neighbours and whose result is in halves: even and odd
 * elements are gathered first, then turned as ROTARY_HALF does. This is how DeepSeek's checkpoints have
 * them. */
#include "rotary.h"

static const char NAME[] = "aclnnInterleaveRope";

static aclnnStatus run(const struct hc_call *call) {
    return rotary_forward(hc_arg(call, 0), hc_arg(call, 1), hc_arg(call, 2), hc_arg(call, 3),
                          ROTARY_INTERLEAVE_HALF);
}

/* torch_npu.npu_interleave_rope(x, cos, sin). */
HC_API aclnnStatus aclnnInterleaveRopeGetWorkspaceSize(const aclTensor *x, const aclTensor *cos,
                                                       const aclTensor *sin, aclTensor *out,
                                                       uint64_t *workspaceSize, aclOpExecutor **executor) {
    HC_TRY(rotary_check(NAME, x, cos, sin, out, ROTARY_INTERLEAVE_HALF, false));
    return HC_PLAN0(NAME, run, HC_IN(x), HC_IN(cos), HC_IN(sin), HC_OUT(out));
}
HC_OP_LAUNCH(aclnnInterleaveRope)
