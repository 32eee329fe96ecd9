// SPDX-License-Identifier: Apache-2.0
/* Products of attention's tiles where the tensors are bfloat16 and the CPU multiplies tiles of them.
 *
 * Which numbers are rounded, and how, is as in attention_pairs.c: what was loaded from tensors is bfloat16 in
 * float32 clothes and goes into a product as it is, weights and their gradients are rounded to bfloat16
 * first. Subnormal numbers are taken for zero. */
#include "attention_kernels.h"

#if defined(HC_ISA) && defined(HC_ISA_amx)
#include "attention_bf16.h"
#include "simd_tiles.h"
#include "simd_transpose.h"

#define INLINE static inline __attribute__((always_inline))

enum {
    BLOCK = 2 * TILE_SIDE, /* rows and columns of C at a time */
    MOST_ROWS = 128,       /* of A, columns of B, steps of k: packed at a time */
    MOST_COLUMNS = 128,
    MOST_STEPS = 128,
    BLOCK_BYTES = BLOCK * TILE_LINE, /* a block's rows of A, or two tiles of B: one product's steps */
    A_BYTES = MOST_ROWS / BLOCK * (MOST_STEPS / TILE_STEP) * BLOCK_BYTES,
    B_BYTES = MOST_STEPS / TILE_STEP * BLOCK_BYTES, /* of a block's columns */
};

/* Of A, for each block of rows and each TILE_STEP of k, its rows side by side in a line each. */
struct packed {
    _Alignas(64) char a[A_BYTES];
    _Alignas(64) char b[MOST_COLUMNS / BLOCK * B_BYTES];
};

INLINE size_t line_of(size_t row, size_t k) {
    return (row / BLOCK * (MOST_STEPS / TILE_STEP) + k / TILE_STEP) * BLOCK_BYTES + row % BLOCK * TILE_LINE;
}

/* Rows that are contiguous along k. */
static void pack_rows(const struct attn_product *p, size_t rows, size_t steps, const float *a, char *to) {
    for (size_t i = 0; i < rows; i++, a += p->am) {
        for (size_t k = 0; k < steps; k += TILE_STEP)
            row_in_pairs(hc_min_size(steps - k, TILE_STEP), a + k, (float *)(to + line_of(i, k)));
    }
}

/* Columns of A that are contiguous: squares of pairs are turned into rows. */
static void pack_columns(const struct attn_product *p, size_t rows, size_t steps, const float *a, char *to) {
    for (size_t k = 0; k < steps; k += TILE_STEP) {
        for (size_t i = 0; i < rows; i += TILE_SIDE) {
            vf pairs[TILE_SIDE];
            _Pragma("GCC unroll 16") for (size_t j = 0; j < TILE_SIDE; j++) {
                const size_t even = k + 2 * j;
                const float *from = a + even * p->ak + i;
                const vf x = even < steps ? vf_load(from) : vf_zero();
                pairs[j] = by_turns(x, even + 1 < steps ? vf_load(from + p->ak) : vf_zero());
            }
            vf_transpose(pairs);
            float *line = (float *)(to + line_of(i, k));
            for (size_t j = 0; j < TILE_SIDE; j++) vf_store(line + j * (TILE_LINE / sizeof(float)), pairs[j]);
        }
    }
}

/* Pairs of rows of B, up to BLOCK columns. */
static void pack_b(size_t steps, size_t columns, const float *b, size_t ldb, char *to) {
    float *line = (float *)to;
    for (size_t k = 0; k < hc_align_up(steps, TILE_STEP); k += 2, b += 2 * ldb, line += BLOCK) {
        for (size_t j = 0; j < columns; j += HC_VL) {
            const vf x = k < steps ? vf_load(b + j) : vf_zero();
            const vf y = k + 1 < steps ? vf_load(b + ldb + j) : vf_zero();
            vf_store(line + j, in_pairs(x, y));
        }
    }
}

/* A block of C from all the steps packed. */
INLINE void multiply(const struct packed *x, const char *b, size_t row, size_t steps, char *c, size_t pitch,
                     bool add, bool DOWN, bool ACROSS) {
    TILES_START(add, c, pitch, DOWN, ACROSS);
    for (size_t k = 0; k < steps; k += TILE_STEP) {
        const size_t at = line_of(row, k);
        TILES_LOAD_B(b + k / TILE_STEP * BLOCK_BYTES, ACROSS);
        TILES_MULTIPLY(x->a + at, DOWN, ACROSS);
    }
    TILES_END(c, pitch, DOWN, ACROSS);
}

/* Rows [row, row + rows) of C by `columns`, the tiles shaped for both. */
INLINE void block(const struct packed *x, const char *b, size_t row, size_t rows, size_t columns,
                  size_t steps, char *c, size_t pitch, bool add) {
    if (rows > TILE_SIDE && columns > TILE_SIDE) multiply(x, b, row, steps, c, pitch, add, true, true);
    else if (rows > TILE_SIDE) multiply(x, b, row, steps, c, pitch, add, true, false);
    else if (columns > TILE_SIDE) multiply(x, b, row, steps, c, pitch, add, false, true);
    else multiply(x, b, row, steps, c, pitch, add, false, false);
}

/* Some rows and columns of C from some steps of k. Both operands are packed before anything is multiplied:
 * what was just stored takes its time to reach a tile. */
static void part(const struct attn_product *p, size_t rows, size_t columns, size_t steps, const float *a,
                 const float *b, float *c, bool add, struct packed *x) {
    const size_t pitch = p->ldc * sizeof(float);
    for (size_t j = 0; j < columns; j += BLOCK)
        pack_b(steps, hc_min_size(columns - j, BLOCK), b + j, p->ldb, x->b + j / BLOCK * B_BYTES);
    if (p->ak == 1) pack_rows(p, rows, steps, a, x->a);
    else pack_columns(p, rows, steps, a, x->a);
    for (size_t j = 0; j < columns; j += BLOCK) {
        const size_t width = hc_min_size(columns - j, BLOCK);
        shape_tiles(BLOCK, width);
        for (size_t i = 0; i < rows; i += BLOCK) {
            const size_t height = hc_min_size(rows - i, BLOCK);
            if (height < BLOCK) shape_tiles(height, width);
            block(x, x->b + j / BLOCK * B_BYTES, i, height, width, steps, (char *)(c + i * p->ldc + j), pitch,
                  add);
        }
    }
}

void HC_FN(attn_gemm_AMX)(const struct attn_product *p) {
    struct packed x;
    const size_t n = hc_align_up(p->n, HC_VL);
    for (size_t i = 0; i < p->m; i += MOST_ROWS) {
        for (size_t k = 0; k < p->k; k += MOST_STEPS) {
            for (size_t j = 0; j < n; j += MOST_COLUMNS) {
                const size_t rows = hc_min_size(p->m - i, MOST_ROWS),
                             columns = hc_min_size(n - j, MOST_COLUMNS),
                             steps = hc_min_size(p->k - k, MOST_STEPS);
                const float *a = p->a + i * p->am + k * p->ak, *b = p->b + k * p->ldb + j;
                float *c = p->c + i * p->ldc + j;
                part(p, rows, columns, steps, a, b, c, p->accumulate || k > 0, &x);
            }
        }
    }
    _tile_release();
}
#endif
