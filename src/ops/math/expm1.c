// SPDX-License-Identifier: Apache-2.0
/* y = e^x - 1, element by element, without the cancellation that e^x and a subtraction have for small x:
 * within 2 units in float (simd_math.h), the C library in double. */
#include "direct_bf16.h"
#include "unary.h"

HC_EW_KERNELS_FLOAT(expm1)
HC_EW_KERNEL(expm1_BF16)

#ifdef HC_ISA
#include <math.h>

#include "simd_math.h"

HC_EW_BODY1_VF(expm1_F32, vf_expm1)
HC_EW_BODY1_BF16(expm1_BF16, (void)0, vf_expm1(x))
HC_EW_BODY1(expm1_F64, double, double, expm1)
#else
static const struct hc_ew SPEC = {"aclnnExpm1", HC_EW_TABLE_FLOAT_BF16(expm1), 0, HC_CLASS_FLOAT};
HC_UNARY(aclnnExpm1, SPEC)
HC_UNARY_INPLACE(aclnnInplaceExpm1, SPEC)
#endif
