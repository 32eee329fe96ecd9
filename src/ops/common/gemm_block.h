// SPDX-License-Identifier: Apache-2.0
/* Micro kernels of the matrix product: a block of C in registers, one outer product per step of k (kernel
 * passes of gemm_micro.c and gemm_pairs.c only).
 *
 * Per step: NV vectors of B are loaded, ROWS elements of A are broadcast, ROWS * NV multiply-adds are done.
 * The block is chosen to fill the register file (avx512: 14 x 2 accumulators + 2 + 1 of 32; avx2: 6 x 2 + 2 +
 * 1 of 16) so that the multiply-add units, not the loads, are the limit. C is prefetched meanwhile. Every
 * element is the same chain of multiply-adds over k whatever the block it is computed in, so edges and
 * blocking do not change the result. */
#pragma once
#include "gemm_kernels.h"
#include "simd.h"

/* Only where a step has room for more instructions. */
#if defined(HC_ISA_avx512)
#define PREFETCH(p, step) __builtin_prefetch(p, 0, 1), p += (step);
#else
#define PREFETCH(p, step) (void)p;
#endif

/* The sums of a block in V acc[ROWS][NV]. MR is the panel's width, ROWS <= MR the rows computed. LOAD(j) is
 * vector j of a step's row of B, NEXT what leads to the next row. */
#define BLOCK_SUMS(T, V, MR, ROWS, NR, NV) BLOCK_SUMS_OF(T, V, MR, ROWS, NV, PACKED_VECTOR(V), b += NR, NR)
#define PACKED_VECTOR(V) (*(const V *)(b + j * LANES))
#define BLOCK_SUMS_OF(T, V, MR, ROWS, NV, LOAD, NEXT, NR)                                                    \
    enum { LANES = sizeof(V) / sizeof(T) };                                                                  \
    V acc[ROWS][NV] = {{{0}}};                                                                               \
    _Pragma("GCC unroll 4") for (size_t p = 0; p < k; p++, a += MR, NEXT) {                                  \
        V x[NV];                                                                                             \
        if ((p & ahead.often) == 0) {                                                                        \
            __builtin_prefetch(ahead.raw, 0, 2);                                                             \
            ahead.raw += ((p + ahead.often + 1) & ahead.run) != 0 ? GEMM_LINE : ahead.jump;                  \
        }                                                                                                    \
        PREFETCH(ahead.a, MR * sizeof(T))                                                                    \
        PREFETCH(ahead.b, NR * sizeof(T) / 4)                                                                \
        _Pragma("GCC unroll 4") for (int j = 0; j < NV; j++) x[j] = LOAD;                                    \
        _Pragma("GCC unroll 16") for (int i = 0; i < ROWS; i++) {                                            \
            const V y = V##_set(a[i]);                                                                       \
            _Pragma("GCC unroll 4") for (int j = 0; j < NV; j++) acc[i][j] = V##_fma(y, x[j], acc[i][j]);    \
        }                                                                                                    \
    }

/* The sums, or C and them, to C. */
#define BLOCK_END(V, ROWS, NV)                                                                               \
    _Pragma("GCC unroll 16") for (int i = 0; i < ROWS; i++) {                                                \
        _Pragma("GCC unroll 4") for (int j = 0; j < NV; j++) {                                               \
            unaligned *to = (unaligned *)(c + (size_t)i * ldc + j * LANES);                                  \
            if (add) acc[i][j] += (V) * to;                                                                  \
            *to = acc[i][j];                                                                                 \
        }                                                                                                    \
    }

/* The micro kernel of one block size. */
#define BLOCK(T, V, MR, ROWS, NR, NV)                                                                        \
    static void V##_block_##ROWS##_##NV(size_t k, const T *restrict a, const T *restrict b, T *restrict c,   \
                                        size_t ldc, bool add, struct gemm_ahead ahead) {                     \
        typedef V unaligned __attribute__((aligned(sizeof(T)), may_alias));                                  \
        _Pragma("GCC unroll 16") for (int i = 0; i < ROWS; i++) {                                            \
            for (size_t j = 0; j < NV; j++)                                                                  \
                __builtin_prefetch((const char *)(c + (size_t)i * ldc) + j * sizeof(V), 1);                  \
        }                                                                                                    \
        BLOCK_SUMS(T, V, MR, ROWS, NR, NV)                                                                   \
        BLOCK_END(V, ROWS, NV)                                                                               \
    }

#if defined(HC_ISA_avx512)
enum { MR_F32 = 14, NR_F32 = 32 };
#define FOR_ROWS_F32(X, V) X(V, 2) X(V, 4) X(V, 6) X(V, 8) X(V, 10) X(V, 12) X(V, 14)
#elif defined(HC_ISA_avx2)
enum { MR_F32 = 6, NR_F32 = 16 };
#define FOR_ROWS_F32(X, V) X(V, 2) X(V, 4) X(V, 6)
#elif defined(__aarch64__)
enum { MR_F32 = 12, NR_F32 = 8 };
#define FOR_ROWS_F32(X, V) X(V, 2) X(V, 4) X(V, 6) X(V, 8) X(V, 10) X(V, 12)
#else
enum { MR_F32 = 6, NR_F32 = 8 };
#define FOR_ROWS_F32(X, V) X(V, 2) X(V, 4) X(V, 6)
#endif

/* The blocks of vectors V for every number of rows, one and two vectors wide, and the choice among them. Rows
 * and columns are constants of each case, or the accumulators would not stay in registers. Row counts are
 * even ones, as packed rows are padded: half the code, and at most one row computed in vain. */
#define BLOCK_1(V, ROWS) BLOCK(float, V, MR_F32, ROWS, NR_F32, 1)
#define BLOCK_2(V, ROWS) BLOCK(float, V, MR_F32, ROWS, NR_F32, 2)
#define FOR_BLOCKS(V) FOR_ROWS_F32(BLOCK_1, V) FOR_ROWS_F32(BLOCK_2, V)
#define CASE_1(V, ROWS)                                                                                      \
    case ROWS: V##_block_##ROWS##_1(k, a, b, c, ldc, add, ahead); break;
#define CASE_2(V, ROWS)                                                                                      \
    case ROWS: V##_block_##ROWS##_2(k, a, b, c, ldc, add, ahead); break;
#define RUN_BLOCK(V)                                                                                         \
    do {                                                                                                     \
        const size_t blocked_rows = (rows + 1) & ~(size_t)1;                                                 \
        if (cols <= HC_VL) {                                                                                 \
            switch (blocked_rows) { FOR_ROWS_F32(CASE_1, V) }                                                \
        } else {                                                                                             \
            switch (blocked_rows) { FOR_ROWS_F32(CASE_2, V) }                                                \
        }                                                                                                    \
    } while (0)
