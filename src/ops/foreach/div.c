// SPDX-License-Identifier: Apache-2.0
/* out = x1 / x2, and out = x / scalar, over lists: true division, so of floats only (clients promote
 * integers). A division, not a product with the reciprocal, which would round differently from PyTorch. */
#include "foreach.h"

HC_EW_KERNEL(foreach_div_F32)
HC_EW_KERNEL(foreach_div_F64)
HC_EW_KERNEL(foreach_div_scalar_F32)
HC_EW_KERNEL(foreach_div_scalar_F64)

#ifdef HC_ISA
#define DIV(a, b) ((a) / (b))
HC_EW_BODY2(foreach_div_F32, float, float, DIV)
HC_EW_BODY2(foreach_div_F64, double, double, DIV)
HC_FOREACH_BODY1(foreach_div_scalar_F32, F32, DIV)
HC_FOREACH_BODY1(foreach_div_scalar_F64, F64, DIV)
#else
/* V1 takes the scalar from device memory, V2 by value. */
HC_FOREACH_SPEC2(LIST, "aclnnForeachDivList", foreach_div)
HC_FOREACH_SPEC2(SCALAR, "aclnnForeachDivScalar", foreach_div_scalar)
HC_FOREACH_SPEC2(SCALAR_V2, "aclnnForeachDivScalarV2", foreach_div_scalar)
HC_FOREACH_SPEC2(SCALAR_LIST, "aclnnForeachDivScalarList", foreach_div_scalar)
HC_FOREACH_BINARY(aclnnForeachDivList, LIST)
HC_FOREACH_SCALAR(aclnnForeachDivScalar, SCALAR, aclTensor)
HC_FOREACH_SCALAR(aclnnForeachDivScalarV2, SCALAR_V2, aclScalar)
HC_FOREACH_SCALAR_LIST(aclnnForeachDivScalarList, SCALAR_LIST)
#endif
