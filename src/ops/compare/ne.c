// SPDX-License-Identifier: Apache-2.0
/* y = a != b (not equal), element by element, for two tensors or a tensor and a scalar. The exact
 * opposite of eq.c: true with NaN. */
#include "compare.h"

HC_COMPARE_KERNELS(ne, ALL)

#ifdef HC_ISA
HC_COMPARE_BODIES(ne, !=)
#include "complex_math.h"
#define COMPLEX(a, b) (!hc_ceq((a), (b)))
HC_EW_BODY2(ne_C128, uint8_t, hc_c128, COMPLEX)
HC_EW_BODY_SCALAR(nes, C128, uint8_t, COMPLEX(x, s))
#else
static const struct hc_ew TENSOR = {"aclnnNeTensor", HC_EW_TABLE_ALL(ne), 1, 0};
static const struct hc_ew SCALAR = {"aclnnNeScalar", HC_EW_TABLE_ALL(nes), 1, 0};
HC_BINARY(aclnnNeTensor, TENSOR)
HC_COMPARE_SCALAR(aclnnNeScalar, SCALAR)
HC_BINARY_INPLACE_TYPED(aclnnInplaceNeTensor, TENSOR, aclTensor)
HC_COMPARE_SCALAR_INPLACE(aclnnInplaceNeScalar, SCALAR, aclTensor)
#endif
