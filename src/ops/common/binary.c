// SPDX-License-Identifier: Apache-2.0
/* Planning of operators with two operands, one of which may be a scalar. */
#include "binary.h"

/* Truth values count as integers. */
static enum hc_dtype_class class_of_block(enum hc_block block) {
    return block == HC_C128                     ? HC_CLASS_COMPLEX
           : block == HC_F32 || block == HC_F64 ? HC_CLASS_FLOAT
                                                : HC_CLASS_INT;
}

/* A scalar counts by its class only, as in PyTorch: 2.5 makes an integer tensor float, and leaves a
 * bfloat16 one what it is. */
enum hc_block hc_ew_compute_scalar(const struct hc_ew *op, const aclTensor *out, const aclTensor *self,
                                   const aclScalar *scalar) {
    const aclTensor *outs[] = {out}, *ins[] = {self};
    const enum hc_block block = hc_ew_compute(op, outs, 1, ins, 1);
    const enum hc_dtype_class wanted = hc_dtype_class(scalar->dtype);
    if (wanted <= class_of_block(block) || wanted <= HC_CLASS_INT) return block;
    return wanted == HC_CLASS_COMPLEX ? HC_C128 : HC_F32;
}

/* `round`: comparisons see the scalar in the tensor's own precision, as PyTorch does (0.1 ==
 * bfloat16(0.1)); arithmetic uses it in float. */
static aclnnStatus plan_scalar(const char *name, const struct hc_ew *op, const aclTensor *self,
                               const aclScalar *scalar, const aclTensor *out, bool round,
                               uint64_t *workspaceSize, aclOpExecutor **executor) {
    HC_CHECK(self && out, ACLNN_ERR_PARAM_NULLPTR, "%s: %s is null", name, self ? "out" : "self");
    HC_CHECK(scalar, ACLNN_ERR_PARAM_NULLPTR, "%s: the scalar argument is null", name);
    const aclTensor *outs[] = {out}, *ins[] = {self};
    const enum hc_block block = hc_ew_compute_scalar(op, out, self, scalar);
    struct hc_ew_scalar value = hc_ew_scalar(scalar);
    if (round && self->dtype == ACL_BF16) value.F32 = hc_bf16_to_f32(hc_f32_to_bf16(value.F32));
    if (round && self->dtype == ACL_FLOAT16) value.F32 = hc_f16_to_f32(hc_f32_to_f16(value.F32));
    return hc_ew_plan_as(name, op, (int)block, outs, 1, ins, 1, &value, sizeof value, workspaceSize,
                         executor);
}

aclnnStatus hc_ew_plan_scalar(const char *name, const struct hc_ew *op, const aclTensor *self,
                              const aclScalar *scalar, const aclTensor *out, uint64_t *workspaceSize,
                              aclOpExecutor **executor) {
    return plan_scalar(name, op, self, scalar, out, false, workspaceSize, executor);
}

aclnnStatus hc_ew_plan_compare_scalar(const char *name, const struct hc_ew *op, const aclTensor *self,
                                      const aclScalar *scalar, const aclTensor *out, uint64_t *workspaceSize,
                                      aclOpExecutor **executor) {
    return plan_scalar(name, op, self, scalar, out, true, workspaceSize, executor);
}

/* As in PyTorch: a float result does not go into an integer output, nor a complex one into a real one. */
static aclnnStatus check_result_class(const char *name, const struct hc_ew *op, const aclTensor *self,
                                      const aclTensor *other, const aclTensor *out) {
    if (op->truth & 1) return 0;
    const aclDataType type = hc_dtype_promote(self->dtype, other->dtype);
    enum hc_dtype_class result = hc_dtype_class(type);
    if (result < op->at_least) result = op->at_least;
    HC_CHECK(result <= hc_dtype_class(out->dtype), ACLNN_ERR_PARAM_INVALID,
             "%s: the result of %s with %s can't be cast to the desired output type of %s", name,
             HC_SHOW(self), HC_SHOW(other), HC_SHOW(out));
    return 0;
}

/* A result that out cannot hold (float into integer) is refused as in PyTorch, not truncated. */
aclnnStatus hc_ew_plan_binary(const char *name, const struct hc_ew *op, const aclTensor *self,
                              const aclTensor *other, const aclTensor *out, uint64_t *workspaceSize,
                              aclOpExecutor **executor) {
    const aclTensor *outs[] = {out}, *ins[] = {self, other};
    HC_CHECK(self && other && out, ACLNN_ERR_PARAM_NULLPTR, "%s: %s is null", name,
             !self    ? "self"
             : !other ? "other"
                      : "out");
    HC_TRY(check_result_class(name, op, self, other, out));
    return hc_ew_plan_as(name, op, -1, outs, 1, ins, 2, NULL, 0, workspaceSize, executor);
}

aclnnStatus hc_ew_plan_binary_scalar(const char *name, const struct hc_ew *op, const aclTensor *self,
                                     const aclTensor *other, const aclScalar *scalar, const aclTensor *out,
                                     uint64_t *workspaceSize, aclOpExecutor **executor) {
    const aclTensor *outs[] = {out}, *ins[] = {self, other};
    HC_CHECK(self && other && out, ACLNN_ERR_PARAM_NULLPTR, "%s: %s is null", name,
             !self    ? "self"
             : !other ? "other"
                      : "out");
    HC_CHECK(scalar, ACLNN_ERR_PARAM_NULLPTR, "%s: the scalar argument is null", name);
    HC_TRY(check_result_class(name, op, self, other, out));
    const struct hc_ew_scalar value = hc_ew_scalar(scalar);
    return hc_ew_plan_as(name, op, -1, outs, 1, ins, 2, &value, sizeof value, workspaceSize, executor);
}

/* Integers wrap as they do in tensors. */
static aclScalar product_of(const aclScalar *a, const aclScalar *b) {
    const enum hc_dtype_class class_a = hc_dtype_class(a->dtype), class_b = hc_dtype_class(b->dtype);
    const enum hc_dtype_class higher = class_a > class_b ? class_a : class_b;
    if (higher == HC_CLASS_COMPLEX) {
        const hc_c128 x = hc_scalar_c128(a), y = hc_scalar_c128(b);
        return (aclScalar){ACL_COMPLEX128, {.c = {x.re * y.re - x.im * y.im, x.re * y.im + x.im * y.re}}};
    }
    if (higher == HC_CLASS_FLOAT) return (aclScalar){ACL_DOUBLE, {.f = hc_scalar_f64(a) * hc_scalar_f64(b)}};
    const uint64_t wrapped = (uint64_t)hc_scalar_i64(a) * (uint64_t)hc_scalar_i64(b);
    return (aclScalar){ACL_INT64, {.i = (int64_t)wrapped}};
}

aclnnStatus hc_ew_plan_scalar_times(const char *name, const struct hc_ew *op, const aclTensor *self,
                                    const aclScalar *other, const aclScalar *alpha, const aclTensor *out,
                                    uint64_t *workspaceSize, aclOpExecutor **executor) {
    HC_CHECK(other && alpha, ACLNN_ERR_PARAM_NULLPTR, "%s: %s is null", name, other ? "alpha" : "other");
    const aclScalar product = product_of(other, alpha);
    return hc_ew_plan_scalar(name, op, self, &product, out, workspaceSize, executor);
}
