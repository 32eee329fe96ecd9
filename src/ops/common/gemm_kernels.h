// SPDX-License-Identifier: Apache-2.0
/* The loops below hc_gemm (private to gemm*.c).
 *
 * Operands are packed into panels: A by `mr` rows, B by `nr` columns, k-major, so that the micro kernel reads
 * both front to back whatever the strides were. Panel p of A at step k holds A[p*mr .. p*mr+mr)[k] side by
 * side; rows that do not exist are zero. */
#pragma once
#include "gemm.h"

enum { GEMM_LINE = 64 }; /* bytes of a line of the caches */
enum { GEMM_TILE_MOST_ROWS = 140, GEMM_TILE_MOST_COLS = 512 };

/* Register block and k-slab of one block type. A slab of a B panel (nr * kc elements) fits the first-level
 * cache, what a task computes at most the second-level one with its operands. */
struct gemm_geometry {
    size_t mr, nr, kc;
    size_t tile_rows, tile_cols;
    size_t row_step, col_step; /* the micro kernel writes whole multiples of these */
};
HC_KERNEL(gemm_geometry, (enum hc_block block, struct gemm_geometry *g))

/* Slack: packing may write up to one vector beyond a panel. */
enum { GEMM_PANEL_ALIGN = 64, GEMM_PANEL_SLACK = 64, GEMM_MAX_TILE_BYTES = 32 * 32 * 4 };

/* Memory to bring into the second-level cache meanwhile. Any address is allowed.
 * Panels: as much of a as the call's own panel takes, a quarter of that of b (where a step has room for it).
 * Lines of an operand that is packed next: one each time that `often` bits of the step are 0, `run` of them
 * side by side, then `jump` bytes on; both of the form 2^n - 1. */
enum { GEMM_SELDOM = 3 };
struct gemm_ahead {
    const char *a, *b;
    const char *raw;
    size_t often, run;
    int64_t jump;
};

/* c[i*ldc+j] (add ? += : =) sum over k of a[k*mr+i] * b[k*nr+j], for i < rows and j < cols, both rounded up
 * to the geometry's steps. a and b are aligned panels. */
#define GEMM_MICRO_PARAMS                                                                                    \
    (size_t k, size_t rows, size_t cols, const void *a, const void *b, void *c, size_t ldc, bool add,        \
     struct gemm_ahead ahead)
HC_KERNEL(gemm_micro_F32, GEMM_MICRO_PARAMS)
HC_KERNEL(gemm_micro_F64, GEMM_MICRO_PARAMS)
HC_KERNEL(gemm_micro_I64, GEMM_MICRO_PARAMS)
/* Steps are pairs of k, an element is two bfloat16: the geometry and the sums are float's. */
HC_KERNEL_BF16(gemm_micro_BF16, GEMM_MICRO_PARAMS)
/* The same with a geometry, and panels of A, of its own; steps past k, up to a whole product of tiles, are
 * read as well. It writes no more than rows x cols, and adds to C step by step. Only between begin and end,
 * which set the thread's tile registers up and give them back. */
HC_KERNEL_AMX(gemm_micro_AMX, GEMM_MICRO_PARAMS)
HC_KERNEL_AMX(gemm_amx_geometry, (struct gemm_geometry * g))
HC_KERNEL_AMX(gemm_amx_begin, (void))
HC_KERNEL_AMX(gemm_amx_end, (void))

/* The micro kernel for all rows of a panel of A and all columns of one of B that is packed on the way: b is
 * where its first row lies, contiguous float32, bfloat16 or float16, `panel` where the panel goes. */
struct gemm_first {
    size_t k;
    const void *a, *b;
    aclDataType dtype;
    int64_t pitch; /* bytes between rows of b */
    void *panel, *c;
    size_t ldc;
    bool add;
    struct gemm_ahead ahead;
};
HC_KERNEL(gemm_first_F32, (const struct gemm_first *f))

/* Panels side by side, of `width` rows or columns each, over k steps; `valid` rows or columns exist in all of
 * them together. */
struct gemm_pack {
    const void *src;
    aclDataType dtype;
    int64_t width_stride, k_stride;
    size_t width, panels, valid, k;
    char *dst;    /* k * width elements, and room for one vector more, */
    size_t pitch; /* these bytes before those of the next panel */
};
HC_KERNEL(gemm_pack_F32, (const struct gemm_pack *p))
/* bfloat16 as pairs along k; the last of an odd k has a zero. */
HC_KERNEL_BF16(gemm_pack_BF16, (const struct gemm_pack *p))
HC_KERNEL_AMX(gemm_pack_rows_AMX, (const struct gemm_pack *p))    /* A */
HC_KERNEL_AMX(gemm_pack_columns_AMX, (const struct gemm_pack *p)) /* B */

/* A finished tile: x = alpha * (tile + acc) + beta * self, epilogue, rounded into out. */
struct gemm_store {
    const struct hc_gemm *g;
    size_t batch, row, col; /* of the tile's first element */
    size_t rows, cols;
    const void *tile;
    size_t ld_tile;
    const void *acc; /* sums of earlier slabs; may be NULL */
    size_t ld_acc;
    const char *self; /* already at the tile; NULL: none */
    char *out;
};
HC_KERNEL(gemm_store_F32, (const struct gemm_store *s))
/* Only for bfloat16 out, contiguous along its rows, as is self, which is not float16; no epilogue. */
HC_KERNEL_BF16(gemm_store_BF16, (const struct gemm_store *s))

/* Micro kernel and end of a block in one: out = alpha * sums, where there is nothing to add. */
struct gemm_round {
    size_t k, rows, cols;
    const void *a, *b; /* as for the micro kernels */
    struct gemm_ahead ahead;
    char *out;
    int64_t pitch; /* bytes between rows */
    float alpha;
};
HC_KERNEL_BF16(gemm_round_BF16, (const struct gemm_round *r))
