// SPDX-License-Identifier: Apache-2.0
/* y = max(x, 0), element by element; NaN stays NaN, since it is not below 0. Integers too. Bound by
 * memory. */
#include "direct_bf16.h"
#include "unary.h"

HC_EW_KERNELS_REAL(relu)
HC_EW_KERNEL(relu_BF16)

#ifdef HC_ISA
#include <math.h>

#define RELU(x) ((x) < 0 ? 0 : (x))

HC_EW_BODY1(relu_F32, float, float, RELU)
HC_EW_BODY1_BF16(relu_BF16, (void)0, vf_select(x < 0.0f, vf_zero(), x))
HC_EW_BODY1(relu_F64, double, double, RELU)
HC_EW_BODY1(relu_I64, int64_t, int64_t, RELU)
#else
static const struct hc_ew SPEC = {"aclnnRelu", HC_EW_TABLE_REAL_BF16(relu), 0, HC_EW_NO_BOOL};
HC_UNARY_TYPED(aclnnRelu, SPEC, const aclTensor)
HC_UNARY_INPLACE(aclnnInplaceRelu, SPEC)
#endif
