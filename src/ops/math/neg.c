// SPDX-License-Identifier: Apache-2.0
/* y = -x, element by element: exact, -0 for 0 and NaN with the other sign. The lowest integer is its own
 * negative, as it wraps: computed unsigned, since signed overflow is undefined. */
#include "unary.h"

HC_EW_KERNEL(neg_F32)
HC_EW_KERNEL(neg_F64)
HC_EW_KERNEL(neg_I64)
HC_EW_KERNEL(neg_C128)
HC_EW_KERNEL(neg_BF16)

#ifdef HC_ISA
#define NEG(x) (-(x))
static inline uint16_t neg_bf16(uint16_t x) { return x ^ 0x8000u; }
static inline int64_t neg_i64(int64_t x) { return (int64_t)(0 - (uint64_t)x); }
static inline hc_c128 neg_c128(hc_c128 x) { return (hc_c128){-x.re, -x.im}; }
HC_EW_BODY1(neg_F32, float, float, NEG)
HC_EW_BODY1(neg_F64, double, double, NEG)
HC_EW_BODY1(neg_I64, int64_t, int64_t, neg_i64)
HC_EW_BODY1(neg_C128, hc_c128, hc_c128, neg_c128)
/* The sign bit, NaN included. */
HC_EW_BODY1(neg_BF16, uint16_t, uint16_t, neg_bf16)
#else
static const struct hc_ew NEG = {"aclnnNeg",
                                 {[HC_F32] = neg_F32_table,
                                  [HC_F64] = neg_F64_table,
                                  [HC_I64] = neg_I64_table,
                                  [HC_C128] = neg_C128_table,
                                  [HC_EW_BF16] = neg_BF16_table},
                                 0,
                                 HC_EW_IS_MINUS};
HC_UNARY(aclnnNeg, NEG)
#endif
