// SPDX-License-Identifier: Apache-2.0
/* y = base 2 logarithm of x, element by element; -inf at 0, NaN below. float within 2 units and exact for
 * powers of two (simd_math.h), double by the C library. */
#include "direct_bf16.h"
#include "unary.h"

HC_EW_KERNELS_FLOAT(log2)
HC_EW_KERNEL(log2_BF16)

#ifdef HC_ISA
#include <math.h>

#include "simd_math.h"

HC_EW_BODY1_VF(log2_F32, vf_log2)
HC_EW_BODY1_BF16(log2_BF16, (void)0, vf_log2(x))
HC_EW_BODY1(log2_F64, double, double, log2)
#else
static const struct hc_ew SPEC = {"aclnnLog2", HC_EW_TABLE_FLOAT_BF16(log2), 0, HC_CLASS_FLOAT};
HC_UNARY_TYPED(aclnnLog2, SPEC, const aclTensor)
HC_UNARY_INPLACE_TYPED(aclnnInplaceLog2, SPEC, const aclTensor)
#endif
