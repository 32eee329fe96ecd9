// SPDX-License-Identifier: Apache-2.0
/* Blocked matrix product: pack a slab of k, multiply it tile by tile, next slab.
 *
 * C is cut into super blocks (so that packed slabs stay in the last-level cache), k into slabs of equal
 * length. Per slab all threads pack panels of A and B into shared memory, then take tiles of C. Partial sums
 * wait in C itself where its memory can hold them, else in scratch. Each element of C is one chain of
 * multiply-adds per slab, slabs added in order, whatever the tiles are: the grid may follow the thread count
 * without changing a bit.
 *
 * Complex products are real ones: with rows [re,-im] and [im,re] of A over rows [re;im] of B, a product of 2m
 * x n x 2k gives the real and imaginary parts in alternate rows, with no arithmetic wasted. */
#include <stdatomic.h>
#include <string.h>

#include "gemm_kernels.h"
#include "gemm_skinny.h"

/* Sizes in elements. Packed slabs of a super block take 2048 * 256 floats = 2 MiB each. */
enum {
    SUPER_ROWS = 2048,
    SUPER_COLS = 2048, /* 2 MiB each of packed float slabs */
    TILE_ROWS = 70,
    TILE_COLS = 256,       /* what one task computes: its operands fit the second-level cache */
    FEW_STEPS = 64,        /* of k: then writing C is the cost, and it is written along its rows */
    SERIAL_WORK = 1 << 16, /* multiply-adds below which waking threads costs more than it saves */
};

/* One product (one batch index) and its blocking. Written between the parallel loops only. */
struct product {
    struct hc_gemm g;
    enum hc_block block;
    struct gemm_geometry geo;
    gemm_micro_F32_fn *micro;
    size_t batch, item; /* item: bytes of a packed element */
    size_t m, n, k;     /* of the real product that the kernels see */
    size_t slab;        /* steps of k per slab */
    bool serial;
    bool plain;       /* out is exactly the sum (or self + the sum, self being out) */
    bool sums_in_out; /* partial sums can wait in out */
    /* The super block and slab at work: */
    size_t row0, col0, rows, cols, k0, ks;
    bool first, last;
    char *pack_a, *pack_b, *sums;
    size_t panel_a, panel_b, ld_sums; /* bytes of a panel; elements of a row */
    size_t tile_rows, tile_cols, tiles_down;
};

/* All three compute as one type, or the product is refused: nothing is promoted silently. bool has no
 * arithmetic here. */
int hc_gemm_compute(aclDataType a, aclDataType b, aclDataType out) {
    const enum hc_block block = hc_compute_block(a);
    if (a == ACL_BOOL || b == ACL_BOOL || out == ACL_BOOL) return -1;
    if (hc_compute_block(b) != block || hc_compute_block(out) != block) return -1;
    return block;
}

/* Address of element (i, j). */
static char *at(const struct hc_gemm_matrix *m, size_t i, size_t j) {
    return (char *)m->data + ((int64_t)i * m->row + (int64_t)j * m->col) * (int64_t)hc_dtype_size(m->dtype);
}

/* ---- packing ---- */

/* Panels of other types than the float family: step by step through the conversions of convert.h. */
static void pack_blocks(const struct product *p, const struct gemm_pack *t) {
    hc_load_fn *load = hc_load_for(t->dtype, p->block);
    const int64_t size = (int64_t)hc_dtype_size(t->dtype);
    char *dst = (char *)t->dst;
    for (size_t k = 0; k < t->k; k++, dst += t->width * p->item) {
        load(t->valid, dst, (const char *)t->src + (int64_t)k * t->k_stride * size, t->width_stride);
        memset(dst + t->valid * p->item, 0, (t->width - t->valid) * p->item);
    }
}

/* One complex step is two real ones; see the head of this file. */
static void pack_complex(const struct gemm_pack *t, bool is_a) {
    hc_load_fn *load = hc_load_for(t->dtype, HC_C128);
    const int64_t size = (int64_t)hc_dtype_size(t->dtype);
    const size_t pair = is_a ? 2 : 1;
    double *dst = (double *)t->dst;
    for (size_t k = 0; k < t->k; k += 2, dst += 2 * t->width) {
        hc_c128 x[GEMM_MAX_TILE_BYTES / sizeof(hc_c128)];
        load(t->valid / pair, x, (const char *)t->src + (int64_t)(k / 2) * t->k_stride * size,
             t->width_stride);
        memset(dst, 0, 2 * t->width * sizeof(double));
        for (size_t i = 0; i < t->valid / pair; i++) {
            if (is_a) {
                dst[2 * i] = x[i].re, dst[t->width + 2 * i] = -x[i].im;
                dst[2 * i + 1] = x[i].im, dst[t->width + 2 * i + 1] = x[i].re;
            } else {
                dst[i] = x[i].re, dst[t->width + i] = x[i].im;
            }
        }
    }
}

/* Panel number `panel` of A or B for the slab at work. */
static void pack_panel(const struct product *p, bool is_a, size_t panel) {
    const bool complex = p->block == HC_C128;
    const struct hc_gemm_matrix *m = is_a ? &p->g.a : &p->g.b;
    const size_t width = is_a ? p->geo.mr : p->geo.nr;
    const size_t origin = (is_a ? p->row0 : p->col0) + panel * width,
                 end = is_a ? p->row0 + p->rows : p->col0 + p->cols;
    const size_t k0 = complex ? p->k0 / 2 : p->k0, first = complex && is_a ? origin / 2 : origin;
    struct gemm_pack t = {.dtype = m->dtype,
                          .width = width,
                          .valid = hc_min_size(width, end - origin),
                          .k = p->ks,
                          .width_stride = is_a ? m->row : m->col,
                          .k_stride = is_a ? m->col : m->row};
    t.src = is_a ? at(m, first, k0) : at(m, k0, first);
    t.dst = (float *)(is_a ? p->pack_a + panel * p->panel_a : p->pack_b + panel * p->panel_b);
    if (p->block == HC_F32) HC_DISPATCH(gemm_pack_F32)(&t);
    else if (complex) pack_complex(&t, is_a);
    else pack_blocks(p, &t);
}

/* Panels of A and B are one list, so that one hand-out packs both. */
static void pack_panels(void *ctx, size_t begin, size_t end) {
    const struct product *p = ctx;
    const size_t panels_a = hc_ceil_div(p->rows, p->geo.mr);
    for (size_t i = begin; i < end; i++) pack_panel(p, i < panels_a, i < panels_a ? i : i - panels_a);
}

/* ---- tiles ---- */

/* x = alpha * x + beta * self over a row, in the block type. */
static void scale_row(const struct product *p, size_t n, void *x, const void *self) {
    const union hc_scalar_value a = p->g.alpha.value, b = p->g.beta.value;
    for (size_t j = 0; j < n; j++) {
        if (p->block == HC_F64) {
            double *y = (double *)x + j;
            *y = a.f * *y + (self ? b.f * ((const double *)self)[j] : 0);
        } else if (p->block == HC_I64) {
            uint64_t *y = (uint64_t *)x + j;
            *y = (uint64_t)a.i * *y + (self ? (uint64_t)b.i * ((const uint64_t *)self)[j] : 0);
        } else {
            hc_c128 *y = (hc_c128 *)x + j;
            const hc_c128 v = *y, s = self ? ((const hc_c128 *)self)[j] : (hc_c128){0, 0};
            *y = (hc_c128){a.c.re * v.re - a.c.im * v.im, a.c.re * v.im + a.c.im * v.re};
            if (self)
                *y = (hc_c128){y->re + b.c.re * s.re - b.c.im * s.im, y->im + b.c.re * s.im + b.c.im * s.re};
        }
    }
}

/* out = x + acc, modulo 2^64 for integers; acc NULL is zero. */
static void add_block(enum hc_block block, size_t n, const void *x, const void *acc, void *out) {
    for (size_t j = 0; j < n; j++) {
        if (block == HC_I64)
            ((uint64_t *)out)[j] = ((const uint64_t *)x)[j] + (acc ? ((const uint64_t *)acc)[j] : 0);
        else ((double *)out)[j] = ((const double *)x)[j] + (acc ? ((const double *)acc)[j] : 0);
    }
}

/* What gemm_store_F32 does, for the other types. */
static void store_blocks(const struct product *p, const struct gemm_store *s) {
    enum { MAX_COLS = 16 };
    const struct hc_gemm *g = s->g;
    const bool complex = p->block == HC_C128;
    const size_t step = complex ? 2 : 1;
    for (size_t i = 0; i < s->rows; i += step) {
        hc_c128 x[MAX_COLS], self[MAX_COLS];
        double part[2][MAX_COLS];
        for (size_t r = 0; r < step; r++) {
            const char *acc = s->acc ? (const char *)s->acc + (i + r) * s->ld_acc * p->item : NULL;
            add_block(p->block, s->cols, (const char *)s->tile + (i + r) * s->ld_tile * p->item, acc,
                      complex ? (void *)part[r] : x);
        }
        if (complex) {
            for (size_t j = 0; j < s->cols; j++) x[j] = (hc_c128){part[0][j], part[1][j]};
        }
        const int64_t row = (int64_t)(i / step);
        if (s->self != NULL) {
            hc_load_for(g->self.dtype, p->block)(
                s->cols, self, s->self + row * g->self.row * (int64_t)hc_dtype_size(g->self.dtype),
                g->self.col);
        }
        scale_row(p, s->cols, x, s->self != NULL ? self : NULL);
        hc_store_for(g->out.dtype, p->block)(
            s->cols, s->out + row * g->out.row * (int64_t)hc_dtype_size(g->out.dtype), g->out.col, x);
    }
}

/* Out of a tile's sums the values of out. */
static void store_tile(const struct product *p, const struct gemm_store *s) {
    if (p->block == HC_F32) HC_DISPATCH(gemm_store_F32)(s);
    else store_blocks(p, s);
}

/* Raw sums of a tile that the micro kernel cannot write in place: an edge. */
static void store_raw(const struct product *p, const struct gemm_store *s, bool add) {
    char *out = s->out;
    for (size_t i = 0; i < s->rows; i++, out += (size_t)p->g.out.row * p->item) {
        const char *tile = (const char *)s->tile + i * s->ld_tile * p->item;
        if (!add) {
            memcpy(out, tile, s->cols * p->item);
        } else if (p->block == HC_F32) {
            for (size_t j = 0; j < s->cols; j++) ((float *)out)[j] += ((const float *)tile)[j];
        } else {
            add_block(p->block, s->cols, tile, out, out);
        }
    }
}

/* One register block: rows i.. and columns j.. of the super block. */
static void compute_block(const struct product *p, size_t i, size_t j) {
    _Alignas(64) char tile[GEMM_MAX_TILE_BYTES];
    const struct gemm_geometry *geo = &p->geo;
    const void *a = p->pack_a + i / geo->mr * p->panel_a, *b = p->pack_b + j / geo->nr * p->panel_b;
    const size_t rows = hc_min_size(geo->mr, p->rows - i), cols = hc_min_size(geo->nr, p->cols - j);
    const size_t real_row = p->block == HC_C128 ? (p->row0 + i) / 2 : p->row0 + i;
    const bool raw = !p->last || p->plain, add = !p->first;
    if (raw && p->sums != NULL) {
        p->micro(p->ks, rows, cols, a, b, p->sums + (i * p->ld_sums + j) * p->item, p->ld_sums, add);
        return;
    }
    char *out = at(&p->g.out, real_row, p->col0 + j);
    if (raw && rows % geo->row_step == 0 && cols % geo->col_step == 0) {
        p->micro(p->ks, rows, cols, a, b, out, (size_t)p->g.out.row, add);
        return;
    }
    p->micro(p->ks, rows, cols, a, b, tile, geo->nr, false);
    struct gemm_store s = {.g = &p->g,
                           .batch = p->batch,
                           .row = real_row,
                           .col = p->col0 + j,
                           .rows = rows,
                           .cols = cols,
                           .tile = tile,
                           .ld_tile = geo->nr,
                           .out = out};
    if (raw) {
        store_raw(p, &s, add);
        return;
    }
    if (add && p->sums != NULL) s.acc = p->sums + (i * p->ld_sums + j) * p->item, s.ld_acc = p->ld_sums;
    else if (add) s.acc = out, s.ld_acc = (size_t)p->g.out.row;
    if (p->g.self.data != NULL) s.self = at(&p->g.self, real_row, p->col0 + j);
    store_tile(p, &s);
}

/* Tiles are numbered down the columns, so that neighbours share their part of B. */
static void compute_tiles(void *ctx, size_t begin, size_t end) {
    const struct product *p = ctx;
    for (size_t t = begin; t < end; t++) {
        const size_t i0 = t % p->tiles_down * p->tile_rows, j0 = t / p->tiles_down * p->tile_cols;
        const size_t i1 = hc_min_size(i0 + p->tile_rows, p->rows),
                     j1 = hc_min_size(j0 + p->tile_cols, p->cols);
        if (p->ks <= FEW_STEPS) {
            for (size_t i = i0; i < i1; i += p->geo.mr) {
                for (size_t j = j0; j < j1; j += p->geo.nr) compute_block(p, i, j);
            }
            continue;
        }
        for (size_t j = j0; j < j1; j += p->geo.nr) {
            for (size_t i = i0; i < i1; i += p->geo.mr) compute_block(p, i, j);
        }
    }
}

/* ---- driver ---- */

/* Tiles small enough to give every thread several. */
static size_t choose_tiles(struct product *p) {
    const struct gemm_geometry *geo = &p->geo;
    size_t down = hc_max_size(TILE_ROWS / geo->mr, 1), across = hc_max_size(TILE_COLS / geo->nr, 1), tiles;
    for (;;) {
        p->tile_rows = down * geo->mr;
        p->tile_cols = across * geo->nr;
        p->tiles_down = hc_ceil_div(p->rows, p->tile_rows);
        tiles = p->tiles_down * hc_ceil_div(p->cols, p->tile_cols);
        if (p->serial || tiles >= 6 * hc_num_threads() || (down == 1 && across == 1)) return tiles;
        if (across > 1 && (across * geo->nr >= down * geo->mr || down == 1)) across = (across + 1) / 2;
        else down = (down + 1) / 2;
    }
}

/* All slabs of a super block. The two loops of each are separated by the pool's barrier: a tile needs
 * panels that other threads have packed. */
static aclnnStatus run_super_block(struct product *p) {
    const struct gemm_geometry *geo = &p->geo;
    const size_t panels_a = hc_ceil_div(p->rows, geo->mr), panels_b = hc_ceil_div(p->cols, geo->nr);
    const size_t slack = GEMM_PANEL_SLACK + GEMM_PANEL_ALIGN - 1;
    p->panel_a = (p->slab * geo->mr * p->item + slack) & ~(size_t)(GEMM_PANEL_ALIGN - 1);
    p->panel_b = (p->slab * geo->nr * p->item + slack) & ~(size_t)(GEMM_PANEL_ALIGN - 1);
    p->pack_a = hc_scratch(HC_SCRATCH_GEMM_A, panels_a * p->panel_a);
    p->pack_b = hc_scratch(HC_SCRATCH_GEMM_B, panels_b * p->panel_b);
    HC_CHECK(p->pack_a && p->pack_b, ACLNN_ERR_INNER, "gemm: out of host memory for packed operands");
    p->sums = NULL;
    if (p->slab < p->k && !p->sums_in_out) {
        p->ld_sums = panels_b * geo->nr;
        p->sums = hc_scratch(HC_SCRATCH_GEMM_C, panels_a * geo->mr * p->ld_sums * p->item);
        HC_CHECK(p->sums, ACLNN_ERR_INNER, "gemm: out of host memory for partial sums");
    }
    const size_t tiles = choose_tiles(p), panels = panels_a + panels_b;
    const bool accumulate = p->plain && p->g.self.data != NULL;
    p->k0 = 0;
    do { /* once even if k is 0: out is then beta * self */
        p->ks = hc_min_size(p->slab, p->k - p->k0);
        p->first = p->k0 == 0 && !accumulate;
        p->last = p->k0 + p->ks == p->k;
        hc_parallel_for(panels, p->serial ? panels : hc_max_size(panels / (8 * hc_num_threads()), 1),
                        pack_panels, p);
        hc_parallel_for(tiles, p->serial ? tiles : 1, compute_tiles, p);
        p->k0 += p->slab;
    } while (p->k0 < p->k);
    return 0;
}

/* Super blocks of equal size, whole panels each. */
static size_t super_size(size_t n, size_t most, size_t panel) {
    const size_t size = hc_ceil_div(n, hc_ceil_div(n, most));
    return hc_ceil_div(size, panel) * panel;
}

/* Super blocks one after the other, down the columns: both operands are packed again for each, about a
 * thousandth of the arithmetic. */
static aclnnStatus run_product(struct product *p) {
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

/* Batch indices whose matrices lie below each other, with one B for all, are more rows of one product. */
static void fold_batches(struct hc_gemm *g) {
    while (g->batch_rank > 0 && g->epilogue == NULL) {
        const int d = g->batch_rank - 1;
        const int64_t m = (int64_t)g->m;
        const bool one = g->batch_shape[d] == 1;
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

/* Everything that is alike for all batches: geometry, slabs of equal length, and whether sums can wait in
 * out. */
static void prepare(struct product *p, const struct hc_gemm *g, enum hc_block block) {
    const bool complex = block == HC_C128;
    *p = (struct product){.g = *g, .block = block, .item = block == HC_F32 ? 4 : 8};
    HC_DISPATCH(gemm_geometry)(block, &p->geo);
    p->micro = block == HC_F32   ? HC_DISPATCH(gemm_micro_F32)
               : block == HC_I64 ? HC_DISPATCH(gemm_micro_I64)
                                 : HC_DISPATCH(gemm_micro_F64);
    p->m = complex ? 2 * g->m : g->m;
    p->n = g->n;
    p->k = complex ? 2 * g->k : g->k;
    const size_t slabs = hc_max_size(hc_ceil_div(p->k, p->geo.kc), 1);
    p->slab = hc_align_up(hc_ceil_div(p->k, slabs), 16);
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
    struct product p;
    prepare(&p, b->g, b->block);
    for (size_t i = begin; i < end; i++) {
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
