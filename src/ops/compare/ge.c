// SPDX-License-Identifier: Apache-2.0
/* y = a >= b (greater or equal), element by element, for two tensors or a tensor and a scalar, compared
 * in the promoted type; false with NaN. */
#include "compare.h"

HC_COMPARE_KERNELS(ge, REAL)

#ifdef HC_ISA
HC_COMPARE_BODIES(ge, >=)
#else
static const struct hc_ew TENSOR = {"aclnnGeTensor", HC_EW_TABLE_REAL(ge), 1, 0};
static const struct hc_ew SCALAR = {"aclnnGeScalar", HC_EW_TABLE_REAL(ges), 1, 0};
HC_BINARY(aclnnGeTensor, TENSOR)
HC_COMPARE_SCALAR(aclnnGeScalar, SCALAR)
HC_BINARY_INPLACE_TYPED(aclnnInplaceGeTensor, TENSOR, aclTensor)
HC_COMPARE_SCALAR_INPLACE(aclnnInplaceGeScalar, SCALAR, aclTensor)
#endif
