// SPDX-License-Identifier: Apache-2.0
/* y = self & other bit by bit, for integers and bools; other is a tensor or a scalar. Computed in 64
 * bits: sign extension keeps the low bits of every width right. Floats have no kernel and are refused. */
#include "binary.h"

HC_EW_KERNEL(bitwise_and_I64)
HC_EW_KERNEL(bitwise_ands_I64)

#ifdef HC_ISA
#define COMBINE(a, b) ((a) & (b))
HC_EW_BODY2(bitwise_and_I64, int64_t, int64_t, COMBINE)
HC_EW_BODY_SCALAR(bitwise_ands, I64, int64_t, x &s)
#else
static const struct hc_ew TENSOR = {"aclnnBitwiseAndTensor", {[HC_I64] = bitwise_and_I64_table}, 0, 0};
static const struct hc_ew SCALAR = {"aclnnBitwiseAndScalar", {[HC_I64] = bitwise_ands_I64_table}, 0, 0};
HC_BINARY(aclnnBitwiseAndTensor, TENSOR)
HC_SCALAR(aclnnBitwiseAndScalar, SCALAR)
HC_BINARY_INPLACE_TYPED(aclnnInplaceBitwiseAndTensor, TENSOR, const aclTensor)
HC_SCALAR_INPLACE_TYPED(aclnnInplaceBitwiseAndScalar, SCALAR, const aclTensor)
#endif
