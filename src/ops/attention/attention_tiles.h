// SPDX-License-Identifier: Apache-2.0
/* Attention's tiles as bfloat16 for CPUs that multiply tiles of them (HC_ISA_amx): what a tile of keys,
 * values or queries is multiplied as is made once, when it is loaded, and weights are written as what the
 * product of values reads.
 *
 * A first operand has its rows one below the other, `pitch` bytes apart, zeros up to a whole ATTN_TILES_STEP
 * of k. A second one has for each ATTN_TILES_COLUMNS of its columns, `block` bytes apart, the pairs of k one
 * below the other, zeros up to a whole step as well. */
#pragma once
#include "op.h"

enum {
    ATTN_TILES_STEP = 32,    /* of k in one product of tiles */
    ATTN_TILES_COLUMNS = 32, /* of a second operand side by side */
    ATTN_TILES_ROWS = 128,   /* of a tile at most */
};

/* Bytes from row to row of a first operand with k steps: an odd number of cache lines, so that rows are
 * spread over the first-level cache. */
static inline size_t attn_tiles_pitch(size_t k) { return (hc_align_up(k, ATTN_TILES_STEP) * 2) | 64; }
/* Bytes from one block of columns of a second operand to the next, and of all n columns. */
static inline size_t attn_tiles_block(size_t k) {
    return hc_align_up(k, ATTN_TILES_STEP) * ATTN_TILES_COLUMNS * 2;
}
static inline size_t attn_tiles_bytes(size_t k, size_t n) {
    return hc_ceil_div(n, ATTN_TILES_COLUMNS) * attn_tiles_block(k);
}

/* Rows of n floats, rounded to nearest, ties to even. `to` may be x: each row is then at its own start. */
HC_KERNEL_AMX(attn_tiles_round, (size_t rows, size_t n, const float *x, size_t ld, char *to, size_t pitch))
/* Rows of n bfloat16, wherever they are, as a first operand. */
HC_KERNEL_AMX(attn_tiles_copy, (size_t rows, size_t n, const char *const *row, char *to, size_t pitch))
/* The same as a second operand, its k down the rows; or along them: the rows are its columns. */
HC_KERNEL_AMX(attn_tiles_pack_down, (size_t rows, size_t n, const char *const *row, char *to, size_t block))
HC_KERNEL_AMX(attn_tiles_pack_along, (size_t rows, size_t n, const char *const *row, char *to, size_t block))
/* Columns of floats as the rows of a first operand: to[j][i] = x[i][j], rounded; `rows` are its steps. */
HC_KERNEL_AMX(attn_tiles_turn, (size_t rows, size_t n, const float *x, size_t ld, char *to, size_t pitch))

/* c[m][n] = (accumulate ? c : 0) + a b; columns up to the next multiple of ATTN_PAD are written too. For each
 * element k is added up in the order of its steps, whatever m and n are. */
struct attn_tiles_product {
    size_t m, n, k;
    const char *a;
    size_t pitch;
    const char *b;
    size_t block;
    float *c;
    size_t ldc;
    bool accumulate;
};
HC_KERNEL_AMX(attn_tiles_multiply, (const struct attn_tiles_product *p))

/* One step of the streaming softmax for all rows of a tile: scores times `unit`, which is positive, become
 * weights exp(logit - max), 0 outside [low, high); max and sum are carried on, and what `out` has of earlier
 * keys is multiplied accordingly. */
struct attn_tiles_weights {
    size_t rows, keys;
    float *s;
    size_t ld;
    const uint8_t *low, *high; /* of each row */
    float unit;
    float *max, *sum;
    char *to; /* a first operand; NULL: the weights stay floats, in s */
    size_t pitch;
    float *out;
    size_t ld_out, n_out;
};
HC_KERNEL_AMX(attn_tiles_soften, (const struct attn_tiles_weights *w))
