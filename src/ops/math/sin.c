// SPDX-License-Identifier: Apache-2.0
/* y = sin(x), element by element. Arguments up to 2^20 are reduced by pi/2 in parts (simd_math.h). Larger
 * ones, which are rare, are redone by the C library, as a reduction that is right for them takes pi to
 * hundreds of bits. Within 2 units. */
#include "direct_bf16.h"
#include "unary.h"

HC_EW_KERNELS_MATH(sin)
HC_EW_KERNEL(sin_BF16)

#ifdef HC_ISA
#include "by_lanes.h"
#include "complex_math.h"
#include "simd_math.h"

HC_BY_LANES(sin_of_large, sin)
static inline vf sin_vf(vf x) {
    if (HC_UNLIKELY(vi_any(vf_abs(x) > HC_TRIG_LIMIT))) return sin_of_large(x);
    return vf_sin_quadrant(x, 0);
}
HC_EW_BODY1_VF(sin_F32, sin_vf)
HC_EW_BODY1_BF16(sin_BF16, (void)0, sin_vf(x))
HC_EW_BODY1(sin_F64, double, double, sin)
HC_EW_BODY1(sin_C128, hc_c128, hc_c128, hc_csin)
#else
static const struct hc_ew SPEC = {"aclnnSin", HC_EW_TABLE_MATH_BF16(sin), 0, HC_CLASS_FLOAT};
HC_UNARY(aclnnSin, SPEC)
HC_UNARY_INPLACE(aclnnInplaceSin, SPEC)
#endif
