// SPDX-License-Identifier: Apache-2.0
/* GELU for kernels, exact (x Phi(x), by erf) and by tanh, and their derivatives.
 *
 * (1 + tanh u) / 2 is the sigmoid of 2u, which keeps the small values of negative x that 1 + tanh would
 * cancel. Phi(-|x|) is e^(-x^2/2) t P(t) with t = 1/(1 + c|x|), P fitted by minimax for |x| <= 15: half
 * the work of erf, and the exponential is shared with the derivative. Where vectors have tables, floats take
 * those. */
#pragma once
#include "simd_math.h"

#define HC_GELU_TANH_SCALE 0.79788456080286535588 /* sqrt(2 / pi) */
#define HC_GELU_TANH_CUBIC 0.044715
#define HC_SQRT_HALF 0.70710678118654752440
#define HC_INV_SQRT_2PI 0.39894228040143267794
#define HC_GAUSS_FACTOR (-0x1.715476p-1f) /* -1 / (2 ln 2), and what its float has lost */
#define HC_GAUSS_FACTOR_LOW (-0x1.4ae0cp-27f)

/* From here on a Phi(-a) and a phi(a) vanish. */
#define HC_GELU_REACH 14.75f
/* What hc_gauss_vf has too much, so that it stays among the normal numbers, where powers are quick to apply.
 */
#define HC_GAUSS_UNIT 0x1p-40f
/* e^(-a^2/2) / HC_GAUSS_UNIT for 0 <= a <= HC_GELU_REACH: 2^t = 2^n 2^f, n being in the low bits of a sum.
 * For float results `exact` takes a^2 and the factor of t in two parts, as an error of t is one of the
 * result. */
static inline __attribute__((always_inline)) vf hc_gauss_vf(vf a, bool exact) {
    const vf factor = vf_set(HC_GAUSS_FACTOR), square = a * a;
    const vf shifted = vf_fma(square, factor, vf_set(VF_SHIFT + 127 + 40)),
             n = shifted - (VF_SHIFT + 127 + 40);
    vf f = vf_fma(square, factor, -n);
    if (!exact) {
        const vf y =
            VF_POLY(f, 1.0f, 0x1.62e42ap-1f, 0x1.ebf9bcp-3f, 0x1.c6b752p-5f, 0x1.3cea88p-7f, 0x1.5bba14p-10f);
        return y * vf_power_of_shifted(shifted);
    }
    f = vf_fma(vf_fma(a, a, -square), factor, vf_fma(square, vf_set(HC_GAUSS_FACTOR_LOW), f));
    const vf y = VF_POLY(f, 1.0f, 0x1.62e43p-1f, 0x1.ebfbdcp-3f, 0x1.c6af7cp-5f, 0x1.3b2dep-7f,
                         0x1.5f082ep-10f, 0x1.416b52p-13f);
    return y * vf_power_of_shifted(shifted);
}
/* |x|, at most HC_GELU_REACH. */
static inline vf hc_gelu_reach_vf(vf x) { return vf_at_most(vf_abs(x), HC_GELU_REACH); }

/* Exact GELU: max(x, 0) - |x| Phi(-|x|), in which nothing cancels. In double by erfc, which has digits where
 * 1 + erf cancels. */
static inline double hc_gelu_f64(double x) { return x * 0.5 * erfc(-x * HC_SQRT_HALF); }
/* Its derivative: Phi(x) + x phi(x), phi the density of the normal distribution. */
static inline double hc_gelu_grad_f64(double x) {
    return 0.5 * erfc(-x * HC_SQRT_HALF) + x * exp(-0.5 * x * x) * HC_INV_SQRT_2PI;
}
#if defined(HC_ISA_avx512)
static inline vf hc_gelu_vf(vf x) {
    const vf tail = vf_pieces(vf_abs(x), VF_GELU_TAIL, 6, 0.0f);
    return vf_at_least(x, 0.0f) - tail;
}
static inline vf hc_gelu_grad_vf(vf x) {
    const vf tail = vf_pieces(vf_abs(x), VF_GELU_SLOPE_TAIL, 6, 0.0f);
    return vf_select(x < 0.0f, tail, 1.0f - tail);
}
#else
/* Phi(-a) / HC_GAUSS_UNIT, given e of hc_gauss_vf. */
static inline vf hc_normal_tail_vf(vf a, vf e) {
    const vf t = 1.0f / vf_fma(a, vf_set(0x1.68p-2f), vf_set(1.0f));
    const vf p = VF_POLY(t, 0x1.1f397cp-3f, 0x1.1fa3bap-3f, 0x1.edcfbap-4f, 0x1.a93262p-4f, -0x1.3958c2p-6f,
                         0x1.34fcfcp-3f, -0x1.00fbdap-2f, 0x1.25f1a8p-3f, -0x1.e150f2p-6f);
    return e * t * p;
}
static inline vf hc_gelu_vf(vf x) {
    const vf a = hc_gelu_reach_vf(x);
    return vf_at_least(x, 0.0f) - a * hc_normal_tail_vf(a, hc_gauss_vf(a, true)) * HC_GAUSS_UNIT;
}
static inline vf hc_gelu_grad_vf(vf x) {
    const vf a = hc_gelu_reach_vf(x), e = hc_gauss_vf(a, true), w = hc_normal_tail_vf(a, e) * HC_GAUSS_UNIT;
    const vf density = e * (float)(HC_INV_SQRT_2PI * HC_GAUSS_UNIT);
    return vf_fma(vf_copysign(a, x), density, vf_select(x < 0.0f, w, 1.0f - w));
}
#endif

/* For results of bfloat16, with fewer digits: Phi(-a) within 2^-16 of itself, which is enough for the value;
 * its derivative crosses zero, where 2^-22 count. */
static inline vf hc_gelu_short_vf(vf x) {
    const vf a = hc_gelu_reach_vf(x), e = hc_gauss_vf(a, false);
    const vf t = vf_reciprocal_fast(vf_fma(a, vf_set(0x1.38p-2f), vf_set(1.0f)));
    const vf p = VF_POLY(t, 0x1.f2ef78p-4f, 0x1.e08322p-4f, 0x1.196a6ap-3f, 0x1.a6b056p-10f, 0x1.932b18p-3f,
                         -0x1.333472p-4f);
    return vf_at_least(x, 0.0f) - a * (e * t * p) * HC_GAUSS_UNIT;
}
static inline vf hc_gelu_short_grad_vf(vf x) {
    const vf a = hc_gelu_reach_vf(x), e = hc_gauss_vf(a, false);
    const vf t = vf_reciprocal_fast(vf_fma(a, vf_set(0x1.38p-2f), vf_set(1.0f)));
    const vf p = VF_POLY(t, 0x1.f1b7dap-4f, 0x1.f53dcp-4f, 0x1.a65ae8p-4f, 0x1.f2e3fep-4f, -0x1.442372p-5f,
                         0x1.8077b6p-3f, -0x1.3acc92p-3f, 0x1.2d0dfap-5f);
    const vf w = e * t * p * HC_GAUSS_UNIT, density = e * (float)(HC_INV_SQRT_2PI * HC_GAUSS_UNIT);
    return vf_fma(vf_copysign(a, x), density, vf_select(x < 0.0f, w, 1.0f - w));
}

/* u = sqrt(2 / pi) (x + 0.044715 x^3). */
static inline vf hc_gelu_tanh_vf(vf x) {
    const vf cubic = vf_fma(x * x * (float)HC_GELU_TANH_CUBIC, x, x);
    return x * vf_sigmoid(cubic * (float)(2 * HC_GELU_TANH_SCALE));
}
static inline double hc_gelu_tanh_f64(double x) {
    return x / (1 + exp(-2 * HC_GELU_TANH_SCALE * (x + HC_GELU_TANH_CUBIC * x * x * x)));
}
/* s + x s (1 - s) 2u', s the sigmoid of 2u. */
static inline vf hc_gelu_tanh_grad_vf(vf x) {
    const vf a = vf_at_most(vf_abs(x), 16.0f), square = a * a; /* no overflow where s (1 - s) is 0 */
    const vf cubic = vf_fma(square * (float)HC_GELU_TANH_CUBIC, x, x);
    const vf t = cubic * (float)(2 * HC_GELU_TANH_SCALE), e = vf_exp(-vf_abs(t)),
             large = vf_divide_fast(vf_set(1.0f), e + 1.0f);
    const vf s = vf_select(t < 0.0f, e * large, large); /* s (1 - s) is e / (1 + e)^2, without cancellation */
    const vf du = vf_fma(square, vf_set((float)(6 * HC_GELU_TANH_SCALE * HC_GELU_TANH_CUBIC)),
                         vf_set((float)(2 * HC_GELU_TANH_SCALE)));
    return vf_fma(x * e * large * large, du, s);
}
static inline double hc_gelu_tanh_grad_f64(double x) {
    const double s = 1 / (1 + exp(-2 * HC_GELU_TANH_SCALE * (x + HC_GELU_TANH_CUBIC * x * x * x)));
    const double du = 2 * HC_GELU_TANH_SCALE * (1 + 3 * HC_GELU_TANH_CUBIC * x * x);
    return s + x * s * (1 - s) * du;
}
