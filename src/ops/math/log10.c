// SPDX-License-Identifier: Apache-2.0
/* y = base 10 logarithm of x, element by element; -inf at 0, NaN below. float within 1 unit: the exponent
 * times log10(2), the mantissa's logarithm times log10(e), whose sum keeps what its first rounding loses.
 * double: the C library. */
#include "direct_bf16.h"
#include "unary.h"

HC_EW_KERNELS_FLOAT(log10)
HC_EW_KERNEL(log10_BF16)

#ifdef HC_ISA
#include <math.h>

#include "by_lanes.h"
#include "simd_math.h"

#if defined(__FMA__) || defined(__aarch64__)
/* log10(2) in two parts, of which the first times an exponent is exact, and log10(e) in two. */
#define LOG_2_HIGH 0x1.344p-2f
#define LOG_2_LOW 0x1.3509f8p-18f
#define LOG_E_HIGH 0x1.bcb7b2p-2f
#define LOG_E_LOW (-0x1.5b235ep-27f)

static inline vf log10_vf(vf x) {
    vf e;
    const vf f = vf_split(x, &e) - 1.0f, y = f * f * vf_log_tail(f);
    const vf p = f * LOG_E_HIGH, p_lost = vf_fma(f, vf_set(LOG_E_HIGH), -p);
    const vf whole = e * LOG_2_HIGH, sum = whole + p;
    /* Where e is not 0 the product is smaller; where it is, nothing is lost. Infinite exponents give no
     * number. */
    const vf lost = p - (sum - whole);
    const vf low =
        vf_fma(y, vf_set(LOG_E_HIGH), vf_fma(f, vf_set(LOG_E_LOW), vf_fma(e, vf_set(LOG_2_LOW), p_lost)));
    const vf result = sum + vf_select(lost == lost, low + lost, vf_zero());
    return vf_log_special(x, result);
}
#else /* products are rounded, which costs the last place: the C library in double */
HC_BY_LANES(log10_vf, log10)
#endif
HC_EW_BODY1_VF(log10_F32, log10_vf)
HC_EW_BODY1_BF16(log10_BF16, (void)0, log10_vf(x))
HC_EW_BODY1(log10_F64, double, double, log10)
#else
static const struct hc_ew SPEC = {"aclnnLog10", HC_EW_TABLE_FLOAT_BF16(log10), 0, HC_CLASS_FLOAT};
HC_UNARY(aclnnLog10, SPEC)
HC_UNARY_INPLACE(aclnnInplaceLog10, SPEC)
#endif
