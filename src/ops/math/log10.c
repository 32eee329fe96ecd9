// SPDX-License-Identifier: Apache-2.0
/* y = base 10 logarithm of x, element by element; -inf at 0, NaN below. By the C library in double,
 * rounded once: exact for powers of ten. */
#include "unary.h"

HC_EW_KERNELS_FLOAT(log10)

#ifdef HC_ISA
#include <math.h>

static inline float log10_f32(float x) { return (float)log10((double)x); }

HC_EW_BODY1(log10_F32, float, float, log10_f32)
HC_EW_BODY1(log10_F64, double, double, log10)
#else
static const struct hc_ew SPEC = {"aclnnLog10", HC_EW_TABLE_FLOAT(log10), 0, HC_CLASS_FLOAT};
HC_UNARY(aclnnLog10, SPEC)
HC_UNARY_INPLACE(aclnnInplaceLog10, SPEC)
#endif
