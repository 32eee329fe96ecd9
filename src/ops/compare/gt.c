// SPDX-License-Identifier: Apache-2.0
/* y = a > b (greater), element by element, for two tensors or a tensor and a scalar, compared in the
 * promoted type; false with NaN. */
#include "compare.h"

HC_COMPARE_KERNELS(gt, REAL)

#ifdef HC_ISA
HC_COMPARE_BODIES(gt, >)
#else
static const struct hc_ew TENSOR = {"aclnnGtTensor", HC_EW_TABLE_REAL(gt), 1, 0};
static const struct hc_ew SCALAR = {"aclnnGtScalar", HC_EW_TABLE_REAL(gts), 1, 0};
HC_BINARY(aclnnGtTensor, TENSOR)
HC_COMPARE_SCALAR(aclnnGtScalar, SCALAR)
HC_BINARY_INPLACE_TYPED(aclnnInplaceGtTensor, TENSOR, const aclTensor)
HC_COMPARE_SCALAR_INPLACE(aclnnInplaceGtScalar, SCALAR, aclTensor)
#endif
