// SPDX-License-Identifier: Apache-2.0
/* Products of int8 as int16, two steps of k at a time, on every instruction set: the sum of two products of
 * int16 is exact in int32. */
#include "gemm_i8_kernels.h"

#ifdef HC_ISA
#include "gemm_block.h"

typedef vi vq; /* pairs of int16, or the sums of their products */
static inline vq vq_set(int32_t pair) { return vi_set(pair); }
static inline vq vq_fma(vq a, vq b, vq c) {
#if defined(HC_ISA_avx512)
    return c + (vq)_mm512_madd_epi16((__m512i)a, (__m512i)b);
#elif defined(HC_ISA_avx2)
    return c + (vq)_mm256_madd_epi16((__m256i)a, (__m256i)b);
#elif defined(__aarch64__)
    const int16x8_t x = (int16x8_t)a, y = (int16x8_t)b;
    const int32x4_t low = vmull_s16(vget_low_s16(x), vget_low_s16(y)), high = vmull_high_s16(x, y);
    return c + (vq)vpaddq_s32(low, high);
#else
    return c + (vq)_mm_madd_epi16((__m128i)a, (__m128i)b);
#endif
}

#define BLOCK_I8_1(V, ROWS) BLOCK(int32_t, V, MR_F32, ROWS, NR_F32, 1)
#define BLOCK_I8_2(V, ROWS) BLOCK(int32_t, V, MR_F32, ROWS, NR_F32, 2)
FOR_ROWS_F32(BLOCK_I8_1, vq)
FOR_ROWS_F32(BLOCK_I8_2, vq)

void HC_FN(gemm_i8_micro) GEMM_MICRO_PARAMS { RUN_BLOCK(vq); }

void HC_FN(gemm_i8_geometry)(struct gemm_i8_geometry *g) {
    *g = (struct gemm_i8_geometry){MR_F32, NR_F32, 2};
}

static inline int32_t pair(int8_t low, int8_t high) {
    return (int32_t)((uint32_t)(uint16_t)(int16_t)low | (uint32_t)(uint16_t)(int16_t)high << 16);
}

/* Rows of B, or of A transposed, are contiguous: two of them side by side. */
static void pairs_across(const struct gemm_i8_pack *p) {
    for (size_t k = 0; k < p->k; k += 2) {
        const int8_t *x = p->src + (int64_t)k * p->k_stride, *y = k + 1 < p->k ? x + p->k_stride : x;
        const int32_t second = k + 1 < p->k ? -1 : 0;
        int32_t *to = p->dst + k / 2 * p->width;
        _Pragma("GCC ivdep") for (size_t j = 0; j < p->valid; j++) to[j] =
            (int32_t)((uint32_t)(x[j] & 0xffff) | (uint32_t)(y[j] & second) << 16);
    }
}

void HC_FN(gemm_i8_pack)(const struct gemm_i8_pack *p) {
    if (p->valid < p->width) memset(p->dst, 0, (p->k + 1) / 2 * p->width * sizeof *p->dst);
    if (p->width_stride == 1 && p->k_stride != 1) {
        pairs_across(p);
        return;
    }
    for (size_t j = 0; j < p->valid; j++) {
        const int8_t *x = p->src + (int64_t)j * p->width_stride;
        int32_t *to = p->dst + j;
        for (size_t k = 0; k + 1 < p->k; k += 2, to += p->width)
            *to = pair(x[(int64_t)k * p->k_stride], x[(int64_t)(k + 1) * p->k_stride]);
        if (p->k % 2 != 0) *to = pair(x[(int64_t)(p->k - 1) * p->k_stride], 0);
    }
}
#endif
