// SPDX-License-Identifier: Apache-2.0
/* bfloat16 times bfloat16 on CPUs that multiply tiles of them (HC_ISA_amx): 16 rows of 32 elements along k
 * times 32 x 16 are one instruction, eight times the multiply-adds of a dot product's (gemm_pairs.c), whose
 * pairs along k these are too. Tiles of C are finished by the kernels there.
 *
 * A block of C is 2 x 2 tiles: four products for four tiles read, of A from the second-level cache, of B from
 * the first. A panel of B is that of gemm_pairs.c; one of A has, for each STEP pairs of k, its rows side by
 * side in a line each.
 *
 * For each tile the instruction adds up the products of even and those of odd k, then both to the float of C,
 * and rounds each addition to nearest, ties to even; like the dot products it takes subnormal operands for
 * zero. */
#include "gemm_kernels.h"

#if defined(HC_ISA) && defined(HC_ISA_amx)
#include <string.h>

#include "gemm_load.h"
#include "gemm_pairs.h"
#include "simd_tiles.h"
#include "simd_transpose.h"

enum {
    SIDE = TILE_SIDE,
    STEP = SIDE, /* pairs of k in one product */
    MR = 2 * SIDE,
    NR = 2 * SIDE,
    LINE = TILE_LINE,
    KC = 128, /* a panel of A and one of B fit the first-level cache */
};

void HC_FN(gemm_amx_geometry)(struct gemm_geometry *g) {
    *g = (struct gemm_geometry){MR, NR, KC, 128, GEMM_TILE_MOST_COLS, 1, 1};
}

void HC_FN(gemm_amx_begin)(void) { shape_tiles(MR, NR); }
void HC_FN(gemm_amx_end)(void) { _tile_release(); }

/* ---- the micro kernel ---- */

struct block {
    size_t steps;
    const char *a, *b;
    float *c;
    size_t pitch; /* bytes between rows of C */
    bool add;
};

/* DOWN x ACROSS tiles; both are constants of each call. */
ALWAYS_INLINE void multiply(const struct block *x, bool DOWN, bool ACROSS) {
    char *c = (char *)x->c;
    const char *a = x->a, *b = x->b;
    TILES_START(x->add, c, x->pitch, DOWN, ACROSS);
    for (size_t k = 0; k < x->steps; k += STEP, a += MR * LINE, b += STEP * NR * sizeof(uint32_t)) {
        TILES_LOAD_B(b, ACROSS);
        TILES_MULTIPLY(a, DOWN, ACROSS);
    }
    TILES_END(c, x->pitch, DOWN, ACROSS);
}

void HC_FN(gemm_micro_AMX) GEMM_MICRO_PARAMS {
    (void)ahead; /* fetching panels ahead has not made it faster */
    const struct block x = {k, a, b, c, ldc * sizeof(float), add};
    const bool full = rows == MR && cols == NR;
    if (!full) shape_tiles(rows, cols);
    if (rows > SIDE && cols > SIDE) multiply(&x, true, true);
    else if (rows > SIDE) multiply(&x, true, false);
    else if (cols > SIDE) multiply(&x, false, true);
    else multiply(&x, false, false);
    if (!full) shape_tiles(MR, NR);
}

/* ---- packing ---- */

/* Where row `row` has its line of pairs from k on. */
static inline float *line_of(const struct gemm_pack *p, size_t row, size_t k) {
    return (float *)(p->dst + k / 2 * (MR * sizeof(uint32_t)) + row * LINE);
}

static void rows_along_k(const struct gemm_pack *p) {
    for (size_t i = 0; i < p->valid; i++) {
        const uint16_t *src = (const uint16_t *)p->src + (int64_t)i * p->width_stride;
        const uint16_t *next = src + (int64_t)MR * p->width_stride;
        for (size_t k = 0; k < p->k; k += 2 * STEP) {
            __builtin_prefetch(next + k);
            vf_store(line_of(p, i, k), load_pairs(src + k, p->k - k));
        }
    }
}

/* Columns of A are contiguous: a square of pairs is turned into rows. */
static void rows_across(const struct gemm_pack *p) {
    for (size_t k = 0; k < p->k; k += 2 * STEP) {
        const size_t steps = hc_min_size(p->k - k, 2 * STEP);
        for (size_t first = 0; first < p->valid; first += SIDE) {
            const uint16_t *src = (const uint16_t *)p->src + (int64_t)k * p->k_stride + (int64_t)first;
            const size_t n = hc_min_size(p->valid - first, SIDE);
            const __mmask16 columns = (__mmask16)((1u << n) - 1);
            vf x[SIDE];
            _Pragma("GCC unroll 16") for (size_t i = 0; i < SIDE; i++, src += 2 * p->k_stride) {
                __builtin_prefetch(src + 2 * STEP * p->k_stride);
                __builtin_prefetch(src + (2 * STEP + 1) * p->k_stride);
                x[i] = 2 * i < steps ? (vf)two_rows(src, 2 * i + 1 < steps ? p->k_stride : 0, columns)
                                     : vf_zero();
            }
            vf_transpose(x);
            _Pragma("GCC unroll 16") for (size_t i = 0; i < SIDE; i++)
                vf_store(line_of(p, first + i, k), x[i]);
        }
    }
}

static void rows_of_any(const struct gemm_pack *p) {
    for (size_t i = 0; i < p->valid; i++) {
        const uint16_t *src = (const uint16_t *)p->src + (int64_t)i * p->width_stride;
        for (size_t k = 0; k < hc_align_up(p->k, 2 * STEP); k++) {
            uint16_t *to = (uint16_t *)line_of(p, i, k / (2 * STEP) * (2 * STEP)) + k % (2 * STEP);
            *to = k < p->k ? src[(int64_t)k * p->k_stride] : 0;
        }
    }
}

void HC_FN(gemm_pack_rows_AMX)(const struct gemm_pack *p) {
    for (size_t i = 0; i < p->panels; i++) {
        const struct gemm_pack one = one_panel(p, i);
        if (p->k_stride == 1) rows_along_k(&one);
        else if (p->width_stride == 1) rows_across(&one);
        else rows_of_any(&one);
    }
}

/* Up to a whole step there are zeros. */
void HC_FN(gemm_pack_columns_AMX)(const struct gemm_pack *p) {
    HC_DISPATCH(gemm_pack_BF16)(p);
    const size_t have = hc_ceil_div(p->k, 2), missing = hc_align_up(have, STEP) - have;
    for (size_t i = 0; i < p->panels; i++)
        memset(p->dst + i * p->pitch + have * NR * sizeof(uint32_t), 0, missing * NR * sizeof(uint32_t));
}
#endif
