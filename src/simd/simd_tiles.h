// SPDX-License-Identifier: Apache-2.0
/* The tile registers of AMX as 2 x 2 tiles of floats and what they are sums of (kernel passes with HC_ISA_amx
 * only): C 00 01 10 11 += A 0 1 times B 0 1, a row of A being 32 bfloat16, one of B 16 pairs of them. */
#pragma once
#include "simd.h"

enum {
    TILE_SIDE = 16,                           /* rows of a tile, and floats in one of its rows */
    TILE_STEP = 2 * TILE_SIDE,                /* bfloat16 along k in one product */
    TILE_LINE = TILE_SIDE * sizeof(uint32_t), /* bytes of a tile's row */
};

/* Macros, as the compiler puts their text into instructions. */
#define TILE_C00 0
#define TILE_C01 1
#define TILE_C10 2
#define TILE_C11 3
#define TILE_A0 4
#define TILE_A1 5
#define TILE_B0 6
#define TILE_B1 7

/* What the CPU loads: rows and bytes of a row for each tile. */
struct tile_shapes {
    uint8_t palette, start_row, reserved[14];
    uint16_t row_bytes[16];
    uint8_t rows[16];
};
_Static_assert(sizeof(struct tile_shapes) == 64, "as the CPU reads it");

static inline void set_tile(struct tile_shapes *s, int tile, size_t rows, size_t columns) {
    s->rows[tile] = (uint8_t)rows;
    s->row_bytes[tile] = (uint16_t)(columns * sizeof(uint32_t));
}

/* For a C of rows x cols, at most 32 x 32. What would be empty keeps a row, as no tile may be without. */
static inline void shape_tiles(size_t rows, size_t cols) {
    const size_t rows0 = rows < TILE_SIDE ? rows : TILE_SIDE, cols0 = cols < TILE_SIDE ? cols : TILE_SIDE;
    const size_t rows1 = rows > TILE_SIDE ? rows - TILE_SIDE : 1,
                 cols1 = cols > TILE_SIDE ? cols - TILE_SIDE : 1;
    struct tile_shapes s = {.palette = 1};
    set_tile(&s, TILE_C00, rows0, cols0);
    set_tile(&s, TILE_C01, rows0, cols1);
    set_tile(&s, TILE_C10, rows1, cols0);
    set_tile(&s, TILE_C11, rows1, cols1);
    set_tile(&s, TILE_A0, rows0, TILE_SIDE);
    set_tile(&s, TILE_A1, rows1, TILE_SIDE);
    set_tile(&s, TILE_B0, TILE_SIDE, cols0);
    set_tile(&s, TILE_B1, TILE_SIDE, cols1);
    __asm__ volatile("ldtilecfg\t%0" ::"m"(s)); /* the compiler's own function reads 8 bytes of it, it says */
}

/* C becomes what lies at c, rows `pitch` bytes apart, or zero. DOWN, ACROSS: constants, whether there is a
 * second tile. */
#define TILES_START(add, c, pitch, DOWN, ACROSS)                                                             \
    do {                                                                                                     \
        if (add) {                                                                                           \
            _tile_loadd(TILE_C00, c, pitch);                                                                 \
            if (ACROSS) _tile_loadd(TILE_C01, (c) + TILE_LINE, pitch);                                       \
            if (DOWN) _tile_loadd(TILE_C10, (c) + TILE_SIDE * (pitch), pitch);                               \
            if (DOWN && ACROSS) _tile_loadd(TILE_C11, (c) + TILE_SIDE * (pitch) + TILE_LINE, pitch);         \
        } else {                                                                                             \
            _tile_zero(TILE_C00);                                                                            \
            if (ACROSS) _tile_zero(TILE_C01);                                                                \
            if (DOWN) _tile_zero(TILE_C10);                                                                  \
            if (DOWN && ACROSS) _tile_zero(TILE_C11);                                                        \
        }                                                                                                    \
    } while (0)

/* C back to c. */
#define TILES_END(c, pitch, DOWN, ACROSS)                                                                    \
    do {                                                                                                     \
        _tile_stored(TILE_C00, c, pitch);                                                                    \
        if (ACROSS) _tile_stored(TILE_C01, (c) + TILE_LINE, pitch);                                          \
        if (DOWN) _tile_stored(TILE_C10, (c) + TILE_SIDE * (pitch), pitch);                                  \
        if (DOWN && ACROSS) _tile_stored(TILE_C11, (c) + TILE_SIDE * (pitch) + TILE_LINE, pitch);            \
    } while (0)

/* B's tiles, 32 columns side by side in memory, and C += A B for a block of A's lines. */
#define TILES_LOAD_B(b, ACROSS)                                                                              \
    do {                                                                                                     \
        _tile_loadd(TILE_B0, b, 2 * TILE_LINE);                                                              \
        if (ACROSS) _tile_loadd(TILE_B1, (b) + TILE_LINE, 2 * TILE_LINE);                                    \
    } while (0)
/* The same with the rows of A `pitch` bytes apart. */
#define TILES_MULTIPLY(a, DOWN, ACROSS) TILES_MULTIPLY_ROWS(a, TILE_LINE, DOWN, ACROSS)
#define TILES_MULTIPLY_ROWS(a, pitch, DOWN, ACROSS)                                                          \
    do {                                                                                                     \
        _tile_loadd(TILE_A0, a, pitch);                                                                      \
        _tile_dpbf16ps(TILE_C00, TILE_A0, TILE_B0);                                                          \
        if (ACROSS) _tile_dpbf16ps(TILE_C01, TILE_A0, TILE_B1);                                              \
        if (DOWN) {                                                                                          \
            _tile_loadd(TILE_A1, (a) + TILE_SIDE * (pitch), pitch);                                          \
            _tile_dpbf16ps(TILE_C10, TILE_A1, TILE_B0);                                                      \
            if (ACROSS) _tile_dpbf16ps(TILE_C11, TILE_A1, TILE_B1);                                          \
        }                                                                                                    \
    } while (0)
