// SPDX-License-Identifier: Apache-2.0
/* y = the smaller of a and b, element by element; NaN where either is NaN, unlike the machine's
 * instruction. ClampMaxTensor is the same operator. */
#include "binary.h"
#include "direct_bf16.h"

HC_EW_KERNELS_REAL(minimum)
HC_EW_KERNEL(minimum_BF16)

#ifdef HC_ISA
#include "simd.h"

#define PICK(a, b) ((a) < (b) || (a) != (a) ? (a) : (b))
HC_EW_BODY2_VF(minimum_F32, vf_min)
HC_EW_BODY2_BF16(minimum_BF16, (void)0, vf_min(a, b))
HC_EW_BODY2(minimum_F64, double, double, PICK)
HC_EW_BODY2(minimum_I64, int64_t, int64_t, PICK)
#else
static const struct hc_ew SPEC = {"aclnnMinimum", HC_EW_TABLE_REAL_BF16(minimum), 0, 0};
HC_BINARY(aclnnMinimum, SPEC)
HC_BINARY(aclnnClampMaxTensor, SPEC)
HC_BINARY_INPLACE(aclnnInplaceClampMaxTensor, SPEC)
#endif
