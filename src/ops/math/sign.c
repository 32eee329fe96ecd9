// SPDX-License-Identifier: Apache-2.0
/* y = -1, 0 or 1, element by element; NaN gives 0, as in PyTorch. Two comparisons and a subtraction, so
 * it vectorises without a branch. */
#include "unary.h"

HC_EW_KERNELS_REAL(sign)

#ifdef HC_ISA
#include <math.h>

#define SIGN(x) (__typeof__(x))(((x) > 0) - ((x) < 0))

HC_EW_BODY1(sign_F32, float, float, SIGN)
HC_EW_BODY1(sign_F64, double, double, SIGN)
HC_EW_BODY1(sign_I64, int64_t, int64_t, SIGN)
#else
static const struct hc_ew SPEC = {"aclnnSign", HC_EW_TABLE_REAL(sign), 0, 0};
HC_UNARY(aclnnSign, SPEC)
#endif
