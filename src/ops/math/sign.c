// SPDX-License-Identifier: Apache-2.0
/* y = -1, 0 or 1, element by element; NaN gives 0, as in PyTorch. Of complex numbers x / |x|, 0 for 0. */
#include "unary.h"

HC_EW_KERNELS_ALL(sign)

#ifdef HC_ISA
#include "hypot.h"

/* hypot, so that x / |x| is right where |x|^2 would overflow or vanish. */
static inline hc_c128 sign_c128(hc_c128 x) {
    const double size = hypot(x.re, x.im);
    return size == 0 ? (hc_c128){0, 0} : (hc_c128){x.re / size, x.im / size};
}

#define SIGN(x) (__typeof__(x))(((x) > 0) - ((x) < 0))

HC_EW_BODY1(sign_F32, float, float, SIGN)
HC_EW_BODY1(sign_F64, double, double, SIGN)
HC_EW_BODY1(sign_I64, int64_t, int64_t, SIGN)
HC_EW_BODY1(sign_C128, hc_c128, hc_c128, sign_c128)
#else
static const struct hc_ew SPEC = {"aclnnSign", HC_EW_TABLE_ALL(sign), 0, 0};
HC_UNARY(aclnnSign, SPEC)
#endif
