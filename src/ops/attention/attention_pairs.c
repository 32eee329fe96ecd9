// SPDX-License-Identifier: Apache-2.0
/* Products of attention's tiles where the tensors are bfloat16 and the CPU has dot products of pairs of them.
 *
 * What was loaded from tensors is bfloat16 in float32 clothes and goes into a product as it is. Weights and
 * their gradients are rounded to bfloat16 first, as NPUs and GPUs do: a relative error of 2^-9 of each, of
 * either sign, where the result is rounded by as much anyway. Sums are float32. Subnormal numbers are taken
 * for zero.
 *
 * Both operands are packed as pairs along k, (x[k], x[k + 1]) in 32 bits, which costs a twentieth of the
 * product of tiles of 128: A keeps its direction, B becomes panels of 4 vectors that stay in the first-level
 * cache while the rows of A pass. */
#include "attention_kernels.h"

#if defined(HC_ISA) && defined(HC_ISA_avx512bf16)
#include "attention_bf16.h"

#define WIDTH 4
static inline vf attn_step(vf a, vf b, vf c) { return _mm512_dpbf16_ps(c, (__m512bh)a, (__m512bh)b); }
#include "attention_block.h"

enum {
    MOST_ROWS = 128, /* of A, and steps of k: packed at a time */
    MOST_STEPS = 128,
    COLUMNS = WIDTH * HC_VL, /* of a panel */
};

struct packed {
    _Alignas(64) float a[MOST_ROWS * MOST_STEPS / 2];
    _Alignas(64) float b[MOST_STEPS / 2 * COLUMNS]; /* a panel */
};

/* Pairs of A: of row i and pair j at a[i * row + j * pair]. */
struct rows_of_pairs {
    const float *a;
    size_t row, pair;
};

/* Rows that are contiguous along k. */
static struct rows_of_pairs pack_rows(const struct attn_product *p, size_t rows, size_t steps, const float *a,
                                      float *to) {
    enum { ROW = MOST_STEPS / 2 };
    for (size_t i = 0; i < rows; i++) row_in_pairs(steps, a + i * p->am, to + i * ROW);
    return (struct rows_of_pairs){to, ROW, 1};
}

/* Columns that are contiguous: rows k and k + 1 become one of pairs. */
static struct rows_of_pairs pack_columns(const struct attn_product *p, size_t rows, size_t steps,
                                         const float *a, float *to) {
    for (size_t k = 0; k < steps; k += 2, a += 2 * p->ak, to += MOST_ROWS) {
        for (size_t i = 0; i < rows; i += HC_VL) {
            const vf x = vf_load(a + i), y = k + 1 < steps ? vf_load(a + p->ak + i) : vf_zero();
            vf_store(to + i, by_turns(x, y));
        }
    }
    return (struct rows_of_pairs){to - (steps + 1) / 2 * MOST_ROWS, 1, MOST_ROWS};
}

/* A panel of B, whole vectors. Its values are bfloat16 already: nothing is rounded. */
static void pack_panel(size_t steps, size_t columns, const float *b, size_t ldb, float *to) {
    for (size_t k = 0; k < steps; k += 2, b += 2 * ldb, to += COLUMNS) {
        for (size_t j = 0; j < columns; j += HC_VL) {
            const vf x = vf_load(b + j), y = k + 1 < steps ? vf_load(b + ldb + j) : vf_zero();
            vf_store(to + j, in_pairs(x, y));
        }
    }
}

PANEL(panel_of_4, 4)
PANEL(panel_of_2, 2)
PANEL(panel_of_1, 1)

/* Some rows and columns of C, whole vectors, from some steps of k. */
static void part(const struct attn_product *p, size_t rows, size_t columns, size_t steps, const float *a,
                 const float *b, float *c, bool add, struct packed *x) {
    const size_t pairs = (steps + 1) / 2;
    const struct rows_of_pairs packed =
        p->ak == 1 ? pack_rows(p, rows, steps, a, x->a) : pack_columns(p, rows, steps, a, x->a);
    for (size_t j = 0; j < columns; j += COLUMNS) {
        float *panel = x->b, *to = c + j;
        size_t left = hc_min_size(columns - j, COLUMNS);
        pack_panel(steps, left, b + j, p->ldb, panel);
        if (left == COLUMNS)
            panel_of_4(rows, pairs, packed.a, packed.row, packed.pair, panel, COLUMNS, to, p->ldc, add),
                left = 0;
        if (left >= 2 * HC_VL) {
            panel_of_2(rows, pairs, packed.a, packed.row, packed.pair, panel, COLUMNS, to, p->ldc, add);
            panel += 2 * HC_VL, to += 2 * HC_VL, left -= 2 * HC_VL;
        }
        if (left > 0)
            panel_of_1(rows, pairs, packed.a, packed.row, packed.pair, panel, COLUMNS, to, p->ldc, add);
    }
}

void HC_FN(attn_gemm_BF16)(const struct attn_product *p) {
    struct packed x;
    const size_t n = hc_align_up(p->n, HC_VL);
    for (size_t i = 0; i < p->m; i += MOST_ROWS) {
        for (size_t k = 0; k < p->k; k += MOST_STEPS) {
            const size_t rows = hc_min_size(p->m - i, MOST_ROWS), steps = hc_min_size(p->k - k, MOST_STEPS);
            part(p, rows, n, steps, p->a + i * p->am + k * p->ak, p->b + k * p->ldb, p->c + i * p->ldc,
                 p->accumulate || k > 0, &x);
        }
    }
}
#endif
