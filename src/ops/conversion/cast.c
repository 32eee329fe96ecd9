// SPDX-License-Identifier: Apache-2.0
/* out = self in another dtype, element by element; and selfRef = src with broadcasting, strides and dtype
 * changed. All the work is hc_copy's. */
#include "elementwise.h"
#include "fp4.h"

static aclnnStatus run(const struct hc_call *call) { return hc_copy(hc_arg(call, 0), hc_arg(call, 1)); }

/* One of the two is fp4, planned by its bytes: args say which type each has. */
static aclnnStatus run_fp4(const struct hc_call *call) {
    const aclDataType *types = call->args;
    const aclTensor *out = hc_arg(call, 0), *self = hc_arg(call, 1);
    return hc_is_fp4(types[0]) ? hc_fp4_from(self, types[0], out) : hc_fp4_to(self, types[1], out);
}

/* The shapes of both are in elements, the last two dimensions' order decides where pairs lie. */
static aclnnStatus plan_fp4(const aclTensor *self, const aclTensor *out, uint64_t *workspaceSize,
                            aclOpExecutor **executor) {
    const aclDataType types[] = {out->dtype, self->dtype};
    const aclTensor *four = hc_is_fp4(out->dtype) ? out : self, *other = four == out ? self : out;
    HC_CHECK(hc_dtype_size(other->dtype) > 0 && four->rank > 0 && four->stride[four->rank - 1] == 1,
             ACLNN_ERR_PARAM_INVALID,
             "aclnnCast: self is %s, out %s: wanted one of fp4, packed along its last dimension",
             HC_SHOW(self), HC_SHOW(out));
    HC_TRY(hc_fp4_check("aclnnCast", four == out ? "out" : "self", four));
    const aclTensor bytes = hc_fp4_bytes(four);
    if (four == out) out = &bytes;
    else self = &bytes;
    return HC_PLAN("aclnnCast", run_fp4, &types, HC_OUT(out), HC_IN(self));
}

/* self.to(dtype). Floats to integers truncate. Narrowing floats round to nearest, ties to even. */
HC_API aclnnStatus aclnnCastGetWorkspaceSize(const aclTensor *self, const aclDataType dtype, aclTensor *out,
                                             uint64_t *workspaceSize, aclOpExecutor **executor) {
    HC_CHECK(self && out, ACLNN_ERR_PARAM_NULLPTR, "aclnnCast: %s is null", self ? "out" : "self");
    HC_CHECK(out->dtype == dtype, ACLNN_ERR_PARAM_INVALID,
             "aclnnCast: out is %s, dtype is %s, wanted the same", HC_SHOW(out), hc_dtype_name(dtype));
    HC_CHECK(hc_same_shape(self, out), ACLNN_ERR_PARAM_INVALID,
             "aclnnCast: out is %s, self is %s: shapes must be equal", HC_SHOW(out), HC_SHOW(self));
    if (hc_is_fp4(self->dtype) || hc_is_fp4(out->dtype)) return plan_fp4(self, out, workspaceSize, executor);
    return HC_PLAN0("aclnnCast", run, HC_OUT(out), HC_IN(self));
}
HC_OP_LAUNCH(aclnnCast)

/* selfRef is written whole, so it is an output only and src may be any view of it: hc_copy sees the
 * overlap. */
HC_API aclnnStatus aclnnInplaceCopyGetWorkspaceSize(aclTensor *selfRef, const aclTensor *src,
                                                    uint64_t *workspaceSize, aclOpExecutor **executor) {
    aclTensor view;
    HC_CHECK(selfRef && src, ACLNN_ERR_PARAM_NULLPTR, "aclnnInplaceCopy: %s is null",
             selfRef ? "src" : "selfRef");
    HC_CHECK(hc_broadcast_to(src, selfRef->shape, selfRef->rank, &view), ACLNN_ERR_PARAM_INVALID,
             "aclnnInplaceCopy: src %s does not broadcast to selfRef %s", HC_SHOW(src), HC_SHOW(selfRef));
    return HC_PLAN0("aclnnInplaceCopy", run, HC_OUT(selfRef), HC_IN(src));
}
HC_OP_LAUNCH(aclnnInplaceCopy)
