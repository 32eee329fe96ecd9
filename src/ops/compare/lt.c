// SPDX-License-Identifier: Apache-2.0
/* y = a < b (less), element by element, for two tensors or a tensor and a scalar, compared in the
 * promoted type; false with NaN. */
#include "compare.h"

HC_COMPARE_KERNELS(lt, REAL)

#ifdef HC_ISA
HC_COMPARE_BODIES(lt, <)
#else
static const struct hc_ew TENSOR = {"aclnnLtTensor", HC_EW_TABLE_REAL(lt), 1, 0};
static const struct hc_ew SCALAR = {"aclnnLtScalar", HC_EW_TABLE_REAL(lts), 1, 0};
HC_BINARY(aclnnLtTensor, TENSOR)
HC_COMPARE_SCALAR(aclnnLtScalar, SCALAR)
HC_BINARY_INPLACE_TYPED(aclnnInplaceLtTensor, TENSOR, const aclTensor)
HC_COMPARE_SCALAR_INPLACE(aclnnInplaceLtScalar, SCALAR, const aclTensor)
/* Another name of the same operator. */
HC_COMPARE_SCALAR(aclnnLessScalar, SCALAR)
#endif
