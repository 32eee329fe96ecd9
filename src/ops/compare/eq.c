// SPDX-License-Identifier: Apache-2.0
/* y = a == b (equal), element by element, for two tensors or a tensor and a scalar. Compared in the
 * promoted type of both, 64-bit integers exactly; NaN equals nothing, 0 equals -0. Complex numbers can be
 * equal, but have no order. */
#include "compare.h"

HC_COMPARE_KERNELS(eq, ALL)

#ifdef HC_ISA
HC_COMPARE_BODIES(eq, ==)
#include "complex_math.h"
#define COMPLEX(a, b) (hc_ceq((a), (b)))
HC_EW_BODY2(eq_C128, uint8_t, hc_c128, COMPLEX)
HC_EW_BODY_SCALAR(eqs, C128, uint8_t, COMPLEX(x, s))
#else
static const struct hc_ew TENSOR = {"aclnnEqTensor", HC_EW_TABLE_ALL(eq), 1, 0};
static const struct hc_ew SCALAR = {"aclnnEqScalar", HC_EW_TABLE_ALL(eqs), 1, 0};
HC_BINARY(aclnnEqTensor, TENSOR)
HC_COMPARE_SCALAR(aclnnEqScalar, SCALAR)
HC_BINARY_INPLACE_TYPED(aclnnInplaceEqTensor, TENSOR, const aclTensor)
HC_COMPARE_SCALAR_INPLACE(aclnnInplaceEqScalar, SCALAR, const aclTensor)
#endif
