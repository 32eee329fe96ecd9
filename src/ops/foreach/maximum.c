// SPDX-License-Identifier: Apache-2.0
/* out = the larger of two lists, or of a list and a scalar; NaN if either is. Used for amsgrad and for
 * clipping from below. */
#include "foreach.h"

HC_EW_KERNEL(foreach_maximum_F32)
HC_EW_KERNEL(foreach_maximum_F64)
HC_EW_KERNEL(foreach_maximum_I64)
HC_EW_KERNEL(foreach_maximum_scalar_F32)
HC_EW_KERNEL(foreach_maximum_scalar_F64)
HC_EW_KERNEL(foreach_maximum_scalar_I64)

#ifdef HC_ISA
/* A NaN in a compares unequal to itself; one in b fails the comparison and is chosen. */
#define MAXIMUM(a, b) ((a) > (b) || (a) != (a) ? (a) : (b))
HC_EW_BODY2(foreach_maximum_F32, float, float, MAXIMUM)
HC_EW_BODY2(foreach_maximum_F64, double, double, MAXIMUM)
/* Integers have no NaN to look for. */
#define MAXIMUM_INT(a, b) ((a) > (b) ? (a) : (b))
HC_EW_BODY2(foreach_maximum_I64, int64_t, int64_t, MAXIMUM_INT)
HC_FOREACH_BODY1(foreach_maximum_scalar_F32, F32, MAXIMUM)
HC_FOREACH_BODY1(foreach_maximum_scalar_F64, F64, MAXIMUM)
HC_FOREACH_BODY1(foreach_maximum_scalar_I64, I64, MAXIMUM_INT)
#else
HC_FOREACH_SPEC3(LIST, "aclnnForeachMaximumList", foreach_maximum)
HC_FOREACH_SPEC3(SCALAR, "aclnnForeachMaximumScalar", foreach_maximum_scalar)
HC_FOREACH_SPEC3(SCALAR_V2, "aclnnForeachMaximumScalarV2", foreach_maximum_scalar)
HC_FOREACH_SPEC3(SCALAR_LIST, "aclnnForeachMaximumScalarList", foreach_maximum_scalar)
HC_FOREACH_BINARY(aclnnForeachMaximumList, LIST)
HC_FOREACH_SCALAR(aclnnForeachMaximumScalar, SCALAR, aclTensor)
HC_FOREACH_SCALAR(aclnnForeachMaximumScalarV2, SCALAR_V2, aclScalar)
HC_FOREACH_SCALAR_LIST(aclnnForeachMaximumScalarList, SCALAR_LIST)
#endif
