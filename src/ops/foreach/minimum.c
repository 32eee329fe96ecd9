// SPDX-License-Identifier: Apache-2.0
/* out = the smaller of two lists, or of a list and a scalar; NaN if either is. Used for clipping from
 * above. */
#include "foreach.h"

HC_EW_KERNEL(foreach_minimum_F32)
HC_EW_KERNEL(foreach_minimum_F64)
HC_EW_KERNEL(foreach_minimum_I64)
HC_EW_KERNEL(foreach_minimum_scalar_F32)
HC_EW_KERNEL(foreach_minimum_scalar_F64)
HC_EW_KERNEL(foreach_minimum_scalar_I64)

#ifdef HC_ISA
/* A NaN in a compares unequal to itself; one in b fails the comparison and is chosen. */
#define MINIMUM(a, b) ((a) < (b) || (a) != (a) ? (a) : (b))
HC_EW_BODY2(foreach_minimum_F32, float, float, MINIMUM)
HC_EW_BODY2(foreach_minimum_F64, double, double, MINIMUM)
/* Integers have no NaN to look for. */
#define MINIMUM_INT(a, b) ((a) < (b) ? (a) : (b))
HC_EW_BODY2(foreach_minimum_I64, int64_t, int64_t, MINIMUM_INT)
HC_FOREACH_BODY1(foreach_minimum_scalar_F32, F32, MINIMUM)
HC_FOREACH_BODY1(foreach_minimum_scalar_F64, F64, MINIMUM)
HC_FOREACH_BODY1(foreach_minimum_scalar_I64, I64, MINIMUM_INT)
#else
HC_FOREACH_SPEC3(LIST, "aclnnForeachMinimumList", foreach_minimum)
HC_FOREACH_SPEC3(SCALAR, "aclnnForeachMinimumScalar", foreach_minimum_scalar)
HC_FOREACH_SPEC3(SCALAR_V2, "aclnnForeachMinimumScalarV2", foreach_minimum_scalar)
HC_FOREACH_SPEC3(SCALAR_LIST, "aclnnForeachMinimumScalarList", foreach_minimum_scalar)
HC_FOREACH_BINARY(aclnnForeachMinimumList, LIST)
HC_FOREACH_SCALAR(aclnnForeachMinimumScalar, SCALAR, aclTensor)
HC_FOREACH_SCALAR(aclnnForeachMinimumScalarV2, SCALAR_V2, aclScalar)
HC_FOREACH_SCALAR_LIST(aclnnForeachMinimumScalarList, SCALAR_LIST)
#endif
