// SPDX-License-Identifier: Apache-2.0
/* y = the remainder of a / b with the sign of b (Python's %), element by element; either may be a scalar.
 * From fmod, which is exact, and a correction by b where the signs differ (divide.h). */
#include "binary.h"
#include "direct_bf16.h"

HC_EW_KERNELS_REAL(remainder)
HC_EW_KERNELS_REAL(remainders)
HC_EW_KERNELS_REAL(remainder_of)
HC_EW_KERNEL(remainder_BF16)
HC_EW_KERNEL(remainders_BF16)
HC_EW_KERNEL(remainder_of_BF16)

#ifdef HC_ISA
#include "divide.h"
#include "simd_divide.h"

HC_EW_BODY2_VF(remainder_F32, vf_remainder)
HC_EW_BODY2_BF16(remainder_BF16, (void)0, vf_remainder(a, b))
HC_EW_BODY2(remainder_F64, double, double, hc_remainder_d)
HC_EW_BODY2(remainder_I64, int64_t, int64_t, hc_remainder_i64)
HC_EW_BODY1_VF_SCALAR(remainders_F32, vf_remainder(x, vf_set(s)))
HC_EW_BODY1_BF16(remainders_BF16, HC_EW_SCALAR_S, vf_remainder(x, vf_set(s)))
HC_EW_BODY_SCALAR(remainders, F64, double, hc_remainder_d(x, s))
HC_EW_BODY_SCALAR(remainders, I64, int64_t, hc_remainder_i64(x, s))
HC_EW_BODY1_VF_SCALAR(remainder_of_F32, vf_remainder(vf_set(s), x))
HC_EW_BODY1_BF16(remainder_of_BF16, HC_EW_SCALAR_S, vf_remainder(vf_set(s), x))
HC_EW_BODY_SCALAR(remainder_of, F64, double, hc_remainder_d(s, x))
HC_EW_BODY_SCALAR(remainder_of, I64, int64_t, hc_remainder_i64(s, x))
#else
static const struct hc_ew TENSOR = {"aclnnRemainderTensorTensor", HC_EW_TABLE_REAL_BF16(remainder), 0,
                                    HC_EW_NO_BOOL};
static const struct hc_ew SCALAR = {"aclnnRemainderTensorScalar", HC_EW_TABLE_REAL_BF16(remainders), 0,
                                    HC_EW_NO_BOOL};
HC_BINARY(aclnnRemainderTensorTensor, TENSOR)
HC_BINARY_INPLACE(aclnnInplaceRemainderTensorTensor, TENSOR)
HC_SCALAR(aclnnRemainderTensorScalar, SCALAR)
HC_SCALAR_INPLACE(aclnnInplaceRemainderTensorScalar, SCALAR)
static const struct hc_ew SCALAR_FIRST = {"aclnnRemainderScalarTensor", HC_EW_TABLE_REAL_BF16(remainder_of),
                                          0, HC_EW_NO_BOOL};
HC_SCALAR_FIRST_TYPED(aclnnRemainderScalarTensor, SCALAR_FIRST, aclTensor)
#endif
