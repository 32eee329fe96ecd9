// SPDX-License-Identifier: Apache-2.0
/* y = x - trunc(x), element by element: exact, with the sign of x; 0 for integers. An infinity gives NaN,
 * as the difference of two. */
#include "direct_bf16.h"
#include "unary.h"

HC_EW_KERNELS_REAL(frac)
HC_EW_KERNEL(frac_BF16)

#ifdef HC_ISA
#include <math.h>

static inline float frac_f32(float x) { return x - truncf(x); }
static inline double frac_f64(double x) { return x - trunc(x); }
static inline int64_t frac_i64(int64_t x) { return x - x; }

HC_EW_BODY1(frac_F32, float, float, frac_f32)
HC_EW_BODY1_BF16(frac_BF16, (void)0, x - vf_trunc(x))
HC_EW_BODY1(frac_F64, double, double, frac_f64)
HC_EW_BODY1(frac_I64, int64_t, int64_t, frac_i64)
#else
static const struct hc_ew SPEC = {"aclnnFrac", HC_EW_TABLE_REAL_BF16(frac), 0, HC_EW_NO_BOOL};
HC_UNARY(aclnnFrac, SPEC)
HC_UNARY_INPLACE(aclnnInplaceFrac, SPEC)
#endif
