// SPDX-License-Identifier: Apache-2.0
/* y = 2^x, element by element. float: 2^n times a polynomial of what is left of x, |f| <= 1/2, within 1 unit
 * and exact for integers, subnormal results included. double: the C library. */
#include "direct_bf16.h"
#include "unary.h"

HC_EW_KERNELS_FLOAT(exp2)
HC_EW_KERNEL(exp2_BF16)

#ifdef HC_ISA
#include <math.h>

#include "by_lanes.h"
#include "simd_math.h"

#if defined(__FMA__) || defined(__aarch64__)
/* Beyond -151 and 129 nothing changes; the polynomial is 1 at 0. */
static inline vf exp2_vf(vf x) {
    const vf t = vf_clamp(x, -151.0f, 129.0f), n = vf_round_small(t), f = t - n;
    const vf q = VF_POLY(f, 0x1.62e43p-1f, 0x1.ebfbdcp-3f, 0x1.c6af7cp-5f, 0x1.3b2dep-7f, 0x1.5f082ep-10f,
                         0x1.416b52p-13f);
    return vf_scale2(vf_fma(q, f, vf_set(1.0f)), n);
}
#else /* products are rounded, which costs the last place: the C library in double */
HC_BY_LANES(exp2_vf, exp2)
#endif
HC_EW_BODY1_VF(exp2_F32, exp2_vf)
HC_EW_BODY1_BF16(exp2_BF16, (void)0, exp2_vf(x))
HC_EW_BODY1(exp2_F64, double, double, exp2)
#else
static const struct hc_ew SPEC = {"aclnnExp2", HC_EW_TABLE_FLOAT_BF16(exp2), 0, HC_CLASS_FLOAT};
HC_UNARY(aclnnExp2, SPEC)
HC_UNARY_INPLACE(aclnnInplaceExp2, SPEC)
#endif
