// SPDX-License-Identifier: Apache-2.0
/* y = x rounded to the nearest integer, ties to even; integers are themselves. rint in the default
 * rounding mode, which nothing here changes. */
#include "unary.h"

HC_EW_KERNELS_REAL(round)

#ifdef HC_ISA
#include <math.h>

#define SAME(x) (x)

HC_EW_BODY1(round_F32, float, float, rintf)
HC_EW_BODY1(round_F64, double, double, rint)
HC_EW_BODY1(round_I64, int64_t, int64_t, SAME)
#else
static const struct hc_ew SPEC = {"aclnnRound", HC_EW_TABLE_REAL(round), 0, HC_EW_NO_BOOL};
HC_UNARY(aclnnRound, SPEC)
HC_UNARY_INPLACE(aclnnInplaceRound, SPEC)
#endif
