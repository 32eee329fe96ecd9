// SPDX-License-Identifier: Apache-2.0
/* Interface halves of operators with two operands, of which one may be a scalar argument.
 *
 * The scalar never widens the computation: its type counts only where its class is above the tensors'
 * (result_type.h). `type` is what the interface declares for the output or
 * in-place operand. */
#pragma once
#include "elementwise.h"

/* Plan op(self, scalar) or op(scalar, self): the kernel's args are a struct hc_ew_scalar. */
aclnnStatus hc_ew_plan_scalar(const char *name, const struct hc_ew *op, const aclTensor *self,
                              const aclScalar *scalar, const aclTensor *out, uint64_t *workspaceSize,
                              aclOpExecutor **executor);
/* As above for comparisons: the scalar is rounded to the tensor's type first. */
aclnnStatus hc_ew_plan_compare_scalar(const char *name, const struct hc_ew *op, const aclTensor *self,
                                      const aclScalar *scalar, const aclTensor *out, uint64_t *workspaceSize,
                                      aclOpExecutor **executor);
aclnnStatus hc_ew_plan_binary(const char *name, const struct hc_ew *op, const aclTensor *self,
                              const aclTensor *other, const aclTensor *out, uint64_t *workspaceSize,
                              aclOpExecutor **executor);

/* As hc_ew_plan_binary, with a scalar as the kernel's args. */
aclnnStatus hc_ew_plan_binary_scalar(const char *name, const struct hc_ew *op, const aclTensor *self,
                                     const aclTensor *other, const aclScalar *scalar, const aclTensor *out,
                                     uint64_t *workspaceSize, aclOpExecutor **executor);
/* Whether alpha may multiply an operand where the result is of type `result`. */
aclnnStatus hc_check_alpha(const char *name, aclDataType result, const aclScalar *alpha);
/* Refuses a bool scalar where op is a subtraction, as PyTorch does. */
aclnnStatus hc_check_minus(const char *name, const struct hc_ew *op, const aclScalar *scalar);
/* Plan op(self, other * alpha): of two scalars the product is taken once, in the higher of their classes. */
aclnnStatus hc_ew_plan_scalar_times(const char *name, const struct hc_ew *op, const aclTensor *self,
                                    const aclScalar *other, const aclScalar *alpha, const aclTensor *out,
                                    uint64_t *workspaceSize, aclOpExecutor **executor);

#define HC_BINARY_TYPED(op_name, spec, type)                                                                 \
    HC_API aclnnStatus op_name##GetWorkspaceSize(const aclTensor *self, const aclTensor *other, type *out,   \
                                                 uint64_t *workspaceSize, aclOpExecutor **executor) {        \
        return hc_ew_plan_binary(#op_name, &(spec), self, other, out, workspaceSize, executor);              \
    }                                                                                                        \
    HC_OP_LAUNCH(op_name)
#define HC_BINARY(op_name, spec) HC_BINARY_TYPED(op_name, spec, aclTensor)
#define HC_BINARY_INPLACE_TYPED(op_name, spec, type)                                                         \
    HC_API aclnnStatus op_name##GetWorkspaceSize(type *selfRef, const aclTensor *other,                      \
                                                 uint64_t *workspaceSize, aclOpExecutor **executor) {        \
        return hc_ew_plan_binary(#op_name, &(spec), selfRef, other, selfRef, workspaceSize, executor);       \
    }                                                                                                        \
    HC_OP_LAUNCH(op_name)
#define HC_BINARY_INPLACE(op_name, spec) HC_BINARY_INPLACE_TYPED(op_name, spec, aclTensor)

#define HC_SCALAR_TYPED(op_name, spec, type)                                                                 \
    HC_API aclnnStatus op_name##GetWorkspaceSize(const aclTensor *self, const aclScalar *other, type *out,   \
                                                 uint64_t *workspaceSize, aclOpExecutor **executor) {        \
        return hc_ew_plan_scalar(#op_name, &(spec), self, other, out, workspaceSize, executor);              \
    }                                                                                                        \
    HC_OP_LAUNCH(op_name)
#define HC_SCALAR(op_name, spec) HC_SCALAR_TYPED(op_name, spec, aclTensor)
/* The scalar comes first: op(scalar, tensor). */
#define HC_SCALAR_FIRST_TYPED(op_name, spec, type)                                                           \
    HC_API aclnnStatus op_name##GetWorkspaceSize(const aclScalar *self, const aclTensor *other, type *out,   \
                                                 uint64_t *workspaceSize, aclOpExecutor **executor) {        \
        return hc_ew_plan_scalar(#op_name, &(spec), other, self, out, workspaceSize, executor);              \
    }                                                                                                        \
    HC_OP_LAUNCH(op_name)
#define HC_SCALAR_INPLACE_TYPED(op_name, spec, type)                                                         \
    HC_API aclnnStatus op_name##GetWorkspaceSize(type *selfRef, const aclScalar *other,                      \
                                                 uint64_t *workspaceSize, aclOpExecutor **executor) {        \
        return hc_ew_plan_scalar(#op_name, &(spec), selfRef, other, selfRef, workspaceSize, executor);       \
    }                                                                                                        \
    HC_OP_LAUNCH(op_name)
#define HC_SCALAR_INPLACE(op_name, spec) HC_SCALAR_INPLACE_TYPED(op_name, spec, aclTensor)

#ifdef HC_ISA
/* Bodies with the scalar s of the block's type: expression of x and s. */
#define HC_EW_BODY_SCALAR(name, block, out_type, expression)                                                 \
    void HC_FN(name##_##block)(size_t n, void *const *out, const void *const *in, const void *args) {        \
        out_type *y = out[0];                                                                                \
        const hc_block_##block *x_ = in[0];                                                                  \
        const hc_block_##block s = ((const struct hc_ew_scalar *)args)->block;                               \
        _Pragma("GCC ivdep") for (size_t i = 0; i < n; i++) {                                                \
            const hc_block_##block x = x_[i];                                                                \
            y[i] = (expression);                                                                             \
        }                                                                                                    \
    }
/* Bodies of a and b with the scalar s. */
#define HC_EW_BODY2_SCALAR(name, block, out_type, expression)                                                \
    void HC_FN(name##_##block)(size_t n, void *const *out, const void *const *in, const void *args) {        \
        out_type *y = out[0];                                                                                \
        const hc_block_##block *a_ = in[0], *b_ = in[1];                                                     \
        const hc_block_##block s = ((const struct hc_ew_scalar *)args)->block;                               \
        _Pragma("GCC ivdep") for (size_t i = 0; i < n; i++) {                                                \
            const hc_block_##block a = a_[i], b = b_[i];                                                     \
            y[i] = (expression);                                                                             \
        }                                                                                                    \
    }
/* Bodies of x with two scalars of the block's type, first and alpha: args is an array of both. */
#define HC_EW_BODY_TWO_SCALARS(name, block, expression)                                                      \
    void HC_FN(name##_##block)(size_t n, void *const *out, const void *const *in, const void *args) {        \
        hc_block_##block *y = out[0];                                                                        \
        const hc_block_##block *x_ = in[0];                                                                  \
        const struct hc_ew_scalar *scalars = args;                                                           \
        const hc_block_##block first = scalars[0].block, alpha = scalars[1].block;                           \
        _Pragma("GCC ivdep") for (size_t i = 0; i < n; i++) {                                                \
            const hc_block_##block x = x_[i];                                                                \
            y[i] = (expression);                                                                             \
        }                                                                                                    \
    }
/* The same expression for every real block type. */
#define HC_EW_BODIES_TWO_SCALARS_REAL(name, expression)                                                      \
    HC_EW_BODY_TWO_SCALARS(name, F32, expression)                                                            \
    HC_EW_BODY_TWO_SCALARS(name, F64, expression)                                                            \
    HC_EW_BODY_TWO_SCALARS(name, I64, expression)
#define HC_EW_BODIES_SCALAR_REAL(name, expression)                                                           \
    HC_EW_BODY_SCALAR(name, F32, float, expression)                                                          \
    HC_EW_BODY_SCALAR(name, F64, double, expression)                                                         \
    HC_EW_BODY_SCALAR(name, I64, int64_t, expression)
#define HC_EW_BODIES2_SCALAR_REAL(name, expression)                                                          \
    HC_EW_BODY2_SCALAR(name, F32, float, expression)                                                         \
    HC_EW_BODY2_SCALAR(name, F64, double, expression)                                                        \
    HC_EW_BODY2_SCALAR(name, I64, int64_t, expression)
#endif
