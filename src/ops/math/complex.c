// SPDX-License-Identifier: Apache-2.0
/* Complex numbers from two real tensors: y = real + i imag, and (Polar) y = input e^(i angle). There is
 * one complex block type, so real inputs are loaded as complex numbers first: the cost is a wider block,
 * not a wider memory access. */
#include "binary.h"

HC_EW_KERNEL(complex_C128)
HC_EW_KERNEL(polar_C128)

#ifdef HC_ISA
#include <math.h>

/* The inputs arrive as complex numbers without imaginary part. */
static inline hc_c128 from_parts(hc_c128 a, hc_c128 b) { return (hc_c128){a.re, b.re}; }
static inline hc_c128 from_polar(hc_c128 a, hc_c128 b) {
    return (hc_c128){a.re * cos(b.re), a.re * sin(b.re)};
}
HC_EW_BODY2(complex_C128, hc_c128, hc_c128, from_parts)
HC_EW_BODY2(polar_C128, hc_c128, hc_c128, from_polar)
#else
static const struct hc_ew PARTS = {"aclnnComplex", {[HC_C128] = complex_C128_table}, 0, 0};
static const struct hc_ew POLAR = {"aclnnPolar", {[HC_C128] = polar_C128_table}, 0, 0};
/* torch.complex and torch.polar; inputs broadcast. */
HC_BINARY(aclnnComplex, PARTS)
HC_BINARY(aclnnPolar, POLAR)
#endif
