// SPDX-License-Identifier: Apache-2.0
/* bfloat16 times bfloat16 on instruction sets with dot products of them (HC_ISA_avx512bf16): nothing is
 * widened. Here are packing, the micro kernel, and rounding of tiles to bfloat16.
 *
 * A packed element is a pair, A[i][k] and A[i][k+1] (B[k][j] and B[k+1][j]), and an instruction adds
 * both products of a pair to a float: twice the multiply-adds of float per cycle, half the memory traffic.
 *
 * The instruction rounds each of its two additions to nearest, ties to even, but takes subnormal operands for
 * zero and gives zero for subnormal sums, as does rounding to bfloat16: the error is that of float sums and
 * at most 2^-125 for each step of k. HC_ISA=avx512 computes with the widened values. */
#include "gemm_kernels.h"

#if defined(HC_ISA) && defined(HC_ISA_avx512bf16)
#include "gemm_block.h"
#include "gemm_load.h"
#include "gemm_pairs.h"
#include "simd_transpose.h"

typedef vf vp; /* pairs, or the float sums of their products */
static inline vp vp_set(float pair) { return vf_set(pair); }
static inline vp vp_fma(vp a, vp b, vp c) { return _mm512_dpbf16_ps(c, (__m512bh)a, (__m512bh)b); }

FOR_BLOCKS(vp)

void HC_FN(gemm_micro_BF16) GEMM_MICRO_PARAMS { RUN_BLOCK(vp); }

/* Two vectors are a row, rounded to bfloat16 by one instruction. */
ALWAYS_INLINE void store_row(char *out, vf x0, vf x1, __mmask32 columns) {
    const __m512i y = (__m512i)_mm512_cvtne2ps_pbh(x1, x0);
    if (columns == ~0u) _mm512_storeu_si512(out, y);
    else _mm512_mask_storeu_epi16(out, columns, y);
}
ALWAYS_INLINE __mmask32 first_columns(size_t n) { return n < 32 ? (1u << n) - 1 : ~0u; }

/* The micro kernel that is also the end of its block; ROWS is `rows` made even. */
#define ROUND(V, ROWS)                                                                                       \
    static void V##_round_##ROWS(const struct gemm_round *r) {                                               \
        const size_t k = r->k;                                                                               \
        const float *restrict a = r->a, *restrict b = r->b;                                                  \
        struct gemm_ahead ahead = r->ahead;                                                                  \
        const __mmask32 columns = first_columns(r->cols);                                                    \
        const V alpha = vf_set(r->alpha);                                                                    \
        for (size_t i = 0; i < ROWS; i++) __builtin_prefetch(r->out + (int64_t)i * r->pitch, 1);             \
        BLOCK_SUMS(float, V, MR_F32, ROWS, NR_F32, 2)                                                        \
        _Pragma("GCC unroll 16") for (size_t i = 0; i < ROWS; i++) {                                         \
            if (i + 1 < ROWS || i < r->rows)                                                                 \
                store_row(r->out + (int64_t)i * r->pitch, acc[i][0] * alpha, acc[i][1] * alpha, columns);    \
        }                                                                                                    \
        (void)LANES;                                                                                         \
    }
FOR_ROWS_F32(ROUND, vp)

#define CASE_ROUND(V, ROWS)                                                                                  \
    case ROWS: V##_round_##ROWS(r); break;
void HC_FN(gemm_round_BF16)(const struct gemm_round *r) {
    switch ((r->rows + 1) & ~(size_t)1) { FOR_ROWS_F32(CASE_ROUND, vp) }
}

/* ---- packing ---- */

/* HC_VL pairs (or what the `left` elements make) of HC_VL rows that are contiguous along k; see pack_square
 * of gemm_pack.c. */
ALWAYS_INLINE void pair_square(const struct gemm_pack *p, size_t first, size_t k0, size_t left) {
    const size_t rows = p->valid > first ? hc_min_size(p->valid - first, HC_VL) : 0;
    const uint16_t *src = (const uint16_t *)p->src + (int64_t)first * p->width_stride + (int64_t)k0;
    vf x[HC_VL];
    /* The next panel's rows: runs along k may be too short for the hardware to notice. A panel is more than
     * the first-level cache keeps until then. */
    _Pragma("GCC unroll 16") for (size_t i = 0; i < HC_VL; i++)
        __builtin_prefetch(src + (int64_t)(p->width + i) * p->width_stride, 0, 2);
    _Pragma("GCC unroll 16") for (size_t i = 0; i < HC_VL; i++) x[i] =
        i < rows ? load_pairs(src + (int64_t)i * p->width_stride, left) : vf_zero();
    vf_transpose(x);
    float *dst = (float *)p->dst + k0 / 2 * p->width + first;
    const size_t steps = hc_min_size((left + 1) / 2, HC_VL);
    if (steps == HC_VL) {
        _Pragma("GCC unroll 16") for (size_t i = 0; i < HC_VL; i++) vf_store(dst + i * p->width, x[i]);
    } else {
        for (size_t i = 0; i < steps; i++) vf_store(dst + i * p->width, x[i]);
    }
}

/* Right to left, as in gemm_pack.c: what a vector writes too far is written later. */
static void pairs_along_k(const struct gemm_pack *p) {
    const size_t last = (p->width - 1) / HC_VL * HC_VL;
    for (size_t k = 0; k < p->k; k += 2 * HC_VL) {
        for (size_t first = last + HC_VL; first > 0; first -= HC_VL) {
            if (p->k - k >= 2 * HC_VL) pair_square(p, first - HC_VL, k, 2 * HC_VL);
            else pair_square(p, first - HC_VL, k, p->k - k);
        }
    }
}

enum { RUN = 128 }; /* elements of a row read at a time, so that memory is read in lines */

/* Panels [0, panels) of WIDTH columns; at most RUN columns. */
ALWAYS_INLINE void pairs_of_rows(const struct gemm_pack *p, const uint16_t *src, char *to, size_t valid,
                                 size_t panels, size_t WIDTH) {
    enum { AHEAD = 8 };
    for (size_t k = 0; k < p->k; k += 2, src += 2 * p->k_stride, to += WIDTH * sizeof(uint32_t)) {
        const int64_t next = k + 1 < p->k ? p->k_stride : 0;
        for (size_t i = 0; i < panels; i++) {
            const uint16_t *x = src + i * WIDTH;
            const size_t have = valid - i * WIDTH;
            uint32_t *dst = (uint32_t *)(to + i * p->pitch);
            __builtin_prefetch(x + AHEAD * p->k_stride);
            __builtin_prefetch(x + (AHEAD + 1) * p->k_stride);
            _Pragma("GCC unroll 2") for (size_t j = 0; j < WIDTH; j += HC_VL) {
                const size_t most = hc_min_size(WIDTH - j, HC_VL),
                             n = have > j ? hc_min_size(have - j, most) : 0;
                _mm512_storeu_si512(dst + j, two_rows(x + j, next, (__mmask16)((1u << n) - 1)));
            }
        }
    }
}

/* The width is a constant of each branch, so that a row's vectors are unrolled. */
static void pairs_across(const struct gemm_pack *p) {
    const size_t group = RUN / p->width;
    for (size_t first = 0; first < p->panels; first += group) {
        const size_t panels = hc_min_size(group, p->panels - first), origin = first * p->width;
        const uint16_t *src = (const uint16_t *)p->src + origin;
        char *to = p->dst + first * p->pitch;
        if (p->width == MR_F32) pairs_of_rows(p, src, to, p->valid - origin, panels, MR_F32);
        else pairs_of_rows(p, src, to, p->valid - origin, panels, NR_F32);
    }
}

/* Both strides above 1: views of views, rare enough. */
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
    if (p->width_stride == 1) {
        pairs_across(p);
        return;
    }
    for (size_t i = 0; i < p->panels; i++) {
        const struct gemm_pack one = one_panel(p, i);
        if (p->k_stride == 1) pairs_along_k(&one);
        else pairs_of_any(&one);
    }
}

/* ---- the end of a tile ---- */

/* A vector of self, the columns that exist; widening bfloat16 is exact. */
static inline vf load_self(const char *p, __mmask16 columns, aclDataType dtype) {
    if (dtype == ACL_FLOAT) return _mm512_maskz_loadu_ps(columns, p);
    const __m512i x = _mm512_cvtepu16_epi32(_mm256_maskz_loadu_epi16(columns, p));
    return (vf)_mm512_slli_epi32(x, 16);
}

/* Rows of at most 32 columns. The flags are constants of each call, so that the loop has no branches. */
ALWAYS_INLINE void store_rows(const struct gemm_store *s, bool add, bool has_self, aclDataType self_dtype) {
    const struct hc_gemm *g = s->g;
    const vf alpha = vf_set((float)g->alpha.value.f), beta = vf_set((float)g->beta.value.f);
    const bool scaled = g->alpha.value.f != 1;
    const __mmask32 columns = first_columns(s->cols);
    const float *tile = s->tile, *acc = s->acc;
    const int64_t size = self_dtype == ACL_FLOAT ? 4 : 2;
    for (size_t i = 0; i < s->rows; i++, tile += s->ld_tile) {
        const char *self = s->self + (int64_t)i * g->self.row * size;
        vf x[2];
        _Pragma("GCC unroll 2") for (int j = 0; j < 2; j++) {
            const __mmask16 some = (__mmask16)(columns >> 16 * j);
            x[j] = vf_load(tile + j * HC_VL);
            if (add) x[j] += (vf)_mm512_maskz_loadu_ps(some, acc + i * s->ld_acc + j * HC_VL);
            if (scaled) x[j] *= alpha;
            if (has_self) x[j] += beta * load_self(self + j * HC_VL * size, some, self_dtype);
        }
        store_row(s->out + (int64_t)i * g->out.row * 2, x[0], x[1], columns);
    }
}

void HC_FN(gemm_store_BF16)(const struct gemm_store *s) {
    const bool add = s->acc != NULL;
    if (s->self == NULL) {
        if (add) store_rows(s, true, false, ACL_BF16);
        else store_rows(s, false, false, ACL_BF16);
    } else if (s->g->self.dtype == ACL_FLOAT) {
        store_rows(s, add, true, ACL_FLOAT);
    } else {
        store_rows(s, add, true, ACL_BF16);
    }
}
#endif
