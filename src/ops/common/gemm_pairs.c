// SPDX-License-Identifier: Apache-2.0
/* bfloat16 times bfloat16 on instruction sets with dot products of them (HC_ISA_avx512bf16): nothing is
 * widened. A packed element is a pair, A[i][k] and A[i][k+1] (B[k][j] and B[k+1][j]), and an instruction adds
 * both products of a pair to a float: twice the multiply-adds of float per cycle, half the memory traffic.
 *
 * The instruction rounds each of its two additions to nearest, ties to even, but takes subnormal operands for
 * zero and gives zero for subnormal sums: the error is that of float sums and at most 2^-125 for each step of
 * k. HC_ISA=avx512 computes with the widened values. */
#include "gemm_kernels.h"

#if defined(HC_ISA) && defined(HC_ISA_avx512bf16)
#include "gemm_block.h"
#include "gemm_load.h"

typedef vf vp; /* pairs, or the float sums of their products */
static inline vp vp_set(float pair) { return vf_set(pair); }
static inline vp vp_fma(vp a, vp b, vp c) { return _mm512_dpbf16_ps(c, (__m512bh)a, (__m512bh)b); }

FOR_BLOCKS(vp)

void HC_FN(gemm_micro_BF16) GEMM_MICRO_PARAMS { RUN_BLOCK(vp); }

/* ---- packing ---- */

/* The first n of 32 elements, the rest zero. */
static inline vf load_pairs(const void *p, size_t n) {
    if (n >= 2 * HC_VL) return vf_load(p);
    return (vf)_mm512_maskz_loadu_epi16((__mmask32)((1u << n) - 1), p);
}

/* HC_VL pairs (or what the `left` elements make) of HC_VL rows that are contiguous along k; see pack_square
 * of gemm_pack.c. */
ALWAYS_INLINE void pair_square(const struct gemm_pack *p, size_t first, size_t k0, size_t left) {
    const size_t rows = p->valid > first ? hc_min_size(p->valid - first, HC_VL) : 0;
    const uint16_t *src = (const uint16_t *)p->src + (int64_t)first * p->width_stride + (int64_t)k0;
    vf x[HC_VL];
    _Pragma("GCC unroll 16") for (size_t i = 0; i < HC_VL; i++) x[i] =
        i < rows ? load_pairs(src + (int64_t)i * p->width_stride, left) : vf_zero();
    transpose(x);
    float *dst = p->dst + k0 / 2 * p->width + first;
    const size_t steps = hc_min_size((left + 1) / 2, HC_VL);
    if (steps == HC_VL) {
        _Pragma("GCC unroll 16") for (size_t i = 0; i < HC_VL; i++) vf_store(dst + i * p->width, x[i]);
    } else {
        for (size_t i = 0; i < steps; i++) vf_store(dst + i * p->width, x[i]);
    }
}

static void pairs_along_k(const struct gemm_pack *p) {
    const size_t last = (p->width - 1) / HC_VL * HC_VL;
    for (size_t k = 0; k < p->k; k += 2 * HC_VL) {
        for (size_t first = last + HC_VL; first > 0; first -= HC_VL) {
            if (p->k - k >= 2 * HC_VL) pair_square(p, first - HC_VL, k, 2 * HC_VL);
            else pair_square(p, first - HC_VL, k, p->k - k);
        }
    }
}

static inline __m512i load_row(const uint16_t *p, size_t n) {
    if (n >= HC_VL) return _mm512_cvtepu16_epi32(_mm256_loadu_si256((const void *)p));
    return _mm512_cvtepu16_epi32(_mm256_maskz_loadu_epi16((__mmask16)((1u << n) - 1), p));
}

/* Two rows of B (columns of A) at a time. */
static void pairs_across(const struct gemm_pack *p) {
    const uint16_t *src = p->src;
    float *dst = p->dst;
    for (size_t k = 0; k < p->k; k += 2, src += 2 * p->k_stride, dst += p->width) {
        for (size_t j = 0; j < p->width; j += HC_VL) {
            const size_t n = p->valid > j ? p->valid - j : 0;
            __m512i x = load_row(src + j, n);
            if (k + 1 < p->k)
                x = _mm512_or_si512(x, _mm512_slli_epi32(load_row(src + p->k_stride + j, n), 16));
            vf_store(dst + j, (vf)x);
        }
    }
}

static void pairs_of_any(const struct gemm_pack *p) {
    const uint16_t *src = p->src;
    for (size_t k = 0; k < p->k; k += 2) {
        uint32_t *dst = (uint32_t *)p->dst + k / 2 * p->width;
        for (size_t j = 0; j < p->width; j++) {
            const uint16_t *x = src + (int64_t)k * p->k_stride + (int64_t)j * p->width_stride;
            const uint32_t low = j < p->valid ? x[0] : 0;
            const uint32_t high = j < p->valid && k + 1 < p->k ? x[p->k_stride] : 0;
            dst[j] = low | high << 16;
        }
    }
}

void HC_FN(gemm_pack_BF16)(const struct gemm_pack *p) {
    if (p->width_stride == 1) pairs_across(p);
    else if (p->k_stride == 1) pairs_along_k(p);
    else pairs_of_any(p);
}
#endif
