// SPDX-License-Identifier: Apache-2.0
/* y = |x|, element by element; of complex numbers the magnitude. Exact but for the magnitude, which hypot
 * makes without overflow on the way. A complex result is a real number that the output's type takes over.
 */
#include "unary.h"

HC_EW_KERNELS_ALL(abs)
HC_EW_KERNEL(abs_BF16)

#ifdef HC_ISA
#include <math.h>

#include "complex_math.h"

/* The lowest integer is its own magnitude, as in PyTorch. */
static inline int64_t abs_i64(int64_t x) { return x < 0 ? (int64_t)(0 - (uint64_t)x) : x; }

HC_EW_BODY1(abs_F32, float, float, fabsf)
/* No arithmetic: the sign bit goes. */
void HC_FN(abs_BF16)(size_t n, void *const *out, const void *const *in, const void *args) {
    uint16_t *y = out[0];
    const uint16_t *x = in[0];
    (void)args;
    _Pragma("GCC ivdep") for (size_t i = 0; i < n; i++) y[i] = x[i] & 0x7fff;
}
HC_EW_BODY1(abs_F64, double, double, fabs)
HC_EW_BODY1(abs_I64, int64_t, int64_t, abs_i64)
HC_EW_BODY1(abs_C128, hc_c128, hc_c128, hc_cabs)
#else
static const struct hc_ew SPEC = {"aclnnAbs", HC_EW_TABLE_ALL_BF16(abs), 0, HC_EW_CASTS | HC_EW_NO_BOOL};
HC_UNARY(aclnnAbs, SPEC)
#endif
