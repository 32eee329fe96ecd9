// SPDX-License-Identifier: Apache-2.0
/* Kernel bodies and interface halves of operators with three tensors, or two tensors and a scalar. */
#pragma once
#include "elementwise.h"

#ifdef HC_ISA
/* y = expression of a, b, c, and s, which is the scalar argument. */
#define HC_EW_BODY3_SCALAR(name, block, expression)                                                          \
    void HC_FN(name##_##block)(size_t n, void *const *out, const void *const *in, const void *args) {        \
        hc_block_##block *y = out[0];                                                                        \
        const hc_block_##block *a_ = in[0], *b_ = in[1], *c_ = in[2];                                        \
        const hc_block_##block s = ((const struct hc_ew_scalar *)args)->block;                               \
        _Pragma("GCC ivdep") for (size_t i = 0; i < n; i++) {                                                \
            const hc_block_##block a = a_[i], b = b_[i], c = c_[i];                                          \
            y[i] = (expression);                                                                             \
        }                                                                                                    \
    }
#else
/* (self, tensor1, tensor2, value) to out. */
#define HC_TERNARY_SCALAR(op_name, spec, self, tensor1, tensor2, value, out)                                 \
    HC_CHECK((value) != NULL, ACLNN_ERR_PARAM_NULLPTR, "%s: value is null", (op_name));                      \
    const struct hc_ew_scalar scalar = hc_ew_scalar(value);                                                  \
    const aclTensor *outs[] = {(out)}, *ins[] = {(self), (tensor1), (tensor2)};                              \
    return hc_ew_plan_as((op_name), &(spec), HC_CLASS_BOOL, outs, 1, ins, 3, &scalar, sizeof scalar,         \
                         workspaceSize, executor)
#endif
