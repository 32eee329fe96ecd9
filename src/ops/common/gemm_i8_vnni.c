// SPDX-License-Identifier: Apache-2.0
/* Products of int8 by dot products of four (HC_ISA_avx512vnni): one instruction multiplies bytes without a
 * sign by int8 and adds all four products to an int32, exactly. Four times the multiply-adds of float per
 * cycle. */
#include "gemm_i8_kernels.h"

#if defined(HC_ISA) && defined(HC_ISA_avx512vnni)
#include "gemm_block.h"
#include "simd_transpose.h"

#define ALWAYS_INLINE static inline __attribute__((always_inline))
enum { GROUP = 4, SIGNS = (int)0x80808080 };

typedef vi vq; /* four bytes, or the sums of their products */
static inline vq vq_set(int32_t quad) { return vi_set(quad); }
static inline vq vq_fma(vq a, vq b, vq c) {
    return (vq)_mm512_dpbusd_epi32((__m512i)c, (__m512i)a, (__m512i)b);
}

#define BLOCK_I8_1(V, ROWS) BLOCK(int32_t, V, MR_F32, ROWS, NR_F32, 1)
#define BLOCK_I8_2(V, ROWS) BLOCK(int32_t, V, MR_F32, ROWS, NR_F32, 2)
FOR_ROWS_F32(BLOCK_I8_1, vq)
FOR_ROWS_F32(BLOCK_I8_2, vq)

void HC_FN(gemm_i8_micro_VNNI) GEMM_MICRO_PARAMS { RUN_BLOCK(vq); }

void HC_FN(gemm_i8_geometry_VNNI)(struct gemm_i8_geometry *g) {
    *g = (struct gemm_i8_geometry){MR_F32, NR_F32, GROUP};
}

/* ---- packing ---- */

/* A word of HC_VL columns into the panel: A + 128 for A; of B what is taken off is added up. */
ALWAYS_INLINE void put(const struct gemm_i8_pack *p, size_t word, size_t first, vi x, vi *excess) {
    int32_t *to = p->dst + word * p->width + first;
    if (p->excess == NULL) x ^= vi_set(SIGNS);
    else *excess = vq_fma(vi_set(SIGNS), x, *excess);
    _mm512_storeu_si512(to, (__m512i)x);
}

/* HC_VL rows that are contiguous along k: a square of words is turned. */
ALWAYS_INLINE void square(const struct gemm_i8_pack *p, size_t first, size_t k0, size_t left, vi *excess) {
    enum { BYTES = HC_VL * GROUP };
    const size_t rows = p->valid > first ? hc_min_size(p->valid - first, HC_VL) : 0;
    const int8_t *src = p->src + (int64_t)first * p->width_stride + (int64_t)k0;
    const __mmask64 some = left < BYTES ? (1ull << left) - 1 : ~0ull;
    vf x[HC_VL];
    _Pragma("GCC unroll 16") for (size_t i = 0; i < HC_VL; i++) x[i] =
        i < rows ? (vf)_mm512_maskz_loadu_epi8(some, src + (int64_t)i * p->width_stride) : vf_zero();
    vf_transpose(x);
    const size_t words = hc_min_size((left + GROUP - 1) / GROUP, HC_VL);
    if (words == HC_VL) {
        _Pragma("GCC unroll 16") for (size_t i = 0; i < HC_VL; i++)
            put(p, k0 / GROUP + i, first, (vi)x[i], excess);
    } else {
        for (size_t i = 0; i < words; i++) put(p, k0 / GROUP + i, first, (vi)x[i], excess);
    }
}

/* A column of words of a row each, four rows interleaved: rows that do not exist are zero. */
ALWAYS_INLINE vi four_rows(const int8_t *src, int64_t step, size_t rows, __mmask16 columns) {
    vu x = {0};
    _Pragma("GCC unroll 4") for (size_t r = 0; r < GROUP; r++) {
        if (r >= rows) break;
        const __m128i row = _mm_maskz_loadu_epi8(columns, src + (int64_t)r * step);
        x |= (vu)_mm512_cvtepu8_epi32(row) << (uint32_t)(8 * r);
    }
    return (vi)x;
}

/* Neither stride is 1. */
static vi any_rows(const int8_t *src, const struct gemm_i8_pack *p, size_t rows, size_t columns) {
    union {
        vi v;
        int8_t x[HC_VL][GROUP];
    } u = {.v = {0}};
    for (size_t j = 0; j < columns; j++)
        for (size_t r = 0; r < rows; r++)
            u.x[j][r] = src[(int64_t)j * p->width_stride + (int64_t)r * p->k_stride];
    return u.v;
}

/* HC_VL columns of the panel, all of k. A vector may reach beyond a word's columns: what it writes there is
 * written later, as words go up. */
static void columns_of(const struct gemm_i8_pack *p, size_t first, vi *excess) {
    const size_t n = p->valid > first ? hc_min_size(p->valid - first, HC_VL) : 0;
    const __mmask16 columns = (__mmask16)((1u << n) - 1);
    if (p->k_stride == 1) {
        size_t k = 0;
        for (; k + HC_VL * GROUP <= p->k; k += HC_VL * GROUP) square(p, first, k, HC_VL * GROUP, excess);
        if (k < p->k) square(p, first, k, p->k - k, excess);
        return;
    }
    for (size_t k = 0; k < p->k; k += GROUP) {
        const int8_t *src = p->src + (int64_t)k * p->k_stride + (int64_t)first * p->width_stride;
        const size_t rows = hc_min_size(p->k - k, GROUP);
        const vi x = p->width_stride != 1 ? any_rows(src, p, rows, n)
                     : rows == GROUP      ? four_rows(src, p->k_stride, GROUP, columns)
                                          : four_rows(src, p->k_stride, rows, columns);
        put(p, k / GROUP, first, x, excess);
    }
}

void HC_FN(gemm_i8_pack_VNNI)(const struct gemm_i8_pack *p) {
    for (size_t first = 0; first < p->width; first += HC_VL) {
        vi excess = {0};
        columns_of(p, first, &excess);
        if (p->excess == NULL) continue;
        for (size_t j = 0; j < HC_VL; j++) p->excess[first + j] += excess[j];
    }
}
#endif
