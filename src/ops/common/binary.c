// SPDX-License-Identifier: Apache-2.0
/* Planning of operators with two operands, one of which may be a scalar. */
#include "binary.h"

#include "messages.h"

/* `round`: comparisons see the scalar in the tensor's own precision, as PyTorch does (0.1 ==
 * bfloat16(0.1)); arithmetic uses it in float. */
static aclnnStatus plan_scalar(const char *name, const struct hc_ew *op, const aclTensor *self,
                               const aclScalar *scalar, const aclTensor *out, bool round,
                               uint64_t *workspaceSize, aclOpExecutor **executor) {
    HC_CHECK(self, ACLNN_ERR_PARAM_NULLPTR, "%s: %s is null", name, hc_tensor_name(name, 0));
    HC_CHECK(scalar, ACLNN_ERR_PARAM_NULLPTR, "%s: %s is null", name, hc_scalar_name(name, 0));
    const aclTensor *outs[] = {out}, *ins[] = {self};
    struct hc_ew_scalar value = hc_ew_scalar(scalar);
    if (round && self->dtype == ACL_BF16) value.F32 = hc_bf16_to_f32(hc_f32_to_bf16(value.F32));
    if (round && self->dtype == ACL_FLOAT16) value.F32 = hc_f16_to_f32(hc_f32_to_f16(value.F32));
    return hc_ew_plan_as(name, op, hc_dtype_class(scalar->dtype), outs, 1, ins, 1, &value, sizeof value,
                         workspaceSize, executor);
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

aclnnStatus hc_ew_plan_binary(const char *name, const struct hc_ew *op, const aclTensor *self,
                              const aclTensor *other, const aclTensor *out, uint64_t *workspaceSize,
                              aclOpExecutor **executor) {
    const aclTensor *outs[] = {out}, *ins[] = {self, other};
    return hc_ew_plan_as(name, op, HC_CLASS_BOOL, outs, 1, ins, 2, NULL, 0, workspaceSize, executor);
}

aclnnStatus hc_ew_plan_binary_scalar(const char *name, const struct hc_ew *op, const aclTensor *self,
                                     const aclTensor *other, const aclScalar *scalar, const aclTensor *out,
                                     uint64_t *workspaceSize, aclOpExecutor **executor) {
    const aclTensor *outs[] = {out}, *ins[] = {self, other};
    HC_CHECK(self && other, ACLNN_ERR_PARAM_NULLPTR, "%s: %s is null", name,
             hc_tensor_name(name, self ? 1 : 0));
    HC_CHECK(scalar, ACLNN_ERR_PARAM_NULLPTR, "%s: %s is null", name, hc_scalar_name(name, 0));
    if (op->result & HC_EW_ALPHA)
        HC_TRY(hc_check_alpha(name, hc_result_type(ins, 2, &(struct hc_result_rule){0}), scalar));
    const struct hc_ew_scalar value = hc_ew_scalar(scalar);
    return hc_ew_plan_as(name, op, HC_CLASS_BOOL, outs, 1, ins, 2, &value, sizeof value, workspaceSize,
                         executor);
}

/* As the skeleton does for tensors. */
aclnnStatus hc_check_minus(const char *name, const struct hc_ew *op, const aclScalar *scalar) {
    HC_CHECK((op->result & HC_EW_IS_MINUS) == 0 || scalar->dtype != ACL_BOOL, ACLNN_ERR_PARAM_INVALID,
             "%s: the `-` operator with a bool operand (the scalar) is not supported: use a number", name);
    return 0;
}

/* PyTorch's rule: alpha is not promoted with, so it must be of the result's class or a lower one; bool only
 * where the result is. */
aclnnStatus hc_check_alpha(const char *name, aclDataType result, const aclScalar *alpha) {
    const enum hc_dtype_class class_ = hc_dtype_class(alpha->dtype);
    if (class_ == HC_CLASS_INT) return 0;
    HC_CHECK(class_ != HC_CLASS_BOOL || result == ACL_BOOL, ACLNN_ERR_PARAM_INVALID,
             "%s: alpha is a bool, which is supported for bool results only; the result is %s", name,
             hc_dtype_name(result));
    HC_CHECK(class_ <= hc_dtype_class(result), ACLNN_ERR_PARAM_INVALID,
             "%s: alpha is %s, wanted %s for a result of type %s", name, hc_dtype_name(alpha->dtype),
             hc_dtype_is_integral(result) ? "an integer" : "a real number", hc_dtype_name(result));
    return 0;
}

/* Integers wrap as they do in tensors. True times 1 stays a bool. */
static aclScalar product_of(const aclScalar *a, const aclScalar *b) {
    const enum hc_dtype_class class_a = hc_dtype_class(a->dtype), class_b = hc_dtype_class(b->dtype);
    const enum hc_dtype_class higher = class_a > class_b ? class_a : class_b;
    if (higher == HC_CLASS_COMPLEX) {
        const hc_c128 x = hc_scalar_c128(a), y = hc_scalar_c128(b);
        return (aclScalar){ACL_COMPLEX128, {.c = {x.re * y.re - x.im * y.im, x.re * y.im + x.im * y.re}}};
    }
    if (higher == HC_CLASS_FLOAT) return (aclScalar){ACL_DOUBLE, {.f = hc_scalar_f64(a) * hc_scalar_f64(b)}};
    const uint64_t wrapped = (uint64_t)hc_scalar_i64(a) * (uint64_t)hc_scalar_i64(b);
    return (aclScalar){class_a == HC_CLASS_BOOL ? ACL_BOOL : ACL_INT64, {.i = (int64_t)wrapped}};
}

aclnnStatus hc_ew_plan_scalar_times(const char *name, const struct hc_ew *op, const aclTensor *self,
                                    const aclScalar *other, const aclScalar *alpha, const aclTensor *out,
                                    uint64_t *workspaceSize, aclOpExecutor **executor) {
    HC_CHECK(self && other && alpha, ACLNN_ERR_PARAM_NULLPTR, "%s: %s is null", name,
             !self    ? "self"
             : !other ? "other"
                      : "alpha");
    HC_TRY(hc_check_minus(name, op, other));
    const struct hc_result_rule rule = {.scalar = hc_dtype_class(other->dtype)};
    HC_TRY(hc_check_alpha(name, hc_result_type(&self, 1, &rule), alpha));
    const aclScalar product = product_of(other, alpha);
    return hc_ew_plan_scalar(name, op, self, &product, out, workspaceSize, executor);
}
