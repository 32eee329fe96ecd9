// SPDX-License-Identifier: Apache-2.0
/* y = 1 / x, element by element: the division of the machine, correctly rounded, not its estimate.
 * Infinite at 0. Integers become float. */
#include "direct_bf16.h"
#include "unary.h"

HC_EW_KERNELS_MATH(reciprocal)
HC_EW_KERNEL(reciprocal_BF16)

#ifdef HC_ISA
#include <math.h>

#include "complex_math.h"

#define RECIPROCAL(x) (1 / (x))

HC_EW_BODY1(reciprocal_F32, float, float, RECIPROCAL)
HC_EW_BODY1_BF16(reciprocal_BF16, (void)0, 1.0f / x)
HC_EW_BODY1(reciprocal_F64, double, double, RECIPROCAL)
HC_EW_BODY1(reciprocal_C128, hc_c128, hc_c128, hc_crecip)
#else
static const struct hc_ew SPEC = {"aclnnReciprocal", HC_EW_TABLE_MATH_BF16(reciprocal), 0, HC_CLASS_FLOAT};
HC_UNARY(aclnnReciprocal, SPEC)
HC_UNARY_INPLACE_TYPED(aclnnInplaceReciprocal, SPEC, const aclTensor)
#endif
