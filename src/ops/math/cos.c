// SPDX-License-Identifier: Apache-2.0
/* y = cos(x), element by element. Arguments up to 2^20 are reduced by pi/2 in parts (simd_math.h). Larger
 * ones, which are rare, are redone by the C library, as a reduction that is right for them takes pi to
 * hundreds of bits. Within 2 units. */
#include "direct_bf16.h"
#include "unary.h"

HC_EW_KERNELS_MATH(cos)
HC_EW_KERNEL(cos_BF16)

#ifdef HC_ISA
#include "by_lanes.h"
#include "complex_math.h"
#include "simd_math.h"

HC_BY_LANES(cos_of_large, cos)
static inline vf cos_vf(vf x) {
    if (HC_UNLIKELY(vi_any(vf_abs(x) > HC_TRIG_LIMIT))) return cos_of_large(x);
    return vf_sin_quadrant(x, 1);
}
HC_EW_BODY1_VF(cos_F32, cos_vf)
HC_EW_BODY1_BF16(cos_BF16, (void)0, cos_vf(x))
HC_EW_BODY1(cos_F64, double, double, cos)
HC_EW_BODY1(cos_C128, hc_c128, hc_c128, hc_ccos)
#else
static const struct hc_ew SPEC = {"aclnnCos", HC_EW_TABLE_MATH_BF16(cos), 0, HC_CLASS_FLOAT};
HC_UNARY(aclnnCos, SPEC)
HC_UNARY_INPLACE(aclnnInplaceCos, SPEC)
#endif
