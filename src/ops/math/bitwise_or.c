// SPDX-License-Identifier: Apache-2.0
/* y = self | other bit by bit, for integers and bools; other is a tensor or a scalar. Computed in 64
 * bits, stored in the output's width. */
#include "binary.h"

HC_EW_KERNEL(bitwise_or_I64)
HC_EW_KERNEL(bitwise_ors_I64)

#ifdef HC_ISA
#define COMBINE(a, b) ((a) | (b))
HC_EW_BODY2(bitwise_or_I64, int64_t, int64_t, COMBINE)
HC_EW_BODY_SCALAR(bitwise_ors, I64, int64_t, x | s)
#else
static const struct hc_ew TENSOR = {"aclnnBitwiseOrTensor", {[HC_I64] = bitwise_or_I64_table}, 0, 0};
static const struct hc_ew SCALAR = {"aclnnBitwiseOrScalar", {[HC_I64] = bitwise_ors_I64_table}, 0, 0};
HC_BINARY(aclnnBitwiseOrTensor, TENSOR)
HC_SCALAR(aclnnBitwiseOrScalar, SCALAR)
HC_BINARY_INPLACE_TYPED(aclnnInplaceBitwiseOrTensor, TENSOR, const aclTensor)
HC_SCALAR_INPLACE_TYPED(aclnnInplaceBitwiseOrScalar, SCALAR, const aclTensor)
#endif
