// SPDX-License-Identifier: Apache-2.0
/* Interface halves of operators with one input, no arguments: out-of-place and in-place. */
#pragma once
#include "elementwise.h"

#define HC_UNARY(op_name, spec)                                                                              \
    HC_API aclnnStatus op_name##GetWorkspaceSize(const aclTensor *self, aclTensor *out,                      \
                                                 uint64_t *workspaceSize, aclOpExecutor **executor) {        \
        const aclTensor *outs[] = {out}, *ins[] = {self};                                                    \
        return hc_ew_plan_as(#op_name, &(spec), HC_CLASS_BOOL, outs, 1, ins, 1, NULL, 0, workspaceSize,      \
                             executor);                                                                      \
    }                                                                                                        \
    HC_OP_LAUNCH(op_name)
/* The interface declares some outputs and in-place operands const: `type` is what it says. */
#define HC_UNARY_TYPED(op_name, spec, type)                                                                  \
    HC_API aclnnStatus op_name##GetWorkspaceSize(const aclTensor *self, type *out, uint64_t *workspaceSize,  \
                                                 aclOpExecutor **executor) {                                 \
        const aclTensor *outs[] = {out}, *ins[] = {self};                                                    \
        return hc_ew_plan_as(#op_name, &(spec), HC_CLASS_BOOL, outs, 1, ins, 1, NULL, 0, workspaceSize,      \
                             executor);                                                                      \
    }                                                                                                        \
    HC_OP_LAUNCH(op_name)
#define HC_UNARY_INPLACE_TYPED(op_name, spec, type)                                                          \
    HC_API aclnnStatus op_name##GetWorkspaceSize(type *selfRef, uint64_t *workspaceSize,                     \
                                                 aclOpExecutor **executor) {                                 \
        const aclTensor *outs[] = {selfRef}, *ins[] = {selfRef};                                             \
        return hc_ew_plan_as(#op_name, &(spec), HC_CLASS_BOOL, outs, 1, ins, 1, NULL, 0, workspaceSize,      \
                             executor);                                                                      \
    }                                                                                                        \
    HC_OP_LAUNCH(op_name)
#define HC_UNARY_INPLACE(op_name, spec) HC_UNARY_INPLACE_TYPED(op_name, spec, aclTensor)
