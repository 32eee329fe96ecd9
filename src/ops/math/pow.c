// SPDX-License-Identifier: Apache-2.0
/* y = self ^ exponent, element by element; either may be a scalar. Frequent scalar exponents are products
 * and roots, as in PyTorch, each a loop of its own; the rest is 2^(y log2 x) in double, within 1 unit of
 * float. Integers wrap; a negative exponent gives the truncated reciprocal (0 but for the bases 1 and
 * -1). */
#include "binary.h"
#include "direct_bf16.h"

HC_EW_KERNELS_ALL(pow)
HC_EW_KERNELS_ALL(pows)
HC_EW_KERNELS_ALL(pow_of)
HC_EW_KERNEL(pows_BF16)
HC_EW_KERNEL(square_BF16)

#ifdef HC_ISA
#include "complex_math.h"
#include "simd_math.h"

/* By squaring, O(log exponent), modulo 2^64. */
static inline int64_t pow_i64(int64_t base, int64_t exponent) {
    if (exponent < 0) return base == 1 ? 1 : base == -1 ? (exponent % 2 == 0 ? 1 : -1) : 0;
    uint64_t result = 1, square = (uint64_t)base;
    for (; exponent > 0; exponent >>= 1, square *= square) {
        if (exponent & 1) result *= square;
    }
    return (int64_t)result;
}
HC_EW_BODY2(pow_F32, float, float, hc_pow_f32)
HC_EW_BODY2(pow_F64, double, double, pow)
HC_EW_BODY2(pow_I64, int64_t, int64_t, pow_i64)
HC_EW_BODY2(pow_C128, hc_c128, hc_c128, hc_cpow)

/* One loop per frequent exponent. */
#define LOOP(expression)                                                                                     \
    {                                                                                                        \
        _Pragma("GCC ivdep") for (size_t i = 0; i < n; i++) y[i] = (expression);                             \
        return;                                                                                              \
    }
#define BODY_POWS(block, type, root, power)                                                                  \
    void HC_FN(pows_##block)(size_t n, void *const *out, const void *const *in, const void *args) {          \
        type *y = out[0];                                                                                    \
        const type *x = in[0];                                                                               \
        const type s = ((const struct hc_ew_scalar *)args)->block;                                           \
        if (s == 2) LOOP(x[i] * x[i])                                                                        \
        if (s == (type)0.5) LOOP(root(x[i]))                                                                 \
        if (s == 3) LOOP(x[i] * x[i] * x[i])                                                                 \
        if (s == (type) - 0.5) LOOP(1 / root(x[i]))                                                          \
        if (s == -1) LOOP(1 / x[i])                                                                          \
        if (s == -2) LOOP(1 / (x[i] * x[i]))                                                                 \
        LOOP(power(x[i], s))                                                                                 \
    }
BODY_POWS(F32, float, sqrtf, hc_pow_f32)
BODY_POWS(F64, double, sqrt, pow)

/* Squares are bound by memory; other powers take longer than the conversion through a buffer. */
HC_EW_BODY1_BF16(square_BF16, (void)0, x *x)
void HC_FN(pows_BF16)(size_t n, void *const *out, const void *const *in, const void *args) {
    if (((const struct hc_ew_scalar *)args)->F32 == 2) {
        HC_FN(square_BF16)(n, out, in, args);
        return;
    }
    enum { CHUNK = 512 };
    float block[CHUNK];
    void *const blocks[] = {block};
    for (size_t at = 0; at < n; at += CHUNK) {
        const size_t m = hc_min_size(n - at, CHUNK);
        const hc_bf16 *x = (const hc_bf16 *)in[0] + at;
        hc_bf16 *y = (hc_bf16 *)out[0] + at;
        for (size_t i = 0; i < m; i++) block[i] = hc_bf16_to_f32(x[i]);
        HC_FN(pows_F32)(m, blocks, (const void *const *)blocks, args);
        for (size_t i = 0; i < m; i++) y[i] = hc_f32_to_bf16(block[i]);
    }
}
HC_EW_BODY_SCALAR(pows, I64, int64_t, pow_i64(x, s))
HC_EW_BODY_SCALAR(pows, C128, hc_c128, hc_ceq(s, (hc_c128){2, 0}) ? hc_cmul(x, x) : hc_cpow(x, s))

HC_EW_BODY_SCALAR(pow_of, F32, float, hc_pow_f32(s, x))
HC_EW_BODY_SCALAR(pow_of, F64, double, pow(s, x))
HC_EW_BODY_SCALAR(pow_of, I64, int64_t, pow_i64(s, x))
HC_EW_BODY_SCALAR(pow_of, C128, hc_c128, hc_cpow(s, x))
#else
/* Named with HC_EW_KERNELS_ALL, so lists (foreach/pow.c) find the same kernels. */
static const struct hc_ew TENSOR = {"aclnnPowTensorTensor", HC_EW_TABLE_ALL(pow), 0, HC_EW_NO_BOOL};
static const struct hc_ew SCALAR = {"aclnnPowTensorScalar", HC_EW_TABLE_ALL_BF16(pows), 0, 0};
static const struct hc_ew SCALAR_FIRST = {"aclnnPowScalarTensor", HC_EW_TABLE_ALL(pow_of), 0, HC_EW_NO_BOOL};
HC_BINARY(aclnnPowTensorTensor, TENSOR)
HC_BINARY_INPLACE_TYPED(aclnnInplacePowTensorTensor, TENSOR, const aclTensor)
HC_SCALAR_TYPED(aclnnPowTensorScalar, SCALAR, const aclTensor)
HC_SCALAR_INPLACE_TYPED(aclnnInplacePowTensorScalar, SCALAR, const aclTensor)
HC_SCALAR_FIRST_TYPED(aclnnPowScalarTensor, SCALAR_FIRST, const aclTensor)
#endif
