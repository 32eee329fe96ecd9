// SPDX-License-Identifier: Apache-2.0
/* y = tangent of x, element by element, by the C library in double, rounded once: right for arguments of
 * any size, near the poles too. */
#include "unary.h"

HC_EW_KERNELS_MATH(tan)

#ifdef HC_ISA
#include <math.h>

#include "complex_math.h"

static inline float tan_f32(float x) { return (float)tan((double)x); }

HC_EW_BODY1(tan_F32, float, float, tan_f32)
HC_EW_BODY1(tan_F64, double, double, tan)
HC_EW_BODY1(tan_C128, hc_c128, hc_c128, hc_ctan)
#else
static const struct hc_ew SPEC = {"aclnnTan", HC_EW_TABLE_MATH(tan), 0, HC_CLASS_FLOAT};
HC_UNARY(aclnnTan, SPEC)
HC_UNARY_INPLACE_TYPED(aclnnInplaceTan, SPEC, const aclTensor)
#endif
