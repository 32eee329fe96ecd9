// SPDX-License-Identifier: Apache-2.0
/* Hyperbolic functions and their inverses, for every input. Errors against the exact value over all floats,
 * in units in the last place: 2 (tests/ops/math/test_accuracy.py). */
#pragma once
#include "simd_math.h"

/* e^t / 2 for t >= 0, infinite from where that overflows on. */
static inline vf vf_half_exp(vf t) {
    vf shifted, n;
#if defined(HC_ISA_avx512)
    const vf y = vf_expm1_reduced(vf_reduce_exp(vf_at_most(t, 90.0f), 0.0f, &shifted, &n)) + 1.0f;
    return vf_scale2(y, n - 1.0f);
#else
    const vf y = vf_expm1_reduced(vf_reduce_exp(vf_at_most(t, 90.0f), 253.0f, &shifted, &n)) + 1.0f;
    return vf_scale_shifted(y, shifted);
#endif
}
static inline vf vf_sinh(vf x) {
    const vf t = vf_abs(x), z = x * x, half = vf_half_exp(t);
    const vf p = VF_POLY(z, 0x1.555556p-3f, 0x1.1110ep-7f, 0x1.a022b6p-13f, 0x1.756df8p-19f);
    return vf_select(t < 1.0f, vf_fma(p, x * z, x), vf_copysign(half - 0.25f / half, x));
}
static inline vf vf_cosh(vf x) {
    const vf half = vf_half_exp(vf_abs(x));
    return half + 0.25f / half;
}

/* From here on asinh t and acosh t are ln(2 t) to the last digit, and t^2 is far from overflow below. */
#define VF_AREA_LARGE 4096.0f
/* ln(1 + v + rest), or ln(2 t) where t is large. */
static inline vf vf_log_of_area(vf t, vf v, vf rest) {
    const vi large = t > VF_AREA_LARGE;
    const vf sum = v + 1.0f, low = (v - (sum - 1.0f)) + rest;
    return vf_log_sum(vf_select(large, t, sum), vf_zero_where(large, low),
                      vf_select(large, vf_set(1.0f), vf_zero()));
}
/* ln(t + sqrt(t^2 + 1)) is ln(1 + t + t^2 / (1 + sqrt(t^2 + 1))): small t keep their digits. */
static inline vf vf_asinh(vf x) {
    const vf t = vf_abs(x), z = t * t;
    const vf q = z / (vf_sqrt(z + 1.0f) + 1.0f), v = t + q;
    return vf_copysign(vf_log_of_area(t, v, (t - v) + q), x);
}
/* ln(1 + d + sqrt(d (d + 2))) for d = x - 1; NaN below 1. */
static inline vf vf_acosh(vf x) {
    const vf d = x - 1.0f, s = vf_sqrt(d * (d + 2.0f)), v = s + d;
    return vf_select(x < 1.0f, vf_set(NAN), vf_log_of_area(x, v, (s - v) + d));
}
/* ln((1 + t) / (1 - t)) / 2 is ln(1 + 2 t / (1 - t)) / 2; infinite at 1, NaN beyond. */
static inline vf vf_atanh(vf x) {
    const vf t = vf_abs(x), v = (t + t) / (1.0f - t), sum = v + 1.0f;
    const vf y = 0.5f * vf_log_sum(sum, v - (sum - 1.0f), vf_zero());
    return vf_copysign(vf_select(t == 1.0f, vf_set(INFINITY), y), x);
}
