// SPDX-License-Identifier: Apache-2.0
/* Tangent, and the angles that functions of angles have, for every input. Errors against the exact value over
 * all floats, in units in the last place: 2 (tests/ops/math/test_accuracy.py). Polynomials as those of
 * simd_math.h. */
#pragma once
#include "simd_math.h"

/* pi / 2 in two parts. */
#define VF_HALF_PI 0x1.921fb6p0f
#define VF_HALF_PI_LOW (-0x1.777a5cp-25f)

/* tan x for |x| <= HC_TRIG_LIMIT, where the quarter is found to 1/50, so that a little more than an eighth of
 * the circle is left. What is left of x is in two parts, as the tangent of the second is as large as the
 * rounding of the result; beyond an odd number of quarters it is -1 / tan. */
#if defined(__FMA__) || defined(__aarch64__)
static inline vf vf_tan_of_small(vf x) {
    const vf shifted = vf_fma(x, vf_set(0x1.45f306p-1f), vf_set(VF_SHIFT)), n = shifted - VF_SHIFT;
    const vf first = vf_fma(n, vf_set(-VF_HALF_PI), x), second = n * -VF_HALF_PI_LOW, r = first + second;
    const vf lost = (first - r) + second, below = vf_fma(n, vf_set(-VF_HALF_PI_LOW), -second);
    const vf low = vf_fma(n, vf_set(0x1.ee59dap-50f), lost + below);
    const vf z = r * r;
    const vf p = r * z *
                 VF_POLY(z, 0x1.555566p-2f, 0x1.110bfcp-3f, 0x1.bb2464p-5f, 0x1.59b992p-6f, 0x1.728d6cp-7f,
                         -0x1.0cc726p-11f, 0x1.325426p-8f);
    const vf about = r + p, y = r + vf_fma(low, vf_fma(about, about, vf_set(1.0f)), p);
    return vf_select((vf_bits(shifted) & 1) != 0, -1.0f / y, y);
}
#endif

/* The angle of the point (a, b), 0 <= b <= a, in [0, pi/4]: of b / a, or pi/4 with that of (b - a) / (b + a)
 * where b is more than half of a. a is at most 2^126 or infinite. */
static inline vf vf_angle_in_octant(vf b, vf a) {
    const vi far = (b > a * 0.5f) | (a == b);
    const vf zero = vf_zero();
    vf above = vf_select(far, b - a, b), below = a + vf_select(far, b, zero);
    above = vf_zero_where(a == b, above); /* infinities too, and the point 0 */
    below = vf_select(a == 0.0f, vf_set(1.0f), below);
    const vf y = above / below, z = y * y;
    const vf p = y * z *
                 VF_POLY(z, -0x1.555552p-2f, 0x1.999742p-3f, -0x1.244ff8p-3f, 0x1.c06e22p-4f, -0x1.47fbaep-4f,
                         0x1.3fa16ap-5f);
    const vi turned = far & (a != 0.0f);
    const vf quarter = vf_select(turned, vf_set(VF_HALF_PI / 2), zero),
             low = vf_select(turned, vf_set(VF_HALF_PI_LOW / 2), zero);
    return quarter + (y + (p + low));
}
static inline vf vf_atan(vf x) {
    const vf t = vf_abs(x), one = vf_set(1.0f);
    const vi steep = t > 1.0f;
    /* From 2^64 on the angle is pi/2 to the last digit, and a sum with it does not overflow. */
    const vf near =
        vf_angle_in_octant(vf_select(steep, one, t), vf_select(steep, vf_at_most(t, 0x1p64f), one));
    return vf_copysign(vf_select(steep, VF_HALF_PI - (near - VF_HALF_PI_LOW), near), x);
}
/* The angle of the point (x, y) in [-pi, pi]; signed zeros choose the side of the cut. */
static inline vf vf_atan2(vf y, vf x) {
    vf u = vf_abs(x), v = vf_abs(y);
    const vi steep = v > u, behind = vf_bits(x) < 0;
    const vf large = vf_select(steep, v, u),
             scale = vf_select(large > 0x1p100f, vf_set(0x1p-30f), vf_set(1.0f));
    const vf near = vf_angle_in_octant(vf_select(steep, u, v) * scale, large * scale);
    /* Two quarters, one or none, plus or minus the angle. */
    const vi minus = steep ^ behind;
    const vf quarters = vf_select(steep, vf_set(1.0f), vf_select(behind, vf_set(2.0f), vf_zero()));
    const vf part = vf_select(minus, -near, near);
    const vf angle = quarters * VF_HALF_PI + (part + quarters * VF_HALF_PI_LOW);
    return vf_select((x != x) | (y != y), x + y, vf_copysign(angle, y));
}

/* asin s = s + s z P(z) for s^2 = z <= 1/4; beyond, by the half angle: s = sqrt((1 - |x|) / 2). NaN beyond 1.
 */
static inline vf vf_arc_sine_part(vf t, vi large, vf *s) {
    const vf half = vf_fma(t, vf_set(-0.5f), vf_set(0.5f)), z = vf_select(large, half, t * t);
    *s = vf_select(large, vf_sqrt_fast(half), t);
    return *s * z *
           VF_POLY(z, 0x1.55554cp-3f, 0x1.3338acp-4f, 0x1.6ca75p-5f, 0x1.04d36ap-5f, 0x1.d511aap-7f,
                   0x1.34cff6p-5f);
}
static inline vf vf_asin(vf x) {
    const vf t = vf_abs(x);
    const vi large = t > 0.5f;
    vf s;
    const vf p = vf_arc_sine_part(t, large, &s);
    const vf rest = (VF_HALF_PI - 2.0f * s) + (VF_HALF_PI_LOW - 2.0f * p);
    return vf_copysign(vf_select(large, rest, s + p), x);
}
static inline vf vf_acos(vf x) {
    const vf t = vf_abs(x);
    const vi large = t > 0.5f, behind = vf_bits(x) < 0;
    vf s;
    const vf p = vf_arc_sine_part(t, large, &s), s2 = s + s, p2 = p + p;
    const vf small = (VF_HALF_PI - vf_copysign(s, x)) + (VF_HALF_PI_LOW - vf_copysign(p, x));
    const vf back = (2.0f * VF_HALF_PI - s2) + (2.0f * VF_HALF_PI_LOW - p2);
    return vf_select(large, vf_select(behind, back, s2 + p2), small);
}
