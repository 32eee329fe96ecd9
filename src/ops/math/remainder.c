// SPDX-License-Identifier: Apache-2.0
/* y = the remainder of a / b with the sign of b (Python's %), element by element; either may be a scalar.
 * From fmod, which is exact, and a correction by b where the signs differ (divide.h). */
#include "binary.h"

HC_EW_KERNELS_REAL(remainder)
HC_EW_KERNELS_REAL(remainders)
HC_EW_KERNELS_REAL(remainder_of)

#ifdef HC_ISA
#include "divide.h"

HC_EW_BODY2(remainder_F32, float, float, hc_remainder_f)
HC_EW_BODY2(remainder_F64, double, double, hc_remainder_d)
HC_EW_BODY2(remainder_I64, int64_t, int64_t, hc_remainder_i64)
HC_EW_BODY_SCALAR(remainders, F32, float, hc_remainder_f(x, s))
HC_EW_BODY_SCALAR(remainders, F64, double, hc_remainder_d(x, s))
HC_EW_BODY_SCALAR(remainders, I64, int64_t, hc_remainder_i64(x, s))
HC_EW_BODY_SCALAR(remainder_of, F32, float, hc_remainder_f(s, x))
HC_EW_BODY_SCALAR(remainder_of, F64, double, hc_remainder_d(s, x))
HC_EW_BODY_SCALAR(remainder_of, I64, int64_t, hc_remainder_i64(s, x))
#else
static const struct hc_ew TENSOR = {"aclnnRemainderTensorTensor", HC_EW_TABLE_REAL(remainder), 0,
                                    HC_EW_NO_BOOL};
static const struct hc_ew SCALAR = {"aclnnRemainderTensorScalar", HC_EW_TABLE_REAL(remainders), 0,
                                    HC_EW_NO_BOOL};
HC_BINARY(aclnnRemainderTensorTensor, TENSOR)
HC_BINARY_INPLACE(aclnnInplaceRemainderTensorTensor, TENSOR)
HC_SCALAR(aclnnRemainderTensorScalar, SCALAR)
HC_SCALAR_INPLACE(aclnnInplaceRemainderTensorScalar, SCALAR)
static const struct hc_ew SCALAR_FIRST = {"aclnnRemainderScalarTensor", HC_EW_TABLE_REAL(remainder_of), 0,
                                          HC_EW_NO_BOOL};
HC_SCALAR_FIRST_TYPED(aclnnRemainderScalarTensor, SCALAR_FIRST, aclTensor)
#endif
