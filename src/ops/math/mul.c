// SPDX-License-Identifier: Apache-2.0
/* y = self * other, element by element; other is a tensor or a scalar. Bools: the product of 0 and 1 is
 * "and". Integers wrap. Bound by memory, so bfloat16 has kernels of its own that read and write it
 * directly. */
#include "binary.h"
#include "direct_bf16.h"

HC_EW_KERNELS_ALL(mul)
HC_EW_KERNELS_ALL(muls)
HC_EW_KERNEL(mul_BF16)
HC_EW_KERNEL(muls_BF16)

#ifdef HC_ISA
#include "complex_math.h"

/* bool has int64 as its block, so the products of 0 and 1 need no kernel of their own. */
#define MUL(a, b) ((a) * (b))
HC_EW_BODY2(mul_F32, float, float, MUL)
HC_EW_BODY2(mul_F64, double, double, MUL)
HC_EW_BODY2(mul_I64, int64_t, int64_t, MUL)
HC_EW_BODY2(mul_C128, hc_c128, hc_c128, hc_cmul)
HC_EW_BODIES_SCALAR_REAL(muls, x *s)
HC_EW_BODY_SCALAR(muls, C128, hc_c128, hc_cmul(x, s))
HC_EW_BODY2_BF16(mul_BF16, (void)0, a *b)
HC_EW_BODY1_BF16(muls_BF16, HC_EW_SCALAR_S, x *s)
#else
static const struct hc_ew TENSOR = {"aclnnMul", HC_EW_TABLE_ALL_BF16(mul), 0, 0};
static const struct hc_ew SCALAR = {"aclnnMuls", HC_EW_TABLE_ALL_BF16(muls), 0, 0};
HC_BINARY(aclnnMul, TENSOR)
HC_BINARY_INPLACE(aclnnInplaceMul, TENSOR)
HC_SCALAR(aclnnMuls, SCALAR)
HC_SCALAR_INPLACE(aclnnInplaceMuls, SCALAR)
#endif
