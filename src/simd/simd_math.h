// SPDX-License-Identifier: Apache-2.0
/* Elementary functions of float vectors, for every input: NaN, infinities, subnormals, the whole range.
 *
 * Each reduces its argument to a small interval and evaluates a polynomial fitted there (minimax, Lawson's
 * iteration, coefficients rounded to float). Errors against the exact value over all floats, in units in the
 * last place: exp 1, log 1, tanh 2, erf 2, sigmoid 3, expm1 2, log2 2, log1p 2, sin and cos 2, pow 1
 * (tests/ops/math/test_accuracy.py). The `scalar` set has no fused multiply-add: constants that are split in
 * two have trailing zeros for its sake. */
#pragma once
#include "simd.h"
#include "simd_pieces.h"

/* c0 + c1 x + c2 x^2 + ..., Horner. */
#define VF_POLY(x, first, ...)                                                                               \
    vf_poly((x), (const float[]){(first), __VA_ARGS__}, sizeof((float[]){(first), __VA_ARGS__}) / 4)
static inline __attribute__((always_inline)) vf vf_poly(vf x, const float *c, size_t n) {
    vf sum = vf_set(c[n - 1]);
#pragma GCC unroll 16
    for (size_t i = n - 1; i > 0; i--) sum = vf_fma(sum, x, vf_set(c[i - 1]));
    return sum;
}

/* x in [low, high]; NaN stays NaN. */
static inline vf vf_clamp(vf x, float low, float high) {
#if defined(HC_ISA_avx512) /* gives its second operand where one is NaN */
    return _mm512_max_ps(vf_set(low), _mm512_min_ps(vf_set(high), x));
#elif defined(HC_ISA_avx2)
    return _mm256_max_ps(vf_set(low), _mm256_min_ps(vf_set(high), x));
#else
    x = vf_select(x > high, vf_set(high), x);
    return vf_select(x < low, vf_set(low), x);
#endif
}
/* The larger of both, and the smaller; NaN stays NaN. */
static inline vf vf_at_least(vf x, float low) {
#if defined(HC_ISA_avx512)
    return _mm512_max_ps(vf_set(low), x);
#elif defined(HC_ISA_avx2)
    return _mm256_max_ps(vf_set(low), x);
#else
    return vf_select(x < low, vf_set(low), x);
#endif
}
static inline vf vf_at_most(vf x, float high) {
#if defined(HC_ISA_avx512)
    return _mm512_min_ps(vf_set(high), x);
#elif defined(HC_ISA_avx2)
    return _mm256_min_ps(vf_set(high), x);
#else
    return vf_select(x > high, vf_set(high), x);
#endif
}
static inline vf vf_copysign(vf magnitude, vf sign) {
    const vi mask = vi_set(INT32_MIN);
    return (vf)(((vi)magnitude & ~mask) | ((vi)sign & mask));
}

/* x * 2^n for integral |n| <= 252, rounded once: the power is applied in two halves. */
static inline vf vf_scale2(vf x, vf n) {
#if defined(HC_ISA_avx512)
    return _mm512_scalef_ps(x, n);
#else
    const vi whole = vf_to_int(n), half = whole >> 1;
    const vf first = (vf)((half + 127) << 23), second = (vf)((whole - half + 127) << 23);
    return x * first * second;
#endif
}

/* a / b for 1 <= b <= 2^100 and |a| <= b, within 1 unit: an estimate of 1/b, then the quotient corrected by
 * its remainder. A quarter of the machine division's cost where vectors are wide; elsewhere that divides
 * while others of the loop's instructions run. */
static inline vf vf_divide_fast(vf a, vf b) {
#if defined(HC_ISA_avx512)
    const vf r = _mm512_rcp14_ps(b), q = a * r;
    return vf_fma(vf_fma(-b, q, a), r, q);
#else
    return a / b;
#endif
}

/* 1 / b for b as above, within 2 units. */
static inline vf vf_reciprocal_fast(vf b) {
#if defined(HC_ISA_avx512)
    const vf r = _mm512_rcp14_ps(b);
    return vf_fma(r, vf_fma(-b, r, vf_set(1.0f)), r);
#else
    return vf_divide_fast(vf_set(1.0f), b);
#endif
}

/* ln 2 in two parts; the first times an integer below 2^15 is exact. */
#define VF_LN2_HIGH 0x1.63p-1f
#define VF_LN2_LOW (-0x1.bd0106p-13f)

/* x / ln 2 rounded to an integer n, and what is left of x: x = n ln 2 + r, |r| <= ln(2)/2. The low bits of
 * *shifted are n + bias, from where they can become an exponent by one shift. */
#define VF_SHIFT 0x1.8p23f
static inline vf vf_reduce_exp(vf x, float bias, vf *shifted, vf *n) {
    *shifted = vf_fma(x, vf_set(0x1.715476p0f), vf_set(VF_SHIFT + bias));
    *n = *shifted - (VF_SHIFT + bias);
    return vf_fma(*n, vf_set(-VF_LN2_LOW), vf_fma(*n, vf_set(-VF_LN2_HIGH), x));
}
/* e^r - 1 for such an r. */
static inline vf vf_expm1_reduced(vf r) {
    const vf q = VF_POLY(r, 0x1.fffffcp-2f, 0x1.55548ap-3f, 0x1.555916p-5f, 0x1.123fc6p-7f, 0x1.6a1a6ep-10f);
    return vf_fma(q, r * r, r);
}
/* 2^(n + shift) from the low bits of what vf_reduce_exp has shifted with a bias of 127 + shift. */
static inline vf vf_power_of_shifted(vf shifted) { return vi_float(vf_bits(shifted) << 23); }

/* y 2^n from the low bits of what vf_reduce_exp has shifted with a bias of 254, for |n| <= 200: rounded once,
 * as the power is applied in two halves, each with its share of the bias. */
static inline vf vf_scale_shifted(vf y, vf shifted) {
    const vu whole = (vu)shifted, half = whole >> 1;
    return y * (vf)(half << 23) * (vf)((whole - half) << 23);
}

/* e^x = 2^n e^r. What vanishes (masked scores, mostly) is set to zero instead of being
 * computed: on many CPUs a result below the normal range costs a hundred cycles. */
static inline vf vf_exp(vf x) {
    vf shifted, n;
#if defined(HC_ISA_avx512) /* what vanishes may be anything until the last instruction */
    const vf y = vf_expm1_reduced(vf_reduce_exp(vf_at_most(x, 89.0f), 0.0f, &shifted, &n)) + 1.0f;
    return _mm512_maskz_scalef_ps(_mm512_cmp_ps_mask(x, vf_set(-104.0f), _CMP_NLT_UQ), y, n);
#else
    const vi vanishes = x < -104.0f;
    const vf r = vf_reduce_exp(vf_at_most(vf_zero_where(vanishes, x), 89.0f), 254.0f, &shifted, &n);
    return vf_zero_where(vanishes, vf_scale_shifted(vf_expm1_reduced(r) + 1.0f, shifted));
#endif
}

/* e^x for x <= 0, a softmax's weight: e^0 is 1, the relative error is below 2^-23 + |x| 2^-24 (x / ln 2 is
 * rounded once, so small weights are less exact than large ones), which takes half the instructions of
 * vf_exp. Zero where the result is below the normal range (x < -87.3); NaN stays NaN; infinite from 88.7 on.
 *
 * 2^t = 2^n 2^f with n the nearest integer. The polynomial is the one of degree 5 with the least relative
 * error (9.2e-8) on |f| <= 1/2 among those that are 1 at 0. */
static inline vf vf_exp_of_weight(vf x) {
    const vf t = x * vf_set(0x1.715476p0f);
#if defined(HC_ISA_avx512)
    const vf f = _mm512_reduce_ps(t, 0); /* of an infinite t: 0 */
#else
    const vi vanishes = t < -126.0f;
    const vf near = vf_clamp(t, -126.0f, 128.0f), n = vf_round_small(near), f = near - n;
#endif
    const vf y =
        VF_POLY(f, 1.0f, 0x1.62e42ap-1f, 0x1.ebf9bcp-3f, 0x1.c6b752p-5f, 0x1.3cea88p-7f, 0x1.5bba14p-10f);
#if defined(HC_ISA_avx512)
    return _mm512_maskz_scalef_ps(_mm512_cmp_ps_mask(t, vf_set(-126.0f), _CMP_NLT_UQ), y, t - f);
#else
    const vf power = (vf)((vf_to_int(n) + 127) << 23); /* infinite for n = 128 */
    return vf_select(vanishes, vf_zero(), y * power);
#endif
}

/* e^x - 1 without cancellation: 2^n (e^r - 1) + (2^n - 1), halved inside so that 2^128 does not overflow. */
static inline vf vf_expm1(vf x) {
    vf shifted, n;
    const vf p = vf_expm1_reduced(vf_reduce_exp(vf_clamp(x, -20.0f, 89.0f), 126.0f, &shifted, &n));
    const vf half = vf_power_of_shifted(shifted), y = vf_fma(p, half, half - 0.5f);
    return vf_select(n == 0.0f, p, y + y);
}

#if defined(HC_ISA_avx512)
/* x = 2^*exponent * mantissa, mantissa in [3/4, 3/2), for positive finite x. Else the exponent is infinite at
 * 0 and infinity, and the mantissa NaN below 0, which is what a logarithm needs. */
static inline vf vf_split(vf x, vf *exponent) {
    const vf mantissa = _mm512_getmant_ps(x, _MM_MANT_NORM_p75_1p5, _MM_MANT_SIGN_nan);
    *exponent = (vf)_mm512_getexp_ps(x) - (vf)_mm512_getexp_ps(mantissa);
    return mantissa;
}
static inline vf vf_log_special(vf x, vf result) {
    (void)x;
    return result;
}
/* Q(f) of log(1 + f) = f + f^2 Q(f), -1/4 <= f <= 1/2, within 2^-30 of the logarithm. */
static inline vf vf_log_tail(vf f) {
    return VF_POLY(f, -0.5f, 0x1.55555ap-2f, -0x1.00006ep-2f, 0x1.999764p-3f, -0x1.5519dcp-3f, 0x1.24637ap-3f,
                   -0x1.04ac98p-3f, 0x1.df1cf6p-4f, -0x1.750fbp-4f, 0x1.343226p-5f);
}
#else
/* x = 2^*exponent * mantissa, mantissa in [sqrt(1/2), sqrt(2)), for positive finite x. */
static inline vf vf_split(vf x, vf *exponent) {
    const vi tiny = x < 0x1p-126f;
    const vi bits = vf_bits(vf_select(tiny, x * 0x1p24f, x));
    const vi k = (bits - 0x3f3504f3) >> 23;
    *exponent = vf_from_int(k) - vf_select(tiny, vf_set(24.0f), vf_zero());
    return vi_float(bits - (k << 23));
}
/* What a logarithm is outside the positive finite numbers: -inf at zero, inf at inf, NaN elsewhere. */
static inline vf vf_log_special(vf x, vf result) {
    result = vf_select(x == INFINITY, x, result);
    result = vf_select(x == 0.0f, vf_set(-INFINITY), result);
    return vf_select((x < 0.0f) | (x != x), vf_set(NAN), result);
}
/* Q(f) of log(1 + f) = f + f^2 Q(f), sqrt(1/2) - 1 <= f <= sqrt(2) - 1. */
static inline vf vf_log_tail(vf f) {
    return VF_POLY(f, -0.5f, 0x1.555548p-2f, -0x1.000006p-2f, 0x1.99a4b6p-3f, -0x1.555c4ep-3f, 0x1.233766p-3f,
                   -0x1.fc220ep-4f, 0x1.e6f08cp-4f, -0x1.de3bf8p-4f, 0x1.14573ep-4f);
}
#endif
/* Both parts of ln 2 are positive: an infinite exponent must not meet its negative. */
static inline vf vf_log(vf x) {
    vf e;
    const vf f = vf_split(x, &e) - 1.0f;
    const vf y = vf_fma(f * f, vf_log_tail(f), e * 0x1.c85fdep-10f);
    return vf_log_special(x, vf_fma(e, vf_set(0x1.62p-1f), f + y));
}

/* log2 x = exponent + log2(mantissa): exact for powers of two. */
static inline vf vf_log2(vf x) {
    vf e;
    const vf f = vf_split(x, &e) - 1.0f;
    return vf_log_special(x, vf_fma(vf_fma(f * f, vf_log_tail(f), f), vf_set(0x1.715476p0f), e));
}
/* ln(2^twos (high + low)) for a low part not above the last place of the high one, itself finite: low / high
 * is added to the logarithm, with 1 / (1 + f) = 1 - f + f^2 to the few digits that count. */
static inline vf vf_log_sum(vf high, vf low, vf twos) {
    vf e;
    const vf f = vf_split(high, &e) - 1.0f, square = f * f;
    const vi down = 127 - vf_to_int(vf_clamp(e, -126.0f, 126.0f));
    const vf rest = low * vi_float(down << 23) * (square + (1.0f - f));
    e += twos;
    const vf y = vf_fma(square, vf_log_tail(f), vf_fma(e, vf_set(0x1.c85fdep-10f), rest));
    return vf_log_special(high, vf_fma(e, vf_set(0x1.62p-1f), f + y));
}
/* ln(1 + x): of the rounded sum and what it has lost. */
static inline vf vf_log1p(vf x) {
    const vf u = x + 1.0f, d = u - 1.0f;
    return vf_select((d == 0.0f) | (x == INFINITY), x, vf_log_sum(u, x - d, vf_zero()));
}

/* tanh and erf: by tables where vectors have them. Elsewhere an odd polynomial for small |x|, and beyond */
#if defined(HC_ISA_avx512)
static inline vf vf_tanh(vf x) { return vf_copysign(vf_pieces(vf_abs(x), VF_TANH, 5, 0.0f), x); }
static inline vf vf_erf(vf x) { return vf_copysign(vf_pieces(vf_abs(x), VF_ERF, 5, VF_ERF_LOW), x); }
#else
/* 1 - 2 / (e^2|x| + 1), where the rounding of e^2|x| is harmless. */
static inline vf vf_tanh(vf x) {
    const vf t = vf_abs(x), z = x * x;
    const vf small =
        vf_fma(VF_POLY(z, -0x1.55552ap-2f, 0x1.110552p-3f, -0x1.b7fd5p-5f, 0x1.508204p-6f, -0x1.6e698ap-8f),
               z * x, x);
    const vf u = vf_exp(vf_clamp(t + t, 0.0f, 40.0f)) + 1.0f;
    const vf large = 1.0f - vf_divide_fast(vf_set(2.0f), u);
    return vf_select(t < 0.625f, small, vf_copysign(large, x));
}
/* 1 - e^-(x + x Q(x)), with Q fitted to the logarithm of erfc. */
static inline vf vf_erf(vf x) {
    const vf t = vf_clamp(vf_abs(x), 0.0f, 4.0f), z = x * x;
    const vf small = vf_fma(VF_POLY(z, 0x1.06eba8p-3f, -0x1.812742p-2f, 0x1.ce2dcap-4f, -0x1.b80962p-6f,
                                    0x1.549662p-8f, -0x1.a88d86p-11f, 0x1.574ebep-14f),
                            x, x);
    const vf q = VF_POLY(t, 0x1.0740bcp-3f, 0x1.4576f4p-1f, 0x1.aec636p-4f, -0x1.71e0fep-6f, 0x1.780fbap-9f,
                         -0x1.cc4908p-16f, -0x1.a2ee6p-15f, 0x1.6379d2p-18f);
    const vf large = 1.0f - vf_exp(-vf_fma(q, t, t));
    return vf_select(t < 0.93f, small, vf_copysign(large, x));
}
#endif

/* 1 / (1 + e^-x), or e^x / (1 + e^x): e^-|x| never overflows, so subnormal results are right too. */
static inline vf vf_sigmoid(vf x) {
    const vf e = vf_exp(-vf_abs(x));
    return vf_divide_fast(vf_select(x < 0.0f, e, vf_set(1.0f)), e + 1.0f);
}
/* The square root, correctly rounded, and 1 / sqrt(x) within 1 unit. */
#if defined(HC_ISA_avx512)
/* Machine roots of wide vectors take as long as two dozen products. An estimate of 14 bits, improved once
 * together with half its reciprocal h, and corrected by the remainder, is correctly rounded where the
 * remainder is exact: not for tiny numbers, which are left to the machine with what is infinite or has no
 * root. */
static inline vf vf_sqrt_fast(vf x) {
    const vf y = _mm512_rsqrt14_ps(x);
    vf g = x * y, h = y * 0.5f;
    const vf r = vf_fma(-g, h, vf_set(0.5f));
    g = vf_fma(g, r, g);
    h = vf_fma(h, r, h);
    g = vf_fma(vf_fma(-g, g, x), h, g);
    const __mmask16 zero = _mm512_cmp_ps_mask(x, vf_zero(), _CMP_EQ_OQ);
    const vi above = vf_bits(x) - 0x0d800000; /* 2^-100; up to the largest finite number */
    const __mmask16 apart =
        _mm512_cmp_epu32_mask((__m512i)above, (__m512i)vi_set(0x727fffff), _MM_CMPINT_NLE);
    if (HC_UNLIKELY((apart & ~zero) != 0)) return vf_sqrt(x);
    return _mm512_mask_mov_ps(g, zero, x);
}
/* The estimate y times 1 + e/2 + 3/8 e^2 with e = 1 - x y^2, of which x y is taken in two parts. */
static inline vf vf_rsqrt(vf x) {
    const vf y = _mm512_rsqrt14_ps(x), high = x * y, low = vf_fma(x, y, -high);
    const vf e = vf_fma(-low, y, vf_fma(-high, y, vf_set(1.0f)));
    const vf better = vf_fma(y * e, vf_fma(e, vf_set(0.375f), vf_set(0.5f)), y);
    return _mm512_mask_mov_ps(better, _mm512_cmp_ps_mask(e, e, _CMP_UNORD_Q), y); /* 0, infinity, NaN */
}
#else
static inline vf vf_sqrt_fast(vf x) { return vf_sqrt(x); }
static inline vf vf_rsqrt(vf x) { return 1.0f / vf_sqrt(x); }
#endif

/* One element, in double, written so that GCC vectorises loops over them: no branch, no call. */

static inline double hc_bits_f64(uint64_t bits) {
    double d;
    memcpy(&d, &bits, sizeof d);
    return d;
}
static inline uint64_t hc_f64_bits(double d) {
    uint64_t bits;
    memcpy(&bits, &d, sizeof bits);
    return bits;
}

/* Up to this a multiple of pi/2's first part (33 bits) is exact; beyond it the caller asks the C library for
 * those elements. */
#define HC_TRIG_LIMIT 0x1p20f
/* x - n pi/2 for |x| <= HC_TRIG_LIMIT. The quadrant n is read from the low bits of the sum with 1.5 * 2^52,
 * whose last place is 1. Reduced in double, so the rest has a float's full precision even near a multiple of
 * pi/2. */
static inline float hc_reduce_trig(float x, uint32_t *quadrant) {
    const double magic = 0x1.8p52, shifted = (double)x * 0x1.45f306dc9c883p-1 + magic;
    const double n = shifted - magic;
    *quadrant = (uint32_t)hc_f64_bits(shifted);
    return (float)(((double)x - n * 0x1.921fb544p0) - n * 0x1.0b4611a626331p-34);
}
/* sin(x + shift * pi/2) for |x| <= HC_TRIG_LIMIT: shift 0 is the sine, 1 the cosine. */
static inline float hc_sin_quadrant(float x, uint32_t shift) {
    uint32_t quadrant;
    const float r = hc_reduce_trig(x, &quadrant), z = r * r;
    const float s =
        r + r * z * (-0x1.555556p-3f + z * (0x1.111108p-7f + z * (-0x1.a00f94p-13f + z * 0x1.6cd5ecp-19f)));
    const float c =
        1.0f -
        (z * 0.5f -
         z * z * (0x1.555556p-5f + z * (-0x1.6c16b8p-10f + z * (0x1.a01118p-16f - z * 0x1.242908p-22f))));
    quadrant += shift;
    const uint32_t use_cos = 0 - (quadrant & 1), sign = (quadrant & 2) << 30;
    return hc_bits_f32(((hc_f32_bits(c) & use_cos) | (hc_f32_bits(s) & ~use_cos)) ^ sign);
}

/* Of |r| <= pi/4. */
static inline vf vf_sin_reduced(vf r) {
    const vf z = r * r;
    const vf p = VF_POLY(z, -0x1.555556p-3f, 0x1.111108p-7f, -0x1.a00f94p-13f, 0x1.6cd5ecp-19f);
    return vf_fma(p, r * z, r);
}
static inline vf vf_cos_reduced(vf r) {
    const vf z = r * r;
    const vf p = VF_POLY(z, -0.5f, 0x1.555556p-5f, -0x1.6c16b8p-10f, 0x1.a01118p-16f, -0x1.242908p-22f);
    return vf_fma(p, z, vf_set(1.0f));
}
/* x - n pi/2 for |x| <= HC_TRIG_LIMIT, n in the low bits of *quadrant. pi/2 is in three parts, and products
 * are not rounded. The first difference is exact, so r has its digits near multiples of pi/2 too. */
static inline vf vf_reduce_trig(vf x, vi *quadrant) {
#if defined(HC_ISA_avx512) || defined(HC_ISA_avx2) || defined(__aarch64__)
    const vf shifted = vf_fma(x, vf_set(0x1.45f306p-1f), vf_set(VF_SHIFT)), n = shifted - VF_SHIFT;
    *quadrant = vf_bits(shifted);
    return vf_fma(n, vf_set(0x1.ee59dap-50f),
                  vf_fma(n, vf_set(0x1.777a5cp-25f), vf_fma(n, vf_set(-0x1.921fb6p0f), x)));
#else /* a product is rounded: in double, lane by lane */
    vf r;
    vu q;
    for (size_t i = 0; i < HC_VL; i++) {
        uint32_t lane;
        r[i] = hc_reduce_trig(x[i], &lane);
        q[i] = lane;
    }
    *quadrant = (vi)q;
    return r;
#endif
}
/* sin(x + shift * pi/2) for |x| <= HC_TRIG_LIMIT: shift 0 is the sine, 1 the cosine. */
static inline vf vf_sin_quadrant(vf x, int32_t shift) {
    vi quadrant;
    const vf r = vf_reduce_trig(x, &quadrant);
    quadrant += shift;
    const vf y = vf_select((quadrant & 1) != 0, vf_cos_reduced(r), vf_sin_reduced(r));
    return vi_float(vf_bits(y) ^ (vi)((vu)(quadrant & 2) << 30));
}

/* a * b + c, in one instruction where there is one. */
static inline double hc_fma_f64(double a, double b, double c) {
#if defined(__FMA__) || defined(__aarch64__)
    return __builtin_fma(a, b, c);
#else
    return a * b + c;
#endif
}

/* log2 of a positive finite double that is normal (any positive float is): 2^-46 absolute near 1, relative
 * beyond. */
static inline double hc_log2_f64(double x) {
    const uint64_t bits = hc_f64_bits(x) - 0x3fe6a09e667f3bcdull;
    /* Arithmetic shift right by 52 through the sign-biased exponent, since AVX2 has no 64-bit one; then to
     * double. */
    const uint64_t biased = (bits + 0x4000000000000000ull) >> 52;
    const double k = hc_bits_f64(biased | 0x4330000000000000ull) - (0x1p52 + 0x400);
    const double m = hc_bits_f64(hc_f64_bits(x) - ((biased - 0x400) << 52));
    const double s = (m - 1) / (m + 1), z = s * s;
    const double p = hc_fma_f64(
        z,
        hc_fma_f64(
            z,
            hc_fma_f64(
                z,
                hc_fma_f64(z,
                           hc_fma_f64(z,
                                      hc_fma_f64(z, hc_fma_f64(z, 0x1.9438e14521f1cp-6, 0x1.ed25b3d615e1cp-3),
                                                 0x1.0bc81dda7632ap-2),
                                      0x1.484f8226e4b9ap-2),
                           0x1.a61756632ba85p-2),
                0x1.2776c5170dd0cp-1),
            0x1.ec709dc39c34ep-1),
        0x1.71547652b8314p+1);
    return hc_fma_f64(s, p, k);
}
/* 2^x, |x| <= 1000. */
static inline double hc_exp2_f64(double x) {
    const double magic = 0x1.8p52, shifted = x + magic, r = x - (shifted - magic);
    const double p = hc_fma_f64(
        r,
        hc_fma_f64(
            r,
            hc_fma_f64(
                r,
                hc_fma_f64(
                    r,
                    hc_fma_f64(
                        r,
                        hc_fma_f64(r,
                                   hc_fma_f64(r,
                                              hc_fma_f64(r,
                                                         hc_fma_f64(r,
                                                                    hc_fma_f64(r, 0x1.c0c52a3699351p-28,
                                                                               0x1.b57531a7b46d9p-24),
                                                                    0x1.62d415259bd43p-20),
                                                         0x1.ffcc6e94e2180p-17),
                                              0x1.43090bd6cab6ep-13),
                                   0x1.5d87fe369bc9cp-10),
                        0x1.3b2ab6fd825b1p-7),
                    0x1.c6b08d7074d58p-5),
                0x1.ebfbdff82bbbdp-3),
            0x1.62e42fefa3911p-1),
        1.0);
    return hc_bits_f64(hc_f64_bits(p) + (hc_f64_bits(shifted) << 52));
}

static inline float hc_select_f32(bool c, float a, float b) {
    const uint32_t mask = 0 - (uint32_t)c;
    return hc_bits_f32((hc_f32_bits(a) & mask) | (hc_f32_bits(b) & ~mask));
}
/* x^y as the C library defines it, all special cases included: 2^(y log2 |x|) in double, then the sign of an
 * odd power of a negative number, NaN for other powers of one, and the fixed points. */
static inline float hc_pow_f32(float x, float y) {
    const float a = fabsf(x), magnitude_y = fabsf(y);
    /* Powers of 0 and infinity come out of the clamp below: their logarithms are replaced by huge ones. */
    const double positive = (double)hc_select_f32((a > 0.0f) & (a < INFINITY), a, 1.0f);
    double l = hc_log2_f64(positive);
    l = a == 0.0f ? -1e300 : l;
    l = a == INFINITY ? 1e300 : l;
    double t = l * (double)y;
    t = t > 300 ? 300 : t;
    t = t < -300 ? -300 : t;
    float result = (float)hc_exp2_f64(t);
    const float whole = truncf(y), half = y * 0.5f;
    const bool integer = (whole == y) | (magnitude_y >= 0x1p24f),
               odd = integer & (truncf(half) != half) & (magnitude_y < 0x1p24f);
    const bool negative = (hc_f32_bits(x) >> 31) != 0;
    result = hc_select_f32(negative & odd, -result, result);
    result = hc_select_f32((x < 0.0f) & (x > -INFINITY) & !integer, NAN, result);
    result = hc_select_f32((x != x) | (y != y), NAN, result);
    return hc_select_f32((x == 1.0f) | (y == 0.0f) | ((x == -1.0f) & (magnitude_y == INFINITY)), 1.0f,
                         result);
}
