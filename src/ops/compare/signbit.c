// SPDX-License-Identifier: Apache-2.0
/* y = whether the sign bit of x is set, element by element: also of -0 and of a NaN, which no comparison
 * tells. Integers: whether x is negative. */
#include "unary.h"

HC_EW_KERNELS_REAL(signbit)

#ifdef HC_ISA
#include <math.h>

#define TEST_F32(x) (uint8_t)(signbit(x) != 0)
#define TEST_F64(x) (uint8_t)(signbit(x) != 0)
#define TEST_I64(x) (uint8_t)((x) < 0)
HC_EW_BODY1(signbit_F32, uint8_t, float, TEST_F32)
HC_EW_BODY1(signbit_F64, uint8_t, double, TEST_F64)
HC_EW_BODY1(signbit_I64, uint8_t, int64_t, TEST_I64)
#else
static const struct hc_ew SPEC = {"aclnnSignbit", HC_EW_TABLE_REAL(signbit), 1, HC_EW_BOOL_OUT};
HC_UNARY(aclnnSignbit, SPEC)
#endif
