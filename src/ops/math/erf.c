// SPDX-License-Identifier: Apache-2.0
/* y = error function of x, element by element. float: an odd polynomial for small x, 1 - e^-P(x) beyond,
 * within 2 units (simd_math.h). double: the C library. */
#include "direct_bf16.h"
#include "unary.h"

HC_EW_KERNELS_FLOAT(erf)
HC_EW_KERNEL(erf_BF16)

#ifdef HC_ISA
#include <math.h>

#include "simd_math.h"

HC_EW_BODY1_VF(erf_F32, vf_erf)
HC_EW_BODY1_BF16(erf_BF16, (void)0, vf_erf(x))
HC_EW_BODY1(erf_F64, double, double, erf)
#else
static const struct hc_ew SPEC = {"aclnnErf", HC_EW_TABLE_FLOAT_BF16(erf), 0, HC_CLASS_FLOAT};
HC_UNARY(aclnnErf, SPEC)
HC_UNARY_INPLACE(aclnnInplaceErf, SPEC)
#endif
