// SPDX-License-Identifier: Apache-2.0
/* Blocked matrix product: pack, then multiply tile by tile (gemm_tiles.c).
 *
 * C is cut into super blocks and k into chunks, so that what is packed at a time stays in the last-level
 * cache, and chunks into slabs of equal length. Per chunk all threads pack panels of A and B into shared
 * memory, then take tiles of C. Each element of C is one chain of multiply-adds per slab, slabs added in
 * order, whatever the tiles are: the grid may follow the thread count without changing a bit.
 *
 * Where the CPU multiplies bfloat16 itself, products of two such matrices run on pairs of k: gemm_pairs.c,
 * and gemm_amx.c where it multiplies tiles of them. */
#include <stdatomic.h>

#include "gemm_product.h"
#include "gemm_skinny.h"
#include "long_loop.h"

/* In elements, but for the bytes. */
enum {
    SUPER_ROWS = 2048,
    SUPER_COLS = 2048,
    PACKED_BYTES = 16 << 20, /* wanted at most of a super block's chunk */
    SERIAL_WORK = 1 << 16,   /* multiply-adds below which waking threads costs more than it saves */
};

/* All three compute as one type, or the product is refused: nothing is promoted silently. bool has no
 * arithmetic here. */
int hc_gemm_compute(aclDataType a, aclDataType b, aclDataType out) {
    const enum hc_block block = hc_compute_block(a);
    if (a == ACL_BOOL || b == ACL_BOOL || out == ACL_BOOL) return -1;
    if (hc_dtype_is_narrow(a) || hc_dtype_is_narrow(b) || hc_dtype_is_narrow(out)) return -1;
    if (hc_compute_block(b) != block || hc_compute_block(out) != block) return -1;
    return block;
}

/* Whether tiles pack their columns of B, a panel at a time, right before the blocks that read it, the first
 * of which does it on its way where B lies along n. With rows in one tile no other tile has these columns,
 * and all of B packed beforehand would go through the last-level cache and back for few multiply-adds: per
 * vector of B 3 ns (AVX2, weights in memory) where 32 rows multiply for 6; a panel at a time takes 0 to 2.
 * Not for tiles of registers, whose kernel asks for nothing ahead. */
static bool packs_own_columns(const struct gemm_product *p) {
    return p->block == HC_F32 && p->begin == NULL && p->k > 0 && p->panels_a <= p->tile_a;
}

/* Tiles small enough to give every thread several; all rows stay in one as long as columns give it two. */
static size_t choose_tiles(struct gemm_product *p) {
    const struct gemm_geometry *geo = &p->geo;
    p->tile_a = hc_max_size(geo->tile_rows / geo->mr, 1);
    p->tile_b = hc_max_size(geo->tile_cols / geo->nr, 1);
    for (;;) {
        p->tiles_down = hc_ceil_div(p->panels_a, p->tile_a);
        const size_t tiles = p->tiles_down * hc_ceil_div(p->panels_b, p->tile_b);
        if (p->serial || tiles >= 6 * hc_num_threads() || (p->tile_a == 1 && p->tile_b == 1)) return tiles;
        const bool low = packs_own_columns(p);
        if (low && p->tile_b == 1 && tiles >= 2 * hc_num_threads()) return tiles;
        if (p->tile_b > 1 && (low || p->tile_b * geo->nr >= p->tile_a * geo->mr || p->tile_a == 1))
            p->tile_b = (p->tile_b + 1) / 2;
        else p->tile_a = (p->tile_a + 1) / 2;
    }
}

/* Whether tiles pack their rows of A. All of A packed beforehand goes through the last-level cache and back,
 * and its memory was last read by another thread, which costs four times as much as packing it at hand; so it
 * is worth packing it again for each of a few tiles in a row. Products of tiles of registers pack once. */
static bool packs_own_rows(const struct gemm_product *p) {
    enum { FEW_TILES = 4 };
    return p->block == HC_F32 && p->begin == NULL && !p->serial &&
           hc_ceil_div(p->panels_b, p->tile_b) <= FEW_TILES;
}

/* All chunks of a super block. The two loops of each are separated by the pool's barrier: a tile needs
 * panels that other threads have packed. */
static aclnnStatus run_super_block(struct gemm_product *p) {
    const struct gemm_geometry *geo = &p->geo;
    const size_t slack = GEMM_PANEL_SLACK + GEMM_PANEL_ALIGN - 1;
    p->panels_a = hc_ceil_div(p->rows, geo->mr);
    p->panels_b = hc_ceil_div(p->cols, geo->nr);
    const size_t step = (p->panels_a * geo->mr + p->panels_b * geo->nr) * p->item;
    p->chunk = hc_min_size(hc_max_size(PACKED_BYTES / step / p->slab, 1) * p->slab, p->k);
    p->panel_a = (p->slab * geo->mr * p->item + slack) & ~(size_t)(GEMM_PANEL_ALIGN - 1);
    p->panel_b = (p->slab * geo->nr * p->item + slack) & ~(size_t)(GEMM_PANEL_ALIGN - 1);
    const size_t slabs = hc_ceil_div(p->chunk, p->slab), tiles = choose_tiles(p);
    p->own_b = packs_own_columns(p);
    p->own_a = packs_own_rows(p);
    p->slab_a = p->own_a ? 0 : p->panels_a * p->panel_a;
    p->slab_b = p->own_b ? 0 : p->panels_b * p->panel_b;
    p->bytes_b = p->own_b ? p->panel_b : slabs * p->slab_b;
    if (p->own_b) p->panel_b = 0;
    p->pack_a = hc_scratch(HC_SCRATCH_GEMM_A, p->own_a ? p->tile_a * p->panel_a : slabs * p->slab_a);
    p->pack_b = hc_scratch(HC_SCRATCH_GEMM_B, p->bytes_b);
    HC_CHECK(p->pack_a && p->pack_b, ACLNN_ERR_INNER, "gemm: out of host memory for packed operands");
    p->sums = NULL;
    const size_t kept = p->block == HC_F32 ? p->chunk : p->slab; /* steps without sums of the super block */
    if (kept < p->k && !p->sums_in_out) {
        p->ld_sums = p->panels_b * geo->nr;
        p->sums = hc_scratch(HC_SCRATCH_GEMM_C, p->panels_a * geo->mr * p->ld_sums * p->item);
        HC_CHECK(p->sums, ACLNN_ERR_INNER, "gemm: out of host memory for partial sums");
    }
    const size_t panels = (p->own_a ? 0 : p->panels_a) + (p->own_b ? 0 : p->panels_b);
    const bool accumulate = p->plain && p->g.self.data != NULL;
    p->k0 = 0;
    do { /* once even if k is 0 */
        p->ks = hc_min_size(p->chunk, p->k - p->k0);
        p->first = p->k0 == 0 && !accumulate;
        p->last = p->k0 + p->ks == p->k;
        hc_parallel_for(panels, p->serial ? panels : hc_max_size(panels / (8 * hc_num_threads()), 1),
                        gemm_pack_panels, p);
        hc_parallel_for(tiles, p->serial ? tiles : 1, gemm_compute_tiles, p);
        p->k0 += p->chunk;
    } while (p->k0 < p->k && !hc_results_unwanted());
    HC_CHECK(!atomic_load(&p->failed), ACLNN_ERR_INNER, "gemm: out of host memory for packed rows");
    return 0;
}

/* Super blocks of equal size, whole panels each. */
static size_t super_size(size_t n, size_t most, size_t panel) {
    const size_t size = hc_ceil_div(n, hc_ceil_div(n, most));
    return hc_ceil_div(size, panel) * panel;
}

/* Super blocks one after the other, down the columns: both operands are packed again for each, about a
 * thousandth of the arithmetic. */
static aclnnStatus run_product(struct gemm_product *p) {
    const size_t rows = super_size(p->m, SUPER_ROWS, p->geo.mr),
                 cols = super_size(p->n, SUPER_COLS, p->geo.nr);
    for (p->col0 = 0; p->col0 < p->n; p->col0 += cols) {
        p->cols = hc_min_size(cols, p->n - p->col0);
        for (p->row0 = 0; p->row0 < p->m; p->row0 += rows) {
            p->rows = hc_min_size(rows, p->m - p->row0);
            HC_TRY(run_super_block(p));
        }
    }
    return 0;
}

/* Types whose memory can hold raw sums. */
static bool is_native(enum hc_block block, aclDataType dtype) {
    return (block == HC_F32 && dtype == ACL_FLOAT) || (block == HC_F64 && dtype == ACL_DOUBLE) ||
           (block == HC_I64 && (dtype == ACL_INT64 || dtype == ACL_UINT64));
}

static bool is_one(enum hc_block block, const aclScalar *s) {
    if (block == HC_C128) return s->value.c.re == 1 && s->value.c.im == 0;
    return block == HC_I64 ? s->value.i == 1 : s->value.f == 1;
}

/* out^T = b^T a^T: strides change places, nothing moves. */
static void swap_operands(struct hc_gemm *g) {
    const struct hc_gemm_matrix a = g->a;
    const size_t m = g->m;
    g->a = g->b, g->b = a;
    g->m = g->n, g->n = m;
    struct hc_gemm_matrix *all[] = {&g->a, &g->b, &g->out, &g->self};
    for (size_t i = 0; i < HC_ARRAY_SIZE(all); i++) {
        const int64_t row = all[i]->row;
        all[i]->row = all[i]->col, all[i]->col = row;
    }
}

/* Batch indices whose matrices lie below each other, with one B for all, are more rows of one product.
 * Matrices of one row lie below each other however far apart they are: a sequence of micro-batches of one. */
static void fold_batches(struct hc_gemm *g) {
    while (g->batch_rank > 0 && g->epilogue == NULL) {
        const int d = g->batch_rank - 1;
        const int64_t m = (int64_t)g->m;
        const bool one = g->batch_shape[d] == 1;
        if (m == 1 && !one && g->b.batch[d] == 0) {
            g->a.row = g->a.batch[d];
            g->out.row = g->out.batch[d];
            g->self.row = g->self.batch[d];
        }
        if (!one &&
            (g->b.batch[d] != 0 || g->a.batch[d] != m * g->a.row || g->out.batch[d] != m * g->out.row))
            return;
        if (!one && g->self.data != NULL && g->self.batch[d] != m * g->self.row) return;
        g->m *= (size_t)g->batch_shape[d];
        g->batch_rank--;
    }
}

/* A factor as the block type has it, so that kernels do not convert. */
static void set_factor(aclScalar *s, enum hc_block block) {
    const aclScalar from = *s;
    if (block == HC_C128) s->value.c = hc_scalar_c128(&from);
    else if (block == HC_I64) s->value.i = hc_scalar_i64(&from);
    else s->value.f = hc_scalar_f64(&from);
}

/* The same product in the form that the rest expects: factors in the block's type, no self that does not
 * count, out contiguous along its rows where it is along anything. */
static void normalise(struct hc_gemm *g, enum hc_block block) {
    set_factor(&g->alpha, block);
    set_factor(&g->beta, block);
    const hc_c128 beta = block == HC_C128  ? g->beta.value.c
                         : block == HC_I64 ? (hc_c128){g->beta.value.i != 0, 0}
                                           : (hc_c128){g->beta.value.f, 0};
    if (beta.re == 0 && beta.im == 0) g->self.data = NULL;
    fold_batches(g);
    if (g->epilogue != NULL) return;
    const bool by_columns = g->out.col != 1 && g->out.row == 1 && g->m > 1 && g->n > 1;
    if (by_columns || (g->n < g->m && g->n <= GEMM_SKINNY_ALWAYS)) swap_operands(g);
}

/* Whether gemm_store_BF16 can end the tiles. */
static bool stores_bf16_rows(const struct hc_gemm *g) {
    if (g->out.dtype != ACL_BF16 || g->out.col != 1 || g->epilogue != NULL) return false;
    return g->self.data == NULL || (g->self.col == 1 && g->self.dtype != ACL_FLOAT16);
}

/* Products of pairs: by tiles where the CPU has them. */
static void choose_pairs(struct gemm_product *p) {
    const bool rows = stores_bf16_rows(&p->g);
    if (rows) p->store = HC_DISPATCH(gemm_store_BF16);
    if (HC_DISPATCH(gemm_micro_AMX) != NULL) {
        HC_DISPATCH(gemm_amx_geometry)(&p->geo);
        p->micro = HC_DISPATCH(gemm_micro_AMX);
        p->pack_rows = HC_DISPATCH(gemm_pack_rows_AMX);
        p->pack_columns = HC_DISPATCH(gemm_pack_columns_AMX);
        p->begin = HC_DISPATCH(gemm_amx_begin);
        p->end = HC_DISPATCH(gemm_amx_end);
        return;
    }
    p->micro = HC_DISPATCH(gemm_micro_BF16);
    p->pack_rows = p->pack_columns = HC_DISPATCH(gemm_pack_BF16);
    if (rows && p->g.self.data == NULL) p->round = HC_DISPATCH(gemm_round_BF16);
}

/* Everything that is alike for all batches: geometry, slabs of equal length, and whether sums can wait in
 * out. */
static void prepare(struct gemm_product *p, const struct hc_gemm *g, enum hc_block block) {
    const bool complex = block == HC_C128;
    *p = (struct gemm_product){.g = *g, .block = block, .item = block == HC_F32 ? 4 : 8};
    HC_DISPATCH(gemm_geometry)(block, &p->geo);
    p->micro = block == HC_F32   ? HC_DISPATCH(gemm_micro_F32)
               : block == HC_I64 ? HC_DISPATCH(gemm_micro_I64)
                                 : HC_DISPATCH(gemm_micro_F64);
    p->pack_rows = p->pack_columns = HC_DISPATCH(gemm_pack_F32);
    p->store = HC_DISPATCH(gemm_store_F32);
    p->pairs = HC_DISPATCH(gemm_micro_BF16) != NULL && g->a.dtype == ACL_BF16 && g->b.dtype == ACL_BF16;
    if (p->pairs) choose_pairs(p);
    p->m = complex ? 2 * g->m : g->m;
    p->n = g->n;
    p->k = complex ? 2 * g->k : p->pairs ? hc_ceil_div(g->k, 2) : g->k;
    const size_t slabs = hc_max_size(hc_ceil_div(p->k, p->geo.kc), 1);
    p->slab = hc_align_up(hc_max_size(hc_ceil_div(p->k, slabs), 1), 16);
    p->serial = p->m * p->n * p->k <= SERIAL_WORK;
    const struct hc_gemm_matrix *self = &g->self, *out = &g->out;
    const bool same = self->data == out->data && self->dtype == out->dtype &&
                      (g->m == 1 || self->row == out->row) && (g->n == 1 || self->col == out->col);
    const bool native = is_native(block, out->dtype) && out->col == 1;
    const bool scaled = !is_one(block, &g->alpha) || (self->data != NULL && !is_one(block, &g->beta));
    p->plain = native && !scaled && g->epilogue == NULL && (self->data == NULL || same);
    p->sums_in_out = native && (p->plain || !same);
}

/* In bytes, of a batch given by its row-major number. */
static int64_t batch_offset(const struct hc_gemm *g, const struct hc_gemm_matrix *m, size_t batch) {
    int64_t offset = 0;
    for (int d = g->batch_rank - 1; d >= 0; d--) {
        offset += (int64_t)(batch % (size_t)g->batch_shape[d]) * m->batch[d];
        batch /= (size_t)g->batch_shape[d];
    }
    return offset * (int64_t)hc_dtype_size(m->dtype);
}

/* `code`: the last failure, as a loop cannot return one. */
struct batches {
    const struct hc_gemm *g;
    enum hc_block block;
    atomic_int code;
};

/* Products [begin, end) of the batch, each with its addresses. */
static void run_batches(void *ctx, size_t begin, size_t end) {
    struct batches *b = ctx;
    struct gemm_product p;
    prepare(&p, b->g, b->block);
    for (size_t i = begin; i < end && !hc_results_unwanted(); i++) {
        struct hc_gemm_matrix *to[] = {&p.g.a, &p.g.b, &p.g.out, &p.g.self};
        const struct hc_gemm_matrix *from[] = {&b->g->a, &b->g->b, &b->g->out, &b->g->self};
        for (size_t j = 0; j < HC_ARRAY_SIZE(to); j++) {
            if (from[j]->data != NULL) to[j]->data = (char *)from[j]->data + batch_offset(b->g, from[j], i);
        }
        p.batch = i;
        const int code = gemm_is_skinny(&p.g, b->block) ? gemm_skinny(&p.g, i) : run_product(&p);
        if (code != 0) atomic_store(&b->code, code);
    }
}

/* Products side by side need no barriers; few large ones share the threads instead. */
static size_t batch_grain(const struct hc_gemm *g, size_t batches) {
    enum { SMALL_PRODUCT = 1 << 20 };
    const size_t work = hc_max_size(g->m * g->n * g->k, 1);
    if (work > SMALL_PRODUCT && batches < 4 * hc_num_threads() && batches % hc_num_threads() != 0)
        return batches;
    return work < SERIAL_WORK ? hc_ceil_div(SERIAL_WORK, work) : 1;
}

aclnnStatus hc_gemm(const struct hc_gemm *gemm) {
    const int block = hc_gemm_compute(gemm->a.dtype, gemm->b.dtype, gemm->out.dtype);
    HC_CHECK(block >= 0, ACLNN_ERR_PARAM_INVALID, "gemm: a is %s, b %s, out %s: they do not go together",
             hc_dtype_name(gemm->a.dtype), hc_dtype_name(gemm->b.dtype), hc_dtype_name(gemm->out.dtype));
    struct hc_gemm g = *gemm;
    normalise(&g, (enum hc_block)block);
    size_t batches = g.m > 0 && g.n > 0;
    for (int d = 0; d < g.batch_rank; d++) batches *= (size_t)g.batch_shape[d];
    struct batches b = {&g, (enum hc_block)block, 0};
    /* One product, or a few large: not within a loop, so that the product's own loops are parallel. */
    const size_t grain = batches == 1 ? 1 : batch_grain(&g, batches);
    if (grain >= batches) run_batches(&b, 0, batches);
    else hc_parallel_for(batches, grain, run_batches, &b);
    const int code = atomic_load(&b.code);
    HC_CHECK(code == 0, code, "gemm: out of host memory for a product of %zu x %zu x %zu", g.m, g.n, g.k);
    return 0;
}
