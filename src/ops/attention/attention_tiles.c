// SPDX-License-Identifier: Apache-2.0
/* Operands and products of attention's tiles (attention_tiles.h).
 *
 * What was loaded from tensors is bfloat16 and goes into a product as it is; weights and their gradients are
 * rounded to bfloat16 first, as in attention_pairs.c. Subnormal numbers are taken for zero. */
#include "attention_tiles.h"

#if defined(HC_ISA) && defined(HC_ISA_amx)
#include "attention_bf16.h"
#include "simd_tiles.h"
#include "simd_transpose.h"

#define INLINE static inline __attribute__((always_inline))

enum { LINES = 2 * TILE_LINE }; /* bytes of a pair of k in a block of columns */

/* The first n of 32 elements from p on, the rest zero. */
INLINE __m512i elements(const char *p, size_t n) {
    if (n >= TILE_STEP) return _mm512_loadu_si512(p);
    return _mm512_maskz_loadu_epi16((__mmask32)((1u << n) - 1), p);
}

void HC_FN(attn_tiles_round)(size_t rows, size_t n, const float *x, size_t ld, char *to, size_t pitch) {
    for (size_t i = 0; i < rows; i++) row_in_pairs(n, x + i * ld, (float *)(to + i * pitch));
}

void HC_FN(attn_tiles_copy)(size_t rows, size_t n, const char *const *row, char *to, size_t pitch) {
    for (size_t i = 0; i < rows; i++, to += pitch) {
        for (size_t k = 0; k < n; k += TILE_STEP)
            _mm512_storeu_si512(to + 2 * k, elements(row[i] + 2 * k, n - k));
    }
}

void HC_FN(attn_tiles_pack_down)(size_t rows, size_t n, const char *const *row, char *to, size_t block) {
    static const uint16_t FIRST[] = {0, 32, 1, 33, 2,  34, 3,  35, 4,  36, 5,  37, 6,  38, 7,  39,
                                     8, 40, 9, 41, 10, 42, 11, 43, 12, 44, 13, 45, 14, 46, 15, 47};
    const __m512i first = _mm512_loadu_si512(FIRST), second = _mm512_add_epi16(first, _mm512_set1_epi16(16));
    for (size_t k = 0; k < hc_align_up(rows, TILE_STEP); k += 2, to += LINES) {
        for (size_t j = 0; j < n; j += ATTN_TILES_COLUMNS) {
            const __m512i x = k < rows ? elements(row[k] + 2 * j, n - j) : _mm512_setzero_si512();
            const __m512i y = k + 1 < rows ? elements(row[k + 1] + 2 * j, n - j) : _mm512_setzero_si512();
            char *line = to + j / ATTN_TILES_COLUMNS * block;
            _mm512_storeu_si512(line, _mm512_permutex2var_epi16(x, first, y));
            _mm512_storeu_si512(line + TILE_LINE, _mm512_permutex2var_epi16(x, second, y));
        }
    }
}

/* Squares of pairs, transposed. */
void HC_FN(attn_tiles_pack_along)(size_t rows, size_t n, const char *const *row, char *to, size_t block) {
    for (size_t j = 0; j < rows; j += TILE_SIDE) {
        char *line = to + j / ATTN_TILES_COLUMNS * block + j % ATTN_TILES_COLUMNS * sizeof(float);
        for (size_t k = 0; k < n; k += TILE_STEP) {
            vf x[TILE_SIDE];
            _Pragma("GCC unroll 16") for (size_t i = 0; i < TILE_SIDE; i++) x[i] =
                j + i < rows ? (vf)elements(row[j + i] + 2 * k, n - k) : vf_zero();
            vf_transpose(x);
            for (size_t i = 0; i < TILE_SIDE; i++, line += LINES) vf_store((float *)line, x[i]);
        }
    }
}

/* Squares of pairs of rows. */
void HC_FN(attn_tiles_turn)(size_t rows, size_t n, const float *x, size_t ld, char *to, size_t pitch) {
    for (size_t k = 0; k < rows; k += TILE_STEP) {
        for (size_t j = 0; j < n; j += TILE_SIDE) {
            vf pairs[TILE_SIDE];
            _Pragma("GCC unroll 16") for (size_t i = 0; i < TILE_SIDE; i++) {
                const float *from = x + (k + 2 * i) * ld + j;
                const vf even = k + 2 * i < rows ? vf_load(from) : vf_zero();
                pairs[i] = by_turns(even, k + 2 * i + 1 < rows ? vf_load(from + ld) : vf_zero());
            }
            vf_transpose(pairs);
            for (size_t i = 0; i < TILE_SIDE; i++)
                vf_store((float *)(to + (j + i) * pitch + 2 * k), pairs[i]);
        }
    }
}

/* Up to 32 x 32 of C. A's second tile is 16 rows below the first. */
INLINE void multiply(const struct attn_tiles_product *p, const char *a, const char *b, char *c, bool DOWN,
                     bool ACROSS) {
    const size_t pitch = p->pitch, ldc = p->ldc * sizeof(float);
    TILES_START(p->accumulate, c, ldc, DOWN, ACROSS);
    for (size_t k = 0; k < p->k; k += TILE_STEP, a += TILE_LINE, b += TILE_SIDE * LINES) {
        TILES_LOAD_B(b, ACROSS);
        TILES_MULTIPLY_ROWS(a, pitch, DOWN, ACROSS);
    }
    TILES_END(c, ldc, DOWN, ACROSS);
}

/* A block of columns of B stays in the first-level cache while the rows of A pass. */
void HC_FN(attn_tiles_multiply)(const struct attn_tiles_product *p) {
    enum { SIDE = 2 * TILE_SIDE };
    const size_t whole = p->m / SIDE * SIDE, rest = p->m - whole;
    shape_tiles(SIDE, SIDE);
    for (size_t j = 0; j < p->n; j += SIDE) {
        const bool across = p->n - j > TILE_SIDE;
        const char *b = p->b + j / SIDE * p->block;
        for (size_t i = 0; i < whole; i += SIDE) {
            char *c = (char *)(p->c + i * p->ldc + j);
            if (across) multiply(p, p->a + i * p->pitch, b, c, true, true);
            else multiply(p, p->a + i * p->pitch, b, c, true, false);
        }
    }
    if (rest > 0) shape_tiles(rest, SIDE);
    for (size_t j = 0; rest > 0 && j < p->n; j += SIDE) {
        const bool across = p->n - j > TILE_SIDE;
        const char *a = p->a + whole * p->pitch, *b = p->b + j / SIDE * p->block;
        char *c = (char *)(p->c + whole * p->ldc + j);
        if (rest > TILE_SIDE && across) multiply(p, a, b, c, true, true);
        else if (rest > TILE_SIDE) multiply(p, a, b, c, true, false);
        else if (across) multiply(p, a, b, c, false, true);
        else multiply(p, a, b, c, false, false);
    }
    _tile_release();
}
#endif
