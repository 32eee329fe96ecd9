// SPDX-License-Identifier: Apache-2.0
/* Complex arithmetic on hc_c128 for kernels, by the C library. */
#pragma once
#include <complex.h>
#include <math.h>

#include "hc_dtype.h"
#include "hypot.h"

static inline double complex hc_c99(hc_c128 x) { return CMPLX(x.re, x.im); }
static inline hc_c128 hc_from_c99(double complex x) { return (hc_c128){creal(x), cimag(x)}; }

static inline hc_c128 hc_cadd(hc_c128 a, hc_c128 b) { return (hc_c128){a.re + b.re, a.im + b.im}; }
static inline hc_c128 hc_csub(hc_c128 a, hc_c128 b) { return (hc_c128){a.re - b.re, a.im - b.im}; }
/* The plain formula, as PyTorch's vectorised kernels use (no recovery of infinities), and cheaper than
 * the C library's. */
static inline hc_c128 hc_cmul(hc_c128 a, hc_c128 b) {
    return (hc_c128){a.re * b.re - a.im * b.im, a.re * b.im + a.im * b.re};
}
/* Scaled by the compiler's run time, so that a large divisor does not overflow. */
static inline hc_c128 hc_cdiv(hc_c128 a, hc_c128 b) { return hc_from_c99(hc_c99(a) / hc_c99(b)); }
static inline bool hc_ceq(hc_c128 a, hc_c128 b) { return a.re == b.re && a.im == b.im; }

#define HC_COMPLEX_FN(name, fn)                                                                              \
    static inline hc_c128 name(hc_c128 x) { return hc_from_c99(fn(hc_c99(x))); }
HC_COMPLEX_FN(hc_cexp, cexp)
HC_COMPLEX_FN(hc_clog, clog)
HC_COMPLEX_FN(hc_csqrt, csqrt)
HC_COMPLEX_FN(hc_csin, csin)
HC_COMPLEX_FN(hc_ccos, ccos)
HC_COMPLEX_FN(hc_ctan, ctan)
HC_COMPLEX_FN(hc_csinh, csinh)
HC_COMPLEX_FN(hc_ccosh, ccosh)
HC_COMPLEX_FN(hc_ctanh, ctanh)
HC_COMPLEX_FN(hc_casin, casin)
HC_COMPLEX_FN(hc_cacos, cacos)
HC_COMPLEX_FN(hc_catan, catan)
HC_COMPLEX_FN(hc_casinh, casinh)
HC_COMPLEX_FN(hc_cacosh, cacosh)
HC_COMPLEX_FN(hc_catanh, catanh)
/* The magnitude, as a complex number: storing it to a real type takes the real part. */
static inline hc_c128 hc_cabs(hc_c128 x) { return (hc_c128){hypot(x.re, x.im), 0}; }
static inline hc_c128 hc_crecip(hc_c128 x) { return hc_cdiv((hc_c128){1, 0}, x); }
static inline hc_c128 hc_cpow(hc_c128 x, hc_c128 y) { return hc_from_c99(cpow(hc_c99(x), hc_c99(y))); }
