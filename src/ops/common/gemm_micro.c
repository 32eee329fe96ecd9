// SPDX-License-Identifier: Apache-2.0
/* Micro kernels of the matrix product: a block of C in registers, one outer product per step of k.
 *
 * Per step: NV vectors of B are loaded, ROWS elements of A are broadcast, ROWS * NV multiply-adds are done.
 * The block is chosen to fill the register file (avx512: 14 x 2 accumulators + 2 + 1 of 32; avx2: 6 x 2 + 2 +
 * 1 of 16) so that the multiply-add units, not the loads, are the limit. C is prefetched meanwhile. Every
 * element is the same chain of multiply-adds over k whatever the block it is computed in, so edges and
 * blocking do not change the result. */
#include "gemm_kernels.h"

#ifdef HC_ISA
#include "simd.h"

typedef uint64_t vl __attribute__((vector_size(HC_VBYTES)));
static inline vd vd_set(double x) { return x - (vd){0}; }
static inline vl vl_set(uint64_t x) { return x + (vl){0}; }
static inline vl vl_fma(vl a, vl b, vl c) { return a * b + c; }
/* The scalar set has no fused instruction: two roundings there. */
static inline vd vd_fma(vd a, vd b, vd c) {
#if defined(HC_ISA_avx512)
    return _mm512_fmadd_pd(a, b, c);
#elif defined(HC_ISA_avx2)
    return _mm256_fmadd_pd(a, b, c);
#elif defined(__aarch64__)
    return (vd)vfmaq_f64((float64x2_t)c, (float64x2_t)a, (float64x2_t)b);
#else
    return a * b + c;
#endif
}

/* The micro kernel of one block size: MR is the panel's width, ROWS <= MR the rows computed. */
#define BLOCK(T, V, MR, ROWS, NR, NV)                                                                        \
    static void V##_block_##ROWS##_##NV(size_t k, const T *restrict a, const T *restrict b, T *restrict c,   \
                                        size_t ldc, bool add) {                                              \
        enum { LANES = sizeof(V) / sizeof(T) };                                                              \
        typedef V unaligned __attribute__((aligned(sizeof(T)), may_alias));                                  \
        V acc[ROWS][NV] = {{{0}}};                                                                           \
        _Pragma("GCC unroll 16") for (int i = 0; i < ROWS; i++) {                                            \
            for (int j = 0; j < NV; j++) __builtin_prefetch(c + (size_t)i * ldc + j * LANES, 1);             \
        }                                                                                                    \
        _Pragma("GCC unroll 4") for (size_t p = 0; p < k; p++, a += MR, b += NR) {                           \
            V x[NV];                                                                                         \
            _Pragma("GCC unroll 4") for (int j = 0; j < NV; j++) x[j] = *(const V *)(b + j * LANES);         \
            _Pragma("GCC unroll 16") for (int i = 0; i < ROWS; i++) {                                        \
                const V y = V##_set(a[i]);                                                                   \
                _Pragma("GCC unroll 4") for (int j = 0; j < NV; j++) acc[i][j] =                             \
                    V##_fma(y, x[j], acc[i][j]);                                                             \
            }                                                                                                \
        }                                                                                                    \
        _Pragma("GCC unroll 16") for (int i = 0; i < ROWS; i++) {                                            \
            _Pragma("GCC unroll 4") for (int j = 0; j < NV; j++) {                                           \
                unaligned *to = (unaligned *)(c + (size_t)i * ldc + j * LANES);                              \
                if (add) acc[i][j] += (V) * to;                                                              \
                *to = acc[i][j];                                                                             \
            }                                                                                                \
        }                                                                                                    \
    }
/* Row counts are even ones: half the code, and at most one row computed in vain. */
#define CASE(V, ROWS, NV)                                                                                    \
    case ROWS: V##_block_##ROWS##_##NV(k, a, b, c, ldc, add); break;

/* KC: a panel of B (NR * KC elements, 32 KiB of float at most) fits the first-level cache. Integers have
 * no fused multiply-add, and a 64-bit product takes several instructions: smaller blocks. */
#if defined(HC_ISA_avx512)
enum {
    MR_F32 = 14,
    NR_F32 = 32,
    KC_F32 = 256,
    MR_F64 = 14,
    NR_F64 = 16,
    KC_F64 = 256,
    MR_I64 = 8,
    NR_I64 = 16
};
#define FOR_ROWS_F32(X) X(2) X(4) X(6) X(8) X(10) X(12) X(14)
#define FULL_VL(X) X(uint64_t, vl, 8, 8, 16, 2)
#define FULL_VD(X) X(double, vd, 14, 14, 16, 2)
#elif defined(HC_ISA_avx2)
enum { MR_F32 = 6, NR_F32 = 16, KC_F32 = 256, MR_F64 = 6, NR_F64 = 8, KC_F64 = 256, MR_I64 = 4, NR_I64 = 8 };
#define FOR_ROWS_F32(X) X(2) X(4) X(6)
#define FULL_VL(X) X(uint64_t, vl, 4, 4, 8, 2)
#define FULL_VD(X) X(double, vd, 6, 6, 8, 2)
#elif defined(__aarch64__)
enum { MR_F32 = 12, NR_F32 = 8, KC_F32 = 256, MR_F64 = 12, NR_F64 = 4, KC_F64 = 256, MR_I64 = 4, NR_I64 = 4 };
#define FOR_ROWS_F32(X) X(2) X(4) X(6) X(8) X(10) X(12)
#define FULL_VL(X) X(uint64_t, vl, 4, 4, 4, 2)
#define FULL_VD(X) X(double, vd, 12, 12, 4, 2)
#else
enum { MR_F32 = 6, NR_F32 = 8, KC_F32 = 256, MR_F64 = 6, NR_F64 = 4, KC_F64 = 256, MR_I64 = 4, NR_I64 = 4 };
#define FOR_ROWS_F32(X) X(2) X(4) X(6)
#define FULL_VL(X) X(uint64_t, vl, 4, 4, 4, 2)
#define FULL_VD(X) X(double, vd, 6, 6, 4, 2)
#endif

#define BLOCK_1(ROWS) BLOCK(float, vf, MR_F32, ROWS, NR_F32, 1)
#define BLOCK_2(ROWS) BLOCK(float, vf, MR_F32, ROWS, NR_F32, 2)
FOR_ROWS_F32(BLOCK_1)
FOR_ROWS_F32(BLOCK_2)
FULL_VD(BLOCK)
FULL_VL(BLOCK)

/* Rows and columns are constants of each case, or the accumulators would not stay in registers. Odd
 * numbers of rows are rounded up, as packed rows are padded. */
void HC_FN(gemm_micro_F32) GEMM_MICRO_PARAMS {
#define CASE_1(ROWS) CASE(vf, ROWS, 1)
#define CASE_2(ROWS) CASE(vf, ROWS, 2)
    const size_t blocked_rows = (rows + 1) & ~(size_t)1;
    if (cols <= HC_VL) {
        switch (blocked_rows) { FOR_ROWS_F32(CASE_1) }
    } else {
        switch (blocked_rows) { FOR_ROWS_F32(CASE_2) }
    }
}

/* F64 and I64 have one block size each. */
#define CALL_(T, V, MR, ROWS, NR, NV) V##_block_##ROWS##_##NV(k, a, b, c, ldc, add)
void HC_FN(gemm_micro_F64) GEMM_MICRO_PARAMS {
    (void)rows, (void)cols;
    FULL_VD(CALL_);
}
void HC_FN(gemm_micro_I64) GEMM_MICRO_PARAMS {
    (void)rows, (void)cols;
    FULL_VL(CALL_);
}

void HC_FN(gemm_geometry)(enum hc_block block, struct gemm_geometry *g) {
    if (block == HC_F32) *g = (struct gemm_geometry){MR_F32, NR_F32, KC_F32, 2, HC_VL};
    else if (block == HC_I64) *g = (struct gemm_geometry){MR_I64, NR_I64, KC_F64, MR_I64, NR_I64};
    else *g = (struct gemm_geometry){MR_F64, NR_F64, KC_F64, MR_F64, NR_F64};
}
#endif
