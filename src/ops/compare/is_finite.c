// SPDX-License-Identifier: Apache-2.0
/* y = whether x is neither infinite nor NaN, element by element: |x| < inf is false for both. Complex
 * numbers: both parts. Integers always are. */
#include "unary.h"

HC_EW_KERNELS_ALL(is_finite)

#ifdef HC_ISA
#include <math.h>

#define TEST_F32(x) (uint8_t)(fabsf(x) < INFINITY)
#define TEST_F64(x) (uint8_t)(fabs(x) < INFINITY)
#define TEST_I64(x) (uint8_t)(((void)(x), 1))
HC_EW_BODY1(is_finite_F32, uint8_t, float, TEST_F32)
HC_EW_BODY1(is_finite_F64, uint8_t, double, TEST_F64)
HC_EW_BODY1(is_finite_I64, uint8_t, int64_t, TEST_I64)
#define TEST_C128(x) (uint8_t)(TEST_F64((x).re) & TEST_F64((x).im))
HC_EW_BODY1(is_finite_C128, uint8_t, hc_c128, TEST_C128)
#else
static const struct hc_ew SPEC = {"aclnnIsFinite", HC_EW_TABLE_ALL(is_finite), 1, 0};
HC_UNARY(aclnnIsFinite, SPEC)
#endif
