// SPDX-License-Identifier: Apache-2.0
/* y = the larger of a and b, element by element; NaN where either is NaN, unlike the machine's
 * instruction, which returns its second operand. ClampMinTensor is the same operator. */
#include "binary.h"
#include "direct_bf16.h"

HC_EW_KERNELS_REAL(maximum)
HC_EW_KERNEL(maximum_BF16)

#ifdef HC_ISA
#include "simd.h"

#define PICK(a, b) ((a) > (b) || (a) != (a) ? (a) : (b))
HC_EW_BODY2_VF(maximum_F32, vf_max)
HC_EW_BODY2_BF16(maximum_BF16, (void)0, vf_max(a, b))
HC_EW_BODY2(maximum_F64, double, double, PICK)
HC_EW_BODY2(maximum_I64, int64_t, int64_t, PICK)
#else
static const struct hc_ew SPEC = {"aclnnMaximum", HC_EW_TABLE_REAL_BF16(maximum), 0, 0};
HC_BINARY(aclnnMaximum, SPEC)
HC_BINARY(aclnnClampMinTensor, SPEC)
HC_BINARY_INPLACE(aclnnInplaceClampMinTensor, SPEC)
#endif
