// SPDX-License-Identifier: Apache-2.0
/* The two loops of a product: packing panels, and computing tiles of C from them.
 *
 * A tile is computed slab by slab, so that a slab of a panel of B stays in the first-level cache while all
 * the tile's rows pass, and the tile's part of A in the second. Between slabs partial sums wait in out where
 * its memory can hold them, else with the tile, else (where not all of k is packed at a time) in memory of
 * the super block. */
#include <string.h>

#include "gemm_product.h"
#include "long_loop.h"

enum { FEW_STEPS = 64 }; /* of k: then writing C is the cost, and it is written along its rows */

/* ---- packing ---- */

/* `count` panels from `panel` on, steps [k, k + slab) of the chunk, side by side from dst on. */
static void pack(const struct gemm_product *p, bool is_a, size_t panel, size_t count, size_t k, char *dst) {
    const struct hc_gemm_matrix *m = is_a ? &p->g.a : &p->g.b;
    const size_t width = is_a ? p->geo.mr : p->geo.nr, bytes = is_a ? p->panel_a : p->panel_b;
    const size_t origin = (is_a ? p->row0 : p->col0) + panel * width,
                 end = is_a ? p->row0 + p->rows : p->col0 + p->cols;
    const bool complex = p->block == HC_C128;
    const size_t first = complex && is_a ? origin / 2 : origin;
    size_t k0 = p->k0 + k, steps = hc_min_size(p->slab, p->ks - k);
    if (complex) k0 /= 2;
    if (p->pairs) k0 *= 2, steps = hc_min_size(2 * steps, p->g.k - k0);
    struct gemm_pack t = {.dtype = m->dtype,
                          .width = width,
                          .panels = count,
                          .pitch = bytes,
                          .valid = hc_min_size(count * width, end - origin),
                          .k = steps,
                          .dst = dst,
                          .width_stride = is_a ? m->row : m->col,
                          .k_stride = is_a ? m->col : m->row};
    t.src = is_a ? gemm_at(m, first, k0) : gemm_at(m, k0, first);
    if (p->block == HC_F32) (is_a ? p->pack_rows : p->pack_columns)(&t);
    else gemm_pack_block(p, &t, is_a);
}

/* Panels of A, unless tiles pack them, and of B are one list, so that one hand-out packs both. */
void gemm_pack_panels(void *product, size_t begin, size_t end) {
    const struct gemm_product *p = product;
    const size_t all_a = p->own_a ? 0 : p->panels_a, from_b = hc_max_size(begin, all_a);
    char *a = p->pack_a + begin * p->panel_a, *b = p->pack_b + (from_b - all_a) * p->panel_b;
    for (size_t k = 0; k < p->ks && !hc_results_unwanted(); k += p->slab, a += p->slab_a, b += p->slab_b) {
        if (begin < all_a) pack(p, true, begin, hc_min_size(end, all_a) - begin, k, a);
        if (end > all_a) pack(p, false, from_b - all_a, end - from_b, k, b);
    }
}

/* ---- tiles ---- */

/* One slab of a tile: steps [k, k + steps) of the chunk. Panels count from the super block's first. */
struct work {
    size_t i0, j0, i1, j1; /* panels of A and B in the tile */
    size_t k, steps;
    bool first, last; /* slab of the product */
    char *sums;       /* where partial sums wait, at the tile's first element; NULL where that is out */
    size_t ld_sums;
    const char *a, *b; /* the slab's panels of the super block */
    char *own_b;       /* b, where it is packed panel by panel */
};

/* Raw sums of a block that the micro kernel cannot write in place: an edge. */
static void store_raw(const struct gemm_product *p, const struct gemm_store *s, bool add) {
    char *out = s->out;
    for (size_t i = 0; i < s->rows; i++, out += (size_t)p->g.out.row * p->item) {
        const char *tile = (const char *)s->tile + i * s->ld_tile * p->item;
        if (!add) {
            memcpy(out, tile, s->cols * p->item);
        } else if (p->block == HC_F32) {
            for (size_t j = 0; j < s->cols; j++) ((float *)out)[j] += ((const float *)tile)[j];
        } else {
            gemm_add_block(p->block, s->cols, tile, out, out);
        }
    }
}

/* The part of what is packed next, of the panel of B after j, that falls to the block of panel i. */
static void raw_ahead(const struct gemm_product *p, const struct work *w, size_t i, size_t j,
                      struct gemm_ahead *to) {
    const struct hc_gemm_matrix *b = &p->g.b;
    const size_t nr = p->geo.nr, size = hc_dtype_size(b->dtype), each = p->pairs ? 2 : 1;
    const bool along_n = b->col == 1, more = j + 1 < w->j1, same = more || w->k + w->steps < p->ks;
    const size_t panel = more || !same ? j + 1 : w->j0, k = more ? w->k : same ? w->k + w->steps : 0;
    if (panel >= p->panels_b) return;
    size_t run = 1;
    while (run * GEMM_LINE < (along_n ? nr : w->steps * each) * size) run *= 2;
    const size_t lines = run * (along_n ? w->steps * each : nr), blocks = w->i1 - w->i0;
    size_t often = GEMM_SELDOM + 1;
    while (often > 1 && w->steps / often * blocks < lines) often /= 2;
    const size_t part = hc_align_up(hc_max_size(w->steps / often, 1), run), first = (i - w->i0) * part;
    if (first >= lines) return;
    const int64_t pitch = (along_n ? b->row : b->col) * (int64_t)size;
    to->raw = gemm_at(b, (p->k0 + k) * each, p->col0 + panel * nr) + (int64_t)(first / run) * pitch;
    to->often = often - 1;
    to->run = often * run - 1;
    to->jump = pitch - (int64_t)((run - 1) * GEMM_LINE);
}

/* What the blocks after this one read: the next panel of A, and a part of the next panel of B; after the last
 * of a slab the first of the next slab. With few steps, and at the end, just what is at hand. */
static struct gemm_ahead look_ahead(const struct gemm_product *p, const struct work *w, size_t i, size_t j) {
    struct gemm_ahead to = {.a = w->a + i * p->panel_a, .b = w->b + j * p->panel_b, .often = GEMM_SELDOM};
    to.raw = to.a;
    if (p->own_b) raw_ahead(p, w, i, j, &to);
    if (w->steps <= FEW_STEPS) return to;
    const size_t part = (i - w->i0) % 4 * (p->panel_b / 4);
    if (i + 1 < w->i1) to.a += p->panel_a;
    if (j + 1 < w->j1) {
        if (i + 1 == w->i1) to.a = w->a + w->i0 * p->panel_a;
        to.b += p->panel_b + part;
    } else if (w->k + w->steps < p->ks) {
        if (i + 1 == w->i1) to.a = w->a + p->slab_a + w->i0 * p->panel_a;
        to.b = w->b + p->slab_b + w->j0 * p->panel_b + part;
    }
    return to;
}

/* Whether panel j of B is packed by the first block that reads it. */
static bool packs_on_the_way(const struct gemm_product *p, const struct work *w, size_t j) {
    return p->own_b && !p->pairs && p->g.b.col == 1 && (j + 1) * p->geo.nr <= p->cols &&
           (w->i0 + 1) * p->geo.mr <= p->rows;
}

/* Where a block's sums go, and what it reads. */
struct block {
    size_t i, j, rows, cols;
    const char *a, *b;
    struct gemm_ahead ahead;
};

static void multiply(const struct gemm_product *p, const struct work *w, const struct block *x, void *c,
                     size_t ldc, bool add) {
    if (x->i > w->i0 || !packs_on_the_way(p, w, x->j)) {
        p->micro(w->steps, x->rows, x->cols, x->a, x->b, c, ldc, add, x->ahead);
        return;
    }
    const struct hc_gemm_matrix *b = &p->g.b;
    HC_DISPATCH(gemm_first_F32)(
        &(struct gemm_first){.k = w->steps,
                             .a = x->a,
                             .b = gemm_at(b, p->k0 + w->k, p->col0 + x->j * p->geo.nr),
                             .dtype = b->dtype,
                             .pitch = b->row * (int64_t)hc_dtype_size(b->dtype),
                             .panel = w->own_b,
                             .c = c,
                             .ldc = ldc,
                             .add = add,
                             .ahead = x->ahead});
}

/* One register block: panel i of A times panel j of B. */
static void compute_block(const struct gemm_product *p, const struct work *w, size_t i, size_t j) {
    _Alignas(64) char tile[GEMM_MAX_TILE_BYTES];
    const struct gemm_geometry *geo = &p->geo;
    const struct gemm_ahead ahead = look_ahead(p, w, i, j);
    const char *a = w->a + i * p->panel_a, *b = w->b + j * p->panel_b;
    const size_t row = i * geo->mr, col = j * geo->nr;
    const size_t rows = hc_min_size(geo->mr, p->rows - row), cols = hc_min_size(geo->nr, p->cols - col);
    const bool raw = !w->last || p->plain, add = !w->first;
    if (p->round != NULL && w->first && w->last) {
        const struct hc_gemm_matrix *to = &p->g.out;
        const int64_t at = (int64_t)(p->row0 + row) * to->row + (int64_t)(p->col0 + col);
        p->round(&(struct gemm_round){.k = w->steps,
                                      .rows = rows,
                                      .cols = cols,
                                      .a = a,
                                      .b = b,
                                      .ahead = ahead,
                                      .out = (char *)to->data + at * (int64_t)sizeof(hc_bf16),
                                      .pitch = to->row * (int64_t)sizeof(hc_bf16),
                                      .alpha = (float)p->g.alpha.value.f});
        return;
    }
    const struct block x = {i, j, rows, cols, a, b, ahead};
    char *sums = w->sums;
    if (sums != NULL) sums += ((i - w->i0) * geo->mr * w->ld_sums + (j - w->j0) * geo->nr) * p->item;
    if (raw && sums != NULL) {
        multiply(p, w, &x, sums, w->ld_sums, add);
        return;
    }
    const size_t real_row = p->block == HC_C128 ? (p->row0 + row) / 2 : p->row0 + row;
    char *out = gemm_at(&p->g.out, real_row, p->col0 + col);
    if (raw && rows % geo->row_step == 0 && cols % geo->col_step == 0) {
        multiply(p, w, &x, out, (size_t)p->g.out.row, add);
        return;
    }
    multiply(p, w, &x, tile, geo->nr, false);
    struct gemm_store s = {.g = &p->g,
                           .batch = p->batch,
                           .row = real_row,
                           .col = p->col0 + col,
                           .rows = rows,
                           .cols = cols,
                           .tile = tile,
                           .ld_tile = geo->nr,
                           .out = out};
    if (raw) {
        store_raw(p, &s, add);
        return;
    }
    if (add && sums != NULL) s.acc = sums, s.ld_acc = w->ld_sums;
    else if (add) s.acc = out, s.ld_acc = (size_t)p->g.out.row;
    if (p->g.self.data != NULL) s.self = gemm_at(&p->g.self, real_row, p->col0 + col);
    if (p->block == HC_F32) p->store(&s);
    else gemm_store_block(p, &s);
}

/* With few steps along the rows of C, else down its columns: a panel of B stays in the cache. */
static void compute_slab(const struct gemm_product *p, const struct work *w) {
    if (w->steps <= FEW_STEPS && !p->own_b) {
        for (size_t i = w->i0; i < w->i1; i++) {
            for (size_t j = w->j0; j < w->j1; j++) compute_block(p, w, i, j);
        }
        return;
    }
    for (size_t j = w->j0; j < w->j1; j++) {
        if (p->own_b && !packs_on_the_way(p, w, j)) pack(p, false, j, 1, w->k, w->own_b);
        for (size_t i = w->i0; i < w->i1; i++) compute_block(p, w, i, j);
    }
}

/* Each task has its sums on its own stack: a tile's floats, in the second-level cache. Rows of A
 * that it packs for itself are in its thread's scratch. */
void gemm_compute_tiles(void *product, size_t begin, size_t end) {
    struct gemm_product *p = product;
    const size_t mr = p->geo.mr, nr = p->geo.nr;
    /* Rows a line apart from a multiple of the page, as their blocks are in the cache together. */
    enum { LD_MOST = GEMM_TILE_MOST_COLS + GEMM_PANEL_ALIGN / 4 };
    _Alignas(64) char local[GEMM_TILE_MOST_ROWS * LD_MOST * sizeof(float)];
    char *own = p->own_a ? hc_scratch(HC_SCRATCH_GEMM_A, p->tile_a * p->panel_a) : NULL;
    char *own_b = p->own_b ? hc_scratch(HC_SCRATCH_GEMM_B, p->bytes_b) : NULL;
    if ((p->own_a && own == NULL) || (p->own_b && own_b == NULL)) {
        atomic_store(&p->failed, true);
        return;
    }
    if (p->begin != NULL) p->begin();
    for (size_t t = begin; t < end && !hc_results_unwanted(); t++) {
        struct work w = {.i0 = t % p->tiles_down * p->tile_a, .j0 = t / p->tiles_down * p->tile_b};
        w.i1 = hc_min_size(w.i0 + p->tile_a, p->panels_a);
        w.j1 = hc_min_size(w.j0 + p->tile_b, p->panels_b);
        if (p->sums != NULL) {
            w.sums = p->sums + (w.i0 * mr * p->ld_sums + w.j0 * nr) * p->item;
            w.ld_sums = p->ld_sums;
        } else if (p->block == HC_F32 && !p->sums_in_out && p->ks > p->slab) {
            w.sums = local;
            w.ld_sums = p->tile_b * nr + GEMM_PANEL_ALIGN / 4;
        }
        w.a = p->own_a ? own - w.i0 * p->panel_a : p->pack_a;
        w.b = p->own_b ? own_b : p->pack_b, w.own_b = own_b;
        do { /* once even if k is 0: out is then beta * self */
            if (p->own_a) pack(p, true, w.i0, w.i1 - w.i0, w.k, own);
            w.steps = hc_min_size(p->slab, p->ks - w.k);
            w.first = p->first && w.k == 0;
            w.last = p->last && w.k + w.steps == p->ks;
            compute_slab(p, &w);
            w.k += p->slab, w.a += p->slab_a, w.b += p->slab_b;
        } while (w.k < p->ks);
    }
    if (p->end != NULL) p->end();
}
