// SPDX-License-Identifier: Apache-2.0
/* y = x sigmoid(1.702 x) = x / (1 + e^(-1.702 |x|)) * e^(0.851 (x - |x|)), element by element. The second
 * form, the one documented, does not overflow; the sigmoid here does not either. */
#include "unary.h"

HC_EW_KERNELS_FLOAT(fast_gelu)

#ifdef HC_ISA
#include <math.h>

#include "simd_math.h"

static inline vf fast_gelu_vf(vf x) { return x * vf_sigmoid(x * 1.702f); }
static inline double fast_gelu_f64(double x) { return x / (1 + exp(-1.702 * x)); }

HC_EW_BODY1_VF(fast_gelu_F32, fast_gelu_vf)
HC_EW_BODY1(fast_gelu_F64, double, double, fast_gelu_f64)
#else
static const struct hc_ew SPEC = {"aclnnFastGelu", HC_EW_TABLE_FLOAT(fast_gelu), 0, HC_CLASS_FLOAT};
HC_UNARY(aclnnFastGelu, SPEC)
#endif
