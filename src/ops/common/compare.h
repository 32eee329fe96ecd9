// SPDX-License-Identifier: Apache-2.0
/* Skeleton of comparisons: tensor with tensor (kernels op_*), tensor with scalar (kernels ops_*), also in
 * place. Computed in the promoted type of the inputs, 64-bit integers exactly; the output is a truth value.
 */
#pragma once
#include "binary.h"

#define HC_COMPARE_KERNELS(op, set) HC_EW_KERNELS_##set(op) HC_EW_KERNELS_##set(op##s)

#ifdef HC_ISA
#define HC_COMPARE_BODY(op, block, sign)                                                                     \
    void HC_FN(op##_##block)(size_t n, void *const *out, const void *const *in, const void *args) {          \
        uint8_t *y = out[0];                                                                                 \
        const hc_block_##block *a = in[0], *b = in[1];                                                       \
        (void)args;                                                                                          \
        _Pragma("GCC ivdep") for (size_t i = 0; i < n; i++) y[i] = a[i] sign b[i];                           \
    }                                                                                                        \
    HC_EW_BODY_SCALAR(op##s, block, uint8_t, x sign s)
#define HC_COMPARE_BODIES(op, sign)                                                                          \
    HC_COMPARE_BODY(op, F32, sign) HC_COMPARE_BODY(op, F64, sign) HC_COMPARE_BODY(op, I64, sign)
#else
#define HC_COMPARE_SCALAR(op_name, spec)                                                                     \
    HC_API aclnnStatus op_name##GetWorkspaceSize(const aclTensor *self, const aclScalar *other,              \
                                                 aclTensor *out, uint64_t *workspaceSize,                    \
                                                 aclOpExecutor **executor) {                                 \
        return hc_ew_plan_compare_scalar(#op_name, &(spec), self, other, out, workspaceSize, executor);      \
    }                                                                                                        \
    HC_OP_LAUNCH(op_name)
#define HC_COMPARE_SCALAR_INPLACE(op_name, spec, type)                                                       \
    HC_API aclnnStatus op_name##GetWorkspaceSize(type *selfRef, const aclScalar *other,                      \
                                                 uint64_t *workspaceSize, aclOpExecutor **executor) {        \
        return hc_ew_plan_compare_scalar(#op_name, &(spec), selfRef, other, selfRef, workspaceSize,          \
                                         executor);                                                          \
    }                                                                                                        \
    HC_OP_LAUNCH(op_name)
#endif
