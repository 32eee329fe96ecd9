// SPDX-License-Identifier: Apache-2.0
/* GELU for kernels, exact (x Phi(x), by erf) and by tanh, and their derivatives.
 *
 * (1 + tanh u) / 2 is the sigmoid of 2u, which keeps the small values of negative x that 1 + tanh would
 * cancel. For results of bfloat16 Phi(-|x|) is e^(-x^2/2) t P(t) with t = 1/(1 + c|x|), P fitted by minimax
 * to a relative error of 2^-23 for |x| <= 14: half the work of erf, and the exponential is shared with the
 * derivative. */
#pragma once
#include "simd_math.h"

#define HC_GELU_TANH_SCALE 0.79788456080286535588 /* sqrt(2 / pi) */
#define HC_GELU_TANH_CUBIC 0.044715
#define HC_SQRT_HALF 0.70710678118654752440
#define HC_INV_SQRT_2PI 0.39894228040143267794

/* Exact GELU: x/2 (1 + erf(x / sqrt 2)). In double by erfc, which has digits where 1 + erf cancels. */
static inline vf hc_gelu_vf(vf x) {
#if defined(HC_ISA_avx512) /* max(x, 0) - |x| Phi(-|x|): nothing cancels */
    const vf tail = vf_pieces(vf_abs(x), VF_GELU_TAIL, 6, 0.0f);
    return vf_max(x, vf_zero()) - tail;
#else
    const vf half = x * 0.5f;
    return half + half * vf_erf(x * (float)HC_SQRT_HALF);
#endif
}
static inline double hc_gelu_f64(double x) { return x * 0.5 * erfc(-x * HC_SQRT_HALF); }
/* Phi(x) + x phi(x), phi the density of the normal distribution. */
static inline vf hc_gelu_grad_vf(vf x) {
#if defined(HC_ISA_avx512)
    const vf tail = vf_pieces(vf_abs(x), VF_GELU_SLOPE_TAIL, 6, 0.0f);
    return vf_select(x < 0.0f, tail, 1.0f - tail);
#else
    const vf cdf = 0.5f + 0.5f * vf_erf(x * (float)HC_SQRT_HALF);
    return vf_fma(x, vf_exp(x * x * -0.5f) * (float)HC_INV_SQRT_2PI, cdf);
#endif
}
static inline double hc_gelu_grad_f64(double x) {
    return 0.5 * erfc(-x * HC_SQRT_HALF) + x * exp(-0.5 * x * x) * HC_INV_SQRT_2PI;
}

/* Phi(-a), a >= 0, given e = e^(-a^2/2). */
static inline vf hc_normal_tail_vf(vf a, vf e) {
    const vf t = vf_reciprocal_fast(vf_fma(a, vf_set(0x1.38p-2f), vf_set(1.0f)));
    const vf p = VF_POLY(t, 0x1.f1b7dap-4f, 0x1.f53dcp-4f, 0x1.a65ae8p-4f, 0x1.f2e3fep-4f, -0x1.442372p-5f,
                         0x1.8077b6p-3f, -0x1.3acc92p-3f, 0x1.2d0dfap-5f);
    return e * t * p;
}
/* |x|, at most 16: where both tails vanish, and where the reciprocal of any is still fast. */
static inline vf hc_gelu_reach_vf(vf x) { return vf_clamp(vf_abs(x), 0.0f, 16.0f); }
/* Negative x takes the tail itself, so that nothing cancels. */
static inline vf hc_gelu_short_vf(vf x) {
    const vf a = hc_gelu_reach_vf(x), w = hc_normal_tail_vf(a, vf_exp(a * a * -0.5f));
    return x * vf_select(x < 0.0f, w, 1.0f - w);
}
/* The derivative by the same two terms: Phi(x) + x phi(x). */
static inline vf hc_gelu_short_grad_vf(vf x) {
    const vf a = hc_gelu_reach_vf(x), e = vf_exp(a * a * -0.5f), w = hc_normal_tail_vf(a, e);
    return vf_fma(x, e * (float)HC_INV_SQRT_2PI, vf_select(x < 0.0f, w, 1.0f - w));
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
    const vf a = hc_gelu_reach_vf(x), square = a * a; /* no overflow where s (1 - s) is 0 */
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
