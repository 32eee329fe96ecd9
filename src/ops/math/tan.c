// SPDX-License-Identifier: Apache-2.0
/* y = tangent of x, element by element, within 2 units, near the poles too. Arguments up to 2^20 are reduced
 * by pi/2 in parts (simd_angles.h); larger ones, which are rare, are redone by the C library in double. */
#include "direct_bf16.h"
#include "unary.h"

HC_EW_KERNELS_MATH(tan)
HC_EW_KERNEL(tan_BF16)

#ifdef HC_ISA
#include <math.h>

#include "by_lanes.h"
#include "complex_math.h"
#include "simd_angles.h"

HC_BY_LANES(tan_by_lanes, tan)
#if defined(__FMA__) || defined(__aarch64__)
static inline vf tan_vf(vf x) {
    if (HC_UNLIKELY(vi_any(vf_abs(x) > HC_TRIG_LIMIT))) return tan_by_lanes(x);
    return vf_tan_of_small(x);
}
#else /* products are rounded, which costs the digits near multiples of pi/2 */
#define tan_vf tan_by_lanes
#endif

HC_EW_BODY1_VF(tan_F32, tan_vf)
HC_EW_BODY1_BF16(tan_BF16, (void)0, tan_vf(x))
HC_EW_BODY1(tan_F64, double, double, tan)
HC_EW_BODY1(tan_C128, hc_c128, hc_c128, hc_ctan)
#else
static const struct hc_ew SPEC = {"aclnnTan", HC_EW_TABLE_MATH_BF16(tan), 0, HC_CLASS_FLOAT};
HC_UNARY(aclnnTan, SPEC)
HC_UNARY_INPLACE_TYPED(aclnnInplaceTan, SPEC, const aclTensor)
#endif
