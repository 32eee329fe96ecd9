// SPDX-License-Identifier: Apache-2.0
/* y = 1 - erf(x), element by element, accurate where that is small: down to 1e-38 there is a value where
 * 1 - erf is 0. float: e^(-x^2) times a function that varies little, within 2 units. double: the C library.
 */
#include "direct_bf16.h"
#include "unary.h"

HC_EW_KERNELS_FLOAT(erfc)
HC_EW_KERNEL(erfc_BF16)

#ifdef HC_ISA
#include <math.h>

#include "by_lanes.h"
#include "simd_math.h"

#if defined(__FMA__) || defined(__aarch64__)
/* Of 1/2 <= t: 2^n (1 + p) P / (1 + 2 t) with e^(-t^2) = 2^n (1 + p), of which t^2 is taken in two parts, and
 * P a polynomial of (t - 2) / (t + 2). What roundings of P, of 1 + 2 t and of their quotient have lost is
 * added. Beyond 10.06 it vanishes. */
static inline vf erfc_beyond(vf t) {
    t = vf_at_most(t, 10.2f);
    const vf square = t * t, low = vf_fma(t, t, -square);
    vf shifted, n;
    (void)vf_reduce_exp(-square, 254.0f, &shifted, &n);
    const vf p =
        vf_expm1_reduced(vf_fma(n, vf_set(-VF_LN2_HIGH), -square) - vf_fma(n, vf_set(VF_LN2_LOW), low));
    const vf q = (t - 2.0f) / (t + 2.0f), d = vf_fma(t, vf_set(2.0f), vf_set(1.0f)), inverse = 1.0f / d;
    const vf first = vf_set(0x1.46e80ep0f);
    const vf others =
        q * VF_POLY(q, -0x1.7bf5eap-4f, -0x1.5407bap-3f, 0x1.4ff95cp-3f, -0x1.bc22cep-5f, -0x1.06885cp-7f,
                    0x1.1c472cp-7f, 0x1.2fa9aap-10f, -0x1.50dc3cp-10f, -0x1.e3eec2p-13f);
    const vf polynomial = first + others, lost = (first - polynomial) + others;
    const vf r = polynomial * inverse, lost_of_d = 1.0f - (d - (t + t));
    const vf rest = (vf_fma(-r, d, polynomial) + (lost - r * lost_of_d)) * inverse;
    return vf_scale_shifted(r + vf_fma(r, p, rest), shifted);
}
static inline vf erfc_vf(vf x) {
    const vf t = vf_abs(x), beyond = erfc_beyond(t);
    const vf near = VF_POLY(x * x, 0x1.20dd76p0f, -0x1.81286p-2f, 0x1.ce8ac4p-4f, -0x1.c49a6cp-6f,
                            0x1.0a8b9p-7f, -0x1.41fce4p-8f);
    return vf_select(t < 0.5f, vf_fma(-near, x, vf_set(1.0f)), vf_select(x < 0.0f, 2.0f - beyond, beyond));
}
#else /* products are rounded, which costs the digits of a small e^(-x^2): the C library in double */
HC_BY_LANES(erfc_vf, erfc)
#endif
HC_EW_BODY1_VF(erfc_F32, erfc_vf)
HC_EW_BODY1_BF16(erfc_BF16, (void)0, erfc_vf(x))
HC_EW_BODY1(erfc_F64, double, double, erfc)
#else
static const struct hc_ew SPEC = {"aclnnErfc", HC_EW_TABLE_FLOAT_BF16(erfc), 0, HC_CLASS_FLOAT};
HC_UNARY(aclnnErfc, SPEC)
HC_UNARY_INPLACE_TYPED(aclnnInplaceErfc, SPEC, const aclTensor)
#endif
