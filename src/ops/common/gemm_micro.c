// SPDX-License-Identifier: Apache-2.0
/* Micro kernels of the block types that every instruction set has; see gemm_block.h. */
#include "gemm_kernels.h"

#ifdef HC_ISA
#include "gemm_block.h"
#include "gemm_load.h"

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

/* KC: a panel of B (NR * KC elements, 32 KiB of float at most) fits the first-level cache. Integers have
 * no fused multiply-add, and a 64-bit product takes several instructions: smaller blocks. */
enum { KC = 256, TILE_ROWS = 140, TILE_COLS = 256 };
#if defined(HC_ISA_avx512)
enum { MR_F64 = 14, NR_F64 = 16, MR_I64 = 8, NR_I64 = 16 };
#define FULL_VL(X) X(uint64_t, vl, 8, 8, 16, 2)
#define FULL_VD(X) X(double, vd, 14, 14, 16, 2)
#elif defined(HC_ISA_avx2)
enum { MR_F64 = 6, NR_F64 = 8, MR_I64 = 4, NR_I64 = 8 };
#define FULL_VL(X) X(uint64_t, vl, 4, 4, 8, 2)
#define FULL_VD(X) X(double, vd, 6, 6, 8, 2)
#elif defined(__aarch64__)
enum { MR_F64 = 12, NR_F64 = 4, MR_I64 = 4, NR_I64 = 4 };
#define FULL_VL(X) X(uint64_t, vl, 4, 4, 4, 2)
#define FULL_VD(X) X(double, vd, 12, 12, 4, 2)
#else
enum { MR_F64 = 6, NR_F64 = 4, MR_I64 = 4, NR_I64 = 4 };
#define FULL_VL(X) X(uint64_t, vl, 4, 4, 4, 2)
#define FULL_VD(X) X(double, vd, 6, 6, 4, 2)
#endif

FOR_BLOCKS(vf)
FULL_VD(BLOCK)
FULL_VL(BLOCK)

void HC_FN(gemm_micro_F32) GEMM_MICRO_PARAMS { RUN_BLOCK(vf); }

/* Vector j of a row of B where it lies, which becomes the panel's on the way. */
ALWAYS_INLINE vf pass_on(const char *row, float *panel, int j, aclDataType dtype) {
    const vf x = load_vector(element(row, j * HC_VL, dtype), dtype);
    vf_store(panel + j * HC_VL, x);
    return x;
}

ALWAYS_INLINE void first_block(const struct gemm_first *f, aclDataType dtype) {
    typedef vf_unaligned unaligned;
    const size_t k = f->k, ldc = f->ldc;
    const float *restrict a = f->a;
    const char *restrict b = f->b;
    float *restrict panel = f->panel, *restrict c = f->c;
    const bool add = f->add;
    const int64_t pitch = f->pitch;
    struct gemm_ahead ahead = f->ahead;
    for (int i = 0; i < MR_F32; i++) __builtin_prefetch(c + (size_t)i * ldc, 1);
    BLOCK_SUMS_OF(float, vf, MR_F32, MR_F32, 2, pass_on(b, panel, j, dtype), (b += pitch, panel += NR_F32),
                  NR_F32)
    BLOCK_END(vf, MR_F32, 2)
}

void HC_FN(gemm_first_F32)(const struct gemm_first *f) {
    if (f->dtype == ACL_FLOAT) first_block(f, ACL_FLOAT);
    else if (f->dtype == ACL_BF16) first_block(f, ACL_BF16);
    else first_block(f, ACL_FLOAT16);
}

/* F64 and I64 have one block size each. */
#define CALL_(T, V, MR, ROWS, NR, NV) V##_block_##ROWS##_##NV(k, a, b, c, ldc, add, ahead)
void HC_FN(gemm_micro_F64) GEMM_MICRO_PARAMS {
    (void)rows, (void)cols;
    FULL_VD(CALL_);
}
void HC_FN(gemm_micro_I64) GEMM_MICRO_PARAMS {
    (void)rows, (void)cols;
    FULL_VL(CALL_);
}

void HC_FN(gemm_geometry)(enum hc_block block, struct gemm_geometry *g) {
    if (block == HC_F32) *g = (struct gemm_geometry){MR_F32, NR_F32, KC, TILE_ROWS, TILE_COLS, 2, HC_VL};
    else if (block == HC_I64)
        *g = (struct gemm_geometry){MR_I64, NR_I64, KC, TILE_ROWS, TILE_COLS, MR_I64, NR_I64};
    else *g = (struct gemm_geometry){MR_F64, NR_F64, KC, TILE_ROWS, TILE_COLS, MR_F64, NR_F64};
}
#endif
