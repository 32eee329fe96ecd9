// SPDX-License-Identifier: Apache-2.0
/* Blocked product of int8: pack, then multiply tile by tile, as in gemm.c, but all of k is packed at a time
 * (int8 takes a quarter of the memory of float), so that a tile's sums are complete when it ends and need no
 * memory beyond it. Integers add up to the same whatever the order. */
#include "gemm_i8.h"

#include "gemm_i8_kernels.h"
#include "long_loop.h"

#ifndef HC_ISA
#include <string.h>

/* In elements, but for the bytes. */
enum {
    KC = 256, /* words in a slab: a panel of B of them fits the first-level cache */
    SUPER_MOST = 2048,
    SUPER_LEAST = 128,
    PACKED_BYTES = 8 << 20, /* wanted at most of a super block's packed A, and of its B */
    CHUNK = 32,             /* steps of k packed at a time where they are rows: a divisor of a slab's */
    TILE_ROWS = 140,
    SERIAL_WORK = 1 << 17, /* multiply-adds below which waking threads costs more than it saves */
};

struct product {
    const struct hc_gemm_i8 *g;
    struct gemm_i8_geometry geo;
    gemm_i8_micro_fn *micro;
    gemm_i8_pack_fn *pack;
    bool serial;
    size_t words, slabs;           /* of k */
    size_t panel_a, panel_b;       /* words of int32 in a slab of a panel, with room for a vector more */
    size_t row0, col0, rows, cols; /* the super block */
    size_t panels_a, panels_b, tile_a, tile_b, tiles_down;
    int32_t *a, *b, *excess;
};

/* A slab of a panel lies behind the panel's earlier ones. */
static int32_t *panel_at(const struct product *p, int32_t *packed, size_t size, size_t panel, size_t slab) {
    return packed + (panel * p->slabs + slab) * size;
}

/* Panels [begin, end) of A or B. Where their rows are contiguous along k, panel by panel; else some rows of
 * all of them at a time, as a panel takes only half a cache line of each row, and each row is another page.
 */
static void pack_panels(const struct product *p, bool is_a, size_t begin, size_t end) {
    const struct hc_gemm_i8 *g = p->g;
    const size_t width = is_a ? p->geo.mr : p->geo.nr, size = is_a ? p->panel_a : p->panel_b;
    const size_t slab = KC * p->geo.group, have = is_a ? p->rows : p->cols;
    const int64_t width_stride = is_a ? g->a_row : g->b_col, k_stride = is_a ? g->a_col : g->b_row;
    const size_t chunk = k_stride == 1 ? slab : CHUNK;
    const int8_t *src = (is_a ? g->a : g->b) + (int64_t)(is_a ? p->row0 : p->col0) * width_stride;
    if (!is_a) memset(p->excess + begin * width, 0, (end - begin) * width * sizeof *p->excess);
    for (size_t k = 0; k < g->k && !hc_results_unwanted(); k += chunk) {
        for (size_t i = begin; i < end; i++) {
            const struct gemm_i8_pack t = {
                .src = src + (int64_t)(i * width) * width_stride + (int64_t)k * k_stride,
                .width_stride = width_stride,
                .k_stride = k_stride,
                .width = width,
                .valid = hc_min_size(width, have - i * width),
                .k = hc_min_size(chunk, g->k - k),
                .dst = panel_at(p, is_a ? p->a : p->b, size, i, k / slab) + k % slab / p->geo.group * width,
                .excess = is_a ? NULL : p->excess + i * width};
            p->pack(&t);
        }
    }
}

static void pack_a(void *ctx, size_t begin, size_t end) { pack_panels(ctx, true, begin, end); }
static void pack_b(void *ctx, size_t begin, size_t end) { pack_panels(ctx, false, begin, end); }

/* Panels [i0, i1) of A and [j0, j1) of B, and their sums, which begin with what is to be taken off. */
struct tile {
    size_t i0, j0, i1, j1, ld;
    int32_t *sums;
};

static void multiply(const struct product *p, const struct tile *t) {
    const size_t mr = p->geo.mr, nr = p->geo.nr;
    for (size_t i = 0; i < (t->i1 - t->i0) * mr; i++)
        for (size_t j = 0; j < (t->j1 - t->j0) * nr; j++)
            t->sums[i * t->ld + j] = (int32_t)(0u - (uint32_t)p->excess[t->j0 * nr + j]);
    for (size_t slab = 0; slab < p->slabs; slab++) {
        const size_t k = hc_min_size(KC, p->words - slab * KC);
        for (size_t j = t->j0; j < t->j1; j++) {
            const int32_t *b = panel_at(p, p->b, p->panel_b, j, slab);
            const size_t cols = hc_min_size(nr, p->cols - j * nr);
            for (size_t i = t->i0; i < t->i1; i++) {
                const int32_t *a = panel_at(p, p->a, p->panel_a, i, slab);
                p->micro(k, hc_min_size(mr, p->rows - i * mr), cols, a, b,
                         t->sums + (i - t->i0) * mr * t->ld + (j - t->j0) * nr, t->ld, true,
                         (struct gemm_ahead){.a = (const char *)(a + p->slabs * p->panel_a),
                                             .b = (const char *)b,
                                             .raw = (const char *)b,
                                             .often = GEMM_SELDOM});
            }
        }
    }
}

static void hand_over(const struct product *p, const struct tile *t) {
    const struct hc_gemm_i8 *g = p->g;
    const size_t row = t->i0 * p->geo.mr, rows = hc_min_size(t->i1 * p->geo.mr, p->rows) - row;
    const size_t col = t->j0 * p->geo.nr, cols = hc_min_size(t->j1 * p->geo.nr, p->cols) - col;
    for (size_t i = 0; i < rows; i++)
        g->finish(g->ctx, p->row0 + row + i, p->col0 + col, cols, t->sums + i * t->ld);
}

/* Sums on the task's own stack, in the second-level cache; rows a line apart from a multiple of the page. */
static void compute_tiles(void *ctx, size_t begin, size_t end) {
    enum { LD = HC_GEMM_I8_RUN + 16 };
    _Alignas(64) int32_t sums[TILE_ROWS * LD];
    const struct product *p = ctx;
    for (size_t t = begin; t < end && !hc_results_unwanted(); t++) {
        struct tile tile = {
            .i0 = t % p->tiles_down * p->tile_a, .j0 = t / p->tiles_down * p->tile_b, .ld = LD, .sums = sums};
        tile.i1 = hc_min_size(tile.i0 + p->tile_a, p->panels_a);
        tile.j1 = hc_min_size(tile.j0 + p->tile_b, p->panels_b);
        multiply(p, &tile);
        hand_over(p, &tile);
    }
}

/* Tiles small enough to give every thread several. */
static size_t choose_tiles(struct product *p) {
    p->tile_a = TILE_ROWS / p->geo.mr;
    p->tile_b = HC_GEMM_I8_RUN / p->geo.nr;
    for (;;) {
        p->tiles_down = hc_ceil_div(p->panels_a, p->tile_a);
        const size_t tiles = p->tiles_down * hc_ceil_div(p->panels_b, p->tile_b);
        if (p->serial || tiles >= 6 * hc_num_threads() || (p->tile_a == 1 && p->tile_b == 1)) return tiles;
        if (p->tile_b > 1 && (p->tile_b * p->geo.nr >= p->tile_a * p->geo.mr || p->tile_a == 1))
            p->tile_b = (p->tile_b + 1) / 2;
        else p->tile_a = (p->tile_a + 1) / 2;
    }
}

static size_t pack_grain(const struct product *p, size_t panels) {
    return p->serial ? panels : hc_max_size(panels / (8 * hc_num_threads()), 1);
}

/* All super blocks: B is packed once for each of its own, A for each pair. */
static aclnnStatus run_super_blocks(struct product *p, size_t side) {
    const struct hc_gemm_i8 *g = p->g;
    const size_t most_a = hc_ceil_div(hc_min_size(side, g->m), p->geo.mr),
                 most_b = hc_ceil_div(hc_min_size(side, g->n), p->geo.nr);
    p->a = hc_scratch(HC_SCRATCH_GEMM_A, most_a * p->slabs * p->panel_a * sizeof *p->a);
    p->b = hc_scratch(HC_SCRATCH_GEMM_B, most_b * p->slabs * p->panel_b * sizeof *p->b);
    p->excess = hc_scratch(HC_SCRATCH_GEMM_C, most_b * p->geo.nr * sizeof *p->excess);
    HC_CHECK(p->a && p->b && p->excess, ACLNN_ERR_INNER, "gemm: out of host memory for packed operands");
    for (p->col0 = 0; p->col0 < g->n; p->col0 += side) {
        p->cols = hc_min_size(side, g->n - p->col0);
        p->panels_b = hc_ceil_div(p->cols, p->geo.nr);
        hc_parallel_for(p->panels_b, pack_grain(p, p->panels_b), pack_b, p);
        for (p->row0 = 0; p->row0 < g->m && !hc_results_unwanted(); p->row0 += side) {
            p->rows = hc_min_size(side, g->m - p->row0);
            p->panels_a = hc_ceil_div(p->rows, p->geo.mr);
            hc_parallel_for(p->panels_a, pack_grain(p, p->panels_a), pack_a, p);
            const size_t tiles = choose_tiles(p);
            hc_parallel_for(tiles, p->serial ? tiles : 1, compute_tiles, p);
        }
    }
    return 0;
}

aclnnStatus hc_gemm_i8(const struct hc_gemm_i8 *g) {
    struct product p = {.g = g, .micro = HC_DISPATCH(gemm_i8_micro_VNNI)};
    if (g->m == 0 || g->n == 0) return 0;
    if (p.micro != NULL) {
        HC_DISPATCH(gemm_i8_geometry_VNNI)(&p.geo);
        p.pack = HC_DISPATCH(gemm_i8_pack_VNNI);
    } else {
        HC_DISPATCH(gemm_i8_geometry)(&p.geo);
        p.micro = HC_DISPATCH(gemm_i8_micro);
        p.pack = HC_DISPATCH(gemm_i8_pack);
    }
    p.words = hc_ceil_div(g->k, p.geo.group);
    p.slabs = hc_ceil_div(p.words, KC);
    const size_t slab = hc_min_size(p.words, KC), line = GEMM_PANEL_ALIGN / sizeof(int32_t);
    p.panel_a = hc_align_up(slab * p.geo.mr + line, line);
    p.panel_b = hc_align_up(slab * p.geo.nr + line, line);
    p.serial = g->m * g->n * g->k <= SERIAL_WORK;
    const size_t fits = PACKED_BYTES / sizeof(int32_t) / hc_max_size(p.words, 1) / p.geo.nr * p.geo.nr;
    /* Whole panels of both. */
    const size_t unit = p.geo.mr * p.geo.nr;
    const size_t side = hc_min_size(hc_max_size(fits, SUPER_LEAST), SUPER_MOST);
    return run_super_blocks(&p, hc_max_size(side / unit, 1) * unit);
}
#endif
