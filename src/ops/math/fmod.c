// SPDX-License-Identifier: Apache-2.0
/* y = the remainder of a / b with the sign of a, element by element; either may be a scalar. Exact, as
 * the C library's fmod is; a remainder by zero is NaN for floats and 0 for integers (divide.h). */
#include "binary.h"

HC_EW_KERNELS_REAL(fmod)
HC_EW_KERNELS_REAL(fmods)

#ifdef HC_ISA
#include "divide.h"

HC_EW_BODY2(fmod_F32, float, float, fmodf)
HC_EW_BODY2(fmod_F64, double, double, fmod)
HC_EW_BODY2(fmod_I64, int64_t, int64_t, hc_fmod_i64)
HC_EW_BODY_SCALAR(fmods, F32, float, fmodf(x, s))
HC_EW_BODY_SCALAR(fmods, F64, double, fmod(x, s))
HC_EW_BODY_SCALAR(fmods, I64, int64_t, hc_fmod_i64(x, s))
#else
static const struct hc_ew TENSOR = {"aclnnFmodTensor", HC_EW_TABLE_REAL(fmod), 0, HC_EW_NO_BOOL};
static const struct hc_ew SCALAR = {"aclnnFmodScalar", HC_EW_TABLE_REAL(fmods), 0, HC_EW_NO_BOOL};
HC_BINARY(aclnnFmodTensor, TENSOR)
HC_BINARY_INPLACE(aclnnInplaceFmodTensor, TENSOR)
HC_SCALAR(aclnnFmodScalar, SCALAR)
HC_SCALAR_INPLACE(aclnnInplaceFmodScalar, SCALAR)
#endif
