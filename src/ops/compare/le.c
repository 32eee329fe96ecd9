// SPDX-License-Identifier: Apache-2.0
/* y = a <= b (less or equal), element by element, for two tensors or a tensor and a scalar, compared in
 * the promoted type; false with NaN. */
#include "compare.h"

HC_COMPARE_KERNELS(le, REAL)

#ifdef HC_ISA
HC_COMPARE_BODIES(le, <=)
#else
static const struct hc_ew TENSOR = {"aclnnLeTensor", HC_EW_TABLE_REAL(le), 1, 0};
static const struct hc_ew SCALAR = {"aclnnLeScalar", HC_EW_TABLE_REAL(les), 1, 0};
HC_BINARY(aclnnLeTensor, TENSOR)
HC_COMPARE_SCALAR(aclnnLeScalar, SCALAR)
HC_BINARY_INPLACE_TYPED(aclnnInplaceLeTensor, TENSOR, aclTensor)
HC_COMPARE_SCALAR_INPLACE(aclnnInplaceLeScalar, SCALAR, aclTensor)
#endif
