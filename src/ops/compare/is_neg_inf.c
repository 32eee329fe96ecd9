// SPDX-License-Identifier: Apache-2.0
/* y = whether x is negative infinity, element by element; false for every integer. */
#include "unary.h"

HC_EW_KERNELS_REAL(is_neg_inf)

#ifdef HC_ISA
#include <math.h>

#define TEST_F32(x) (uint8_t)((x) == -INFINITY)
#define TEST_F64(x) (uint8_t)((x) == -INFINITY)
#define TEST_I64(x) (uint8_t)(((void)(x), 0))
HC_EW_BODY1(is_neg_inf_F32, uint8_t, float, TEST_F32)
HC_EW_BODY1(is_neg_inf_F64, uint8_t, double, TEST_F64)
HC_EW_BODY1(is_neg_inf_I64, uint8_t, int64_t, TEST_I64)
#else
static const struct hc_ew SPEC = {"aclnnIsNegInf", HC_EW_TABLE_REAL(is_neg_inf), 1, HC_EW_BOOL_OUT};
HC_UNARY(aclnnIsNegInf, SPEC)
#endif
