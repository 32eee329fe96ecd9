// SPDX-License-Identifier: Apache-2.0
/* Remainders of float vectors, exact as the C library's: by one division where the quotient has fewer than 24
 * bits, which is nearly always, else lane by lane. */
#pragma once
#include "simd.h"

static __attribute__((noinline)) vf vf_fmod_by_lanes(vf x, vf y) {
    vf r;
    for (size_t i = 0; i < HC_VL; i++) r[i] = fmodf(x[i], y[i]);
    return r;
}
/* With the sign of x. The truncated quotient n is right or, where it was rounded up, one too large; x - n y
 * has no more digits than x or y, so a fused multiply-add gives it exactly. */
static inline vf vf_fmod(vf x, vf y) {
#if defined(HC_ISA_avx512) || defined(HC_ISA_avx2) || defined(__aarch64__)
    const vf a = vf_abs(x), b = vf_abs(y), quotient = a / b;
    if (HC_UNLIKELY(vi_any(~((quotient < 0x1p23f) & (b < INFINITY))))) return vf_fmod_by_lanes(x, y);
    const vf n = vf_from_int(vf_to_int(quotient)), r = vf_fma(-n, b, a);
    const vf rest = vf_select(r < 0.0f, r + b, r);
    return vi_float((vf_bits(x) & INT32_MIN) | (vf_bits(rest) & INT32_MAX));
#else /* a product is rounded */
    return vf_fmod_by_lanes(x, y);
#endif
}
/* With the sign of y. */
static inline vf vf_remainder(vf x, vf y) {
    const vf r = vf_fmod(x, y);
    return vf_select((r != 0.0f) & ((r < 0.0f) != (y < 0.0f)), r + y, r);
}
