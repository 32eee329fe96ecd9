// SPDX-License-Identifier: Apache-2.0
/* y = the remainder of a / b with the sign of a, element by element; either may be a scalar. Exact, as
 * the C library's fmod is; a remainder by zero is NaN for floats and 0 for integers (divide.h). */
#include "binary.h"
#include "direct_bf16.h"

HC_EW_KERNELS_REAL(fmod)
HC_EW_KERNELS_REAL(fmods)
HC_EW_KERNEL(fmod_BF16)
HC_EW_KERNEL(fmods_BF16)

#ifdef HC_ISA
#include "divide.h"
#include "simd_divide.h"

HC_EW_BODY2_VF(fmod_F32, vf_fmod)
HC_EW_BODY2_BF16(fmod_BF16, (void)0, vf_fmod(a, b))
HC_EW_BODY2(fmod_F64, double, double, fmod)
HC_EW_BODY2(fmod_I64, int64_t, int64_t, hc_fmod_i64)
HC_EW_BODY1_VF_SCALAR(fmods_F32, vf_fmod(x, vf_set(s)))
HC_EW_BODY1_BF16(fmods_BF16, HC_EW_SCALAR_S, vf_fmod(x, vf_set(s)))
HC_EW_BODY_SCALAR(fmods, F64, double, fmod(x, s))
HC_EW_BODY_SCALAR(fmods, I64, int64_t, hc_fmod_i64(x, s))
#else
static const struct hc_ew TENSOR = {"aclnnFmodTensor", HC_EW_TABLE_REAL_BF16(fmod), 0, HC_EW_NO_BOOL};
static const struct hc_ew SCALAR = {"aclnnFmodScalar", HC_EW_TABLE_REAL_BF16(fmods), 0, HC_EW_NO_BOOL};
HC_BINARY(aclnnFmodTensor, TENSOR)
HC_BINARY_INPLACE(aclnnInplaceFmodTensor, TENSOR)
HC_SCALAR(aclnnFmodScalar, SCALAR)
HC_SCALAR_INPLACE(aclnnInplaceFmodScalar, SCALAR)
#endif
