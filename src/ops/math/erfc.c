// SPDX-License-Identifier: Apache-2.0
/* y = 1 - erf(x), element by element, accurate where that is small: down to 1e-38 there is a value where
 * 1 - erf is 0. By the C library in double, rounded once. */
#include "unary.h"

HC_EW_KERNELS_FLOAT(erfc)

#ifdef HC_ISA
#include <math.h>

static inline float erfc_f32(float x) { return (float)erfc((double)x); }

HC_EW_BODY1(erfc_F32, float, float, erfc_f32)
HC_EW_BODY1(erfc_F64, double, double, erfc)
#else
static const struct hc_ew SPEC = {"aclnnErfc", HC_EW_TABLE_FLOAT(erfc), 0, HC_CLASS_FLOAT};
HC_UNARY(aclnnErfc, SPEC)
HC_UNARY_INPLACE_TYPED(aclnnInplaceErfc, SPEC, const aclTensor)
#endif
