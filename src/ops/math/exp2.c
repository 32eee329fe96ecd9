// SPDX-License-Identifier: Apache-2.0
/* y = 2^x, element by element, by the C library in double, rounded once: exact for integers. */
#include "unary.h"

HC_EW_KERNELS_FLOAT(exp2)

#ifdef HC_ISA
#include <math.h>

static inline float exp2_f32(float x) { return (float)exp2((double)x); }

HC_EW_BODY1(exp2_F32, float, float, exp2_f32)
HC_EW_BODY1(exp2_F64, double, double, exp2)
#else
static const struct hc_ew SPEC = {"aclnnExp2", HC_EW_TABLE_FLOAT(exp2), 0, HC_CLASS_FLOAT};
HC_UNARY(aclnnExp2, SPEC)
HC_UNARY_INPLACE(aclnnInplaceExp2, SPEC)
#endif
