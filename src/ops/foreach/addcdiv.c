// SPDX-License-Identifier: Apache-2.0
/* out = x1 + scalar * x2 / x3, over lists of floats, in this order of operations: the update step of Adam
 * as PyTorch writes it. */
#include "foreach.h"

HC_EW_KERNEL(foreach_addcdiv_F32)
HC_EW_KERNEL(foreach_addcdiv_F64)

#ifdef HC_ISA
/* The product before the quotient, as in addcdiv on one tensor. */
#define ADDCDIV(a, b, c, s) ((a) + (s) * (b) / (c))
HC_FOREACH_BODY3(foreach_addcdiv_F32, F32, ADDCDIV)
HC_FOREACH_BODY3(foreach_addcdiv_F64, F64, ADDCDIV)
#else
HC_FOREACH_SPEC2(SCALAR, "aclnnForeachAddcdivScalar", foreach_addcdiv)
HC_FOREACH_SPEC2(SCALAR_V2, "aclnnForeachAddcdivScalarV2", foreach_addcdiv)
HC_FOREACH_SPEC2(SCALAR_LIST, "aclnnForeachAddcdivScalarList", foreach_addcdiv)
HC_FOREACH_TERNARY_SCALAR(aclnnForeachAddcdivScalar, SCALAR, aclTensor, HC_FOREACH_ONE)
HC_FOREACH_TERNARY_SCALAR(aclnnForeachAddcdivScalarV2, SCALAR_V2, aclScalar, HC_FOREACH_ONE)
HC_FOREACH_TERNARY_SCALAR(aclnnForeachAddcdivScalarList, SCALAR_LIST, aclTensor, HC_FOREACH_EACH)
#endif
