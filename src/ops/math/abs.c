// SPDX-License-Identifier: Apache-2.0
/* y = |x|, element by element; of complex numbers the magnitude. Exact but for the magnitude, which hypot
 * makes without overflow on the way. A complex result is a real number that the output's type takes over.
 */
#include "unary.h"

HC_EW_KERNELS_ALL(abs)

#ifdef HC_ISA
#include <math.h>

#include "complex_math.h"

/* The lowest integer is its own magnitude, as in PyTorch. */
static inline int64_t abs_i64(int64_t x) { return x < 0 ? (int64_t)(0 - (uint64_t)x) : x; }

HC_EW_BODY1(abs_F32, float, float, fabsf)
HC_EW_BODY1(abs_F64, double, double, fabs)
HC_EW_BODY1(abs_I64, int64_t, int64_t, abs_i64)
HC_EW_BODY1(abs_C128, hc_c128, hc_c128, hc_cabs)
#else
static const struct hc_ew SPEC = {"aclnnAbs", HC_EW_TABLE_ALL(abs), 0, HC_EW_CASTS | HC_EW_NO_BOOL};
HC_UNARY(aclnnAbs, SPEC)
#endif
