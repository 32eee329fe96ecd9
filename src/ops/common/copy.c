// SPDX-License-Identifier: Apache-2.0
/* hc_copy: elements of one view into another of the same shape, converting.
 *
 * Equal representations are moved as bits: rows by memcpy, other runs by strided loops. Others are
 * converted run by run through a block in the cache, or straight from or into the block type's own
 * layout. Where the source runs along another dimension than the destination, both go through square
 * tiles, so that every cache line is used whole: a strided loop would fetch a line per element. Either
 * way each side is read or written once. */
#include <stdlib.h>
#include <string.h>

#include "elementwise.h"
#include "past_caches.h"
#include "strided.h"

/* A tile of the widest element is 16 KiB: with its transpose it stays in the first-level cache. */
enum { TILE = 64, TILE_BYTES = 16 * 1024, NARROWEST = 4 };
enum { PAGE = 4096, STREAMS = 64 };

/* How one pair of types is copied; the same for every run. */
struct copier {
    size_t dst_size, src_size;
    bool same_bits;
    enum hc_block block;
    size_t block_size;
    bool load_direct, store_direct; /* the memory layout of that side is the block's */
    hc_load_fn *load;
    hc_store_fn *store;
    hc_move_fn *move;
    /* Of results that are one run and leave the caches anyway, else NULL. */
    hc_copy_past_caches_fn *past_caches;
};

/* Integers of one width convert as bits, signed to unsigned included. */
static bool same_bits(aclDataType a, aclDataType b) {
    if (a == b) return true;
    return hc_dtype_class(a) == HC_CLASS_INT && hc_dtype_class(b) == HC_CLASS_INT &&
           hc_dtype_size(a) == hc_dtype_size(b);
}

/* The block that both sides convert to or from with one rounding at most. */
static enum hc_block conversion_block(aclDataType dst, aclDataType src) {
    if (hc_dtype_is_integral(src) && !hc_dtype_is_integral(dst)) return hc_compute_block(dst);
    return hc_compute_block(src);
}

/* All that depends on dtypes alone, looked up once a copy. */
static struct copier make_copier(aclDataType dst, aclDataType src) {
    struct copier c = {
        .dst_size = hc_dtype_size(dst), .src_size = hc_dtype_size(src), .same_bits = same_bits(dst, src)};
    if (c.same_bits) {
        c.block_size = c.dst_size;
        c.move = hc_move_for(c.dst_size);
        return c;
    }
    c.block = conversion_block(dst, src);
    c.block_size = hc_block_size(c.block);
    c.load = hc_load_for(src, c.block);
    c.store = hc_store_for(dst, c.block);
    c.load_direct = hc_block_of(src) == (int)c.block;
    c.store_direct = hc_block_of(dst) == (int)c.block;
    return c;
}

static void move_run(const void *ctx, size_t n, char *const *data, const int64_t *stride) {
    const struct copier *c = ctx;
    if (c->past_caches != NULL) c->past_caches(data[0], data[1], n * c->dst_size, true);
    else c->move(n, data[0], stride[0], data[1], stride[1]);
}

/* By blocks that are in the first-level cache: of the block type, and of the destination's. */
static void convert_past_caches(const struct copier *c, size_t n, char *to, const char *from) {
    _Alignas(HC_CACHE_LINE) char block[HC_PAST_CACHES_BLOCK * sizeof(hc_c128)],
        stored[HC_PAST_CACHES_BLOCK * sizeof(hc_c128)];
    for (size_t at = 0; at < n; at += HC_PAST_CACHES_BLOCK) {
        const size_t count = hc_min_size(HC_PAST_CACHES_BLOCK, n - at);
        const char *loaded = from + at * c->src_size, *result = block;
        if (!c->load_direct) {
            c->load(count, block, loaded, 1);
            loaded = block;
        }
        if (!c->store_direct) {
            c->store(count, stored, 1, loaded);
            result = stored;
        }
        for (size_t ahead = 0; ahead < count * c->src_size; ahead += HC_CACHE_LINE)
            __builtin_prefetch(from + (at + count) * c->src_size + ahead, 0, 2);
        c->past_caches(to + at * c->dst_size, result, count * c->dst_size, at + count == n);
    }
}

/* One pass where the block's layout is one side's own, two in cache otherwise. */
static void convert_run(const void *ctx, size_t n, char *const *data, const int64_t *stride) {
    const struct copier *c = ctx;
    const int64_t to = stride[0] / (int64_t)c->dst_size, from = stride[1] / (int64_t)c->src_size;
    if (c->past_caches != NULL) {
        convert_past_caches(c, n, data[0], data[1]);
        return;
    }
    if (c->load_direct && from == 1) {
        c->store(n, data[0], to, data[1]);
        return;
    }
    if (c->store_direct && to == 1) {
        c->load(n, data[0], data[1], from);
        return;
    }
    _Alignas(64) char block[HC_EW_BLOCK * sizeof(hc_c128)];
    for (size_t at = 0; at < n; at += HC_EW_BLOCK) {
        const size_t count = hc_min_size(HC_EW_BLOCK, n - at);
        c->load(count, block, data[1] + (int64_t)at * stride[1], from);
        c->store(count, data[0] + (int64_t)at * stride[0], to, block);
    }
}

/* Tiles of one plane (dimension 0 by `across`), plane after plane. */
struct tiles {
    struct hc_strided s;
    const struct copier *copier;
    hc_transpose_fn *transpose;
    int across;            /* the dimension along which the source is contiguous; the destination's is 0 */
    size_t side, count[2]; /* tiles along dimension 0 and along `across` */
};

/* One tile: rows of the source, `n0` of them, each `n1` long, become `n1` rows of the destination. */
static void copy_tile(const struct tiles *t, char *dst, const char *src, size_t n0, size_t n1) {
    _Alignas(64) char loaded[TILE_BYTES], turned[TILE_BYTES];
    const struct copier *c = t->copier;
    const int64_t row = (int64_t)(t->side * c->block_size), src_row = t->s.stride[1][0];
    const char *from = src;
    int64_t from_row = src_row;
    if (!c->same_bits && !c->load_direct) {
        for (size_t i = 0; i < n0; i++) c->load(n1, loaded + (int64_t)i * row, src + (int64_t)i * src_row, 1);
        from = loaded;
        from_row = row;
    }
    t->transpose(n0, n1, turned, row, from, from_row);
    for (size_t i = 0; i < n1; i++, dst += t->s.stride[0][t->across]) {
        if (c->same_bits) memcpy(dst, turned + (int64_t)i * row, n0 * c->dst_size);
        else c->store(n0, dst, 1, turned + (int64_t)i * row);
    }
}

/* Tiles [begin, end) of all planes; neighbours share lines of the source. */
static void copy_tiles(void *ctx, size_t begin, size_t end) {
    const struct tiles *t = ctx;
    const struct hc_strided *s = &t->s;
    for (size_t unit = begin; unit < end; unit++) {
        const size_t per_plane = t->count[0] * t->count[1], tile = unit % per_plane;
        const size_t first0 = tile % t->count[0] * t->side, first1 = tile / t->count[0] * t->side;
        size_t plane = unit / per_plane;
        char *data[2] = {s->data[0], s->data[1]};
        int64_t index[HC_MAX_RANK] = {[0] = (int64_t)first0};
        for (int d = 1; d < s->rank; d++) {
            if (d == t->across) continue;
            index[d] = (int64_t)(plane % (size_t)s->shape[d]);
            plane /= (size_t)s->shape[d];
        }
        index[t->across] = (int64_t)first1;
        for (int d = 0; d < s->rank; d++) {
            for (int k = 0; k < 2; k++) data[k] += index[d] * s->stride[k][d];
        }
        copy_tile(t, data[0], data[1], hc_min_size(t->side, (size_t)s->shape[0] - first0),
                  hc_min_size(t->side, (size_t)s->shape[t->across] - first1));
    }
}

/* The dimension of the source's runs where tiles pay, else 0. Below 4 elements a side, a tile wastes more
 * than the lines it saves. */
static int tiled_dimension(const struct hc_strided *s, const struct copier *c) {
    if (s->stride[0][0] != (int64_t)c->dst_size || s->stride[1][0] == 0 || s->shape[0] < NARROWEST) return 0;
    if (s->stride[1][0] == (int64_t)c->src_size) return 0;
    for (int d = 1; d < s->rank; d++) {
        if (s->stride[1][d] == (int64_t)c->src_size && s->shape[d] >= NARROWEST) return d;
    }
    return 0;
}

/* Rows go in the destination's order. Where the source has each in another page, as heads that are brought to
 * the front have, and a few rows of another dimension side by side, those go first: the destination then is a
 * few streams of rows, which takes half the time of a thousand pages read a row each. */
static void order_rows(struct hc_strided *s) {
    if (s->rank < 3 || s->shape[2] > STREAMS || s->shape[1] <= s->shape[2]) return;
    if (llabs(s->stride[1][1]) < PAGE || llabs(s->stride[1][2]) >= llabs(s->stride[1][1])) return;
    const int64_t rows = s->shape[1];
    s->shape[1] = s->shape[2];
    s->shape[2] = rows;
    for (int k = 0; k < s->num; k++) {
        const int64_t step = s->stride[k][1];
        s->stride[k][1] = s->stride[k][2];
        s->stride[k][2] = step;
    }
}

/* One run of both: results that no cache keeps are written past them. */
static hc_copy_past_caches_fn *way_past_caches(const struct hc_strided *s, const struct copier *c) {
    const bool runs =
        s->rank == 1 && s->stride[0][0] == (int64_t)c->dst_size && s->stride[1][0] == (int64_t)c->src_size;
    return runs && hc_goes_past_caches(s->data[0], (size_t)s->shape[0] * c->dst_size)
               ? hc_copy_past_caches_for()
               : NULL;
}

/* Shapes are equal and there is no overlap. Where one side runs along another dimension than the other (a
 * transposition), squares of both go through a buffer, so that each side is read and written in whole
 * lines; else long runs are moved or converted. */
static void run_copy(const aclTensor *dst, const aclTensor *src) {
    struct copier c = make_copier(dst->dtype, src->dtype);
    struct tiles t = {.copier = &c};
    hc_strided_init(&t.s, (const aclTensor *[]){dst, src}, 2);
    t.across = tiled_dimension(&t.s, &c);
    if (t.across == 0) {
        c.past_caches = way_past_caches(&t.s, &c);
        order_rows(&t.s);
        hc_strided_for(&t.s, c.dst_size + c.src_size, c.same_bits ? move_run : convert_run, &c);
        return;
    }
    t.transpose = hc_transpose_for(c.block_size);
    t.side = c.block_size > 4 ? 32 : TILE;
    t.count[0] = hc_ceil_div((size_t)t.s.shape[0], t.side);
    t.count[1] = hc_ceil_div((size_t)t.s.shape[t.across], t.side);
    size_t planes = 1;
    for (int d = 1; d < t.s.rank; d++) planes *= d == t.across ? 1 : (size_t)t.s.shape[d];
    const size_t tile =
        hc_min_size(t.side, (size_t)t.s.shape[0]) * hc_min_size(t.side, (size_t)t.s.shape[t.across]);
    hc_parallel_for(planes * t.count[0] * t.count[1], hc_max_size(1, 16 * 1024 / tile), copy_tiles, &t);
}

/* Then there is nothing to do: in-place operators copy self to out, which are one. */
static bool is_itself(const aclTensor *dst, const aclTensor *src) {
    if (hc_data(dst) != hc_data(src) || dst->dtype != src->dtype || !hc_same_shape(dst, src)) return false;
    return !hc_overlaps_partly(dst, src);
}

/* Partly overlapping: src is copied whole first. Rare (x[1:].copy_(x[:-1])), so the memory is not kept. */
aclnnStatus hc_copy(const aclTensor *dst, const aclTensor *src) {
    if (dst->numel == 0 || is_itself(dst, src)) return 0;
    aclTensor view = *src, whole;
    char *copy = NULL;
    if (hc_overlaps_partly(dst, src)) {
        copy = hc_block_take_array(hc_numel(src), (size_t)src->item_size);
        HC_CHECK(copy != NULL, ACLNN_ERR_INNER, "out of host memory: copy of an overlapping source %s",
                 HC_SHOW(src));
        view = hc_tensor_view(src->dtype, src->shape, src->rank, copy);
        run_copy(&view, src);
    }
    if (!hc_broadcast_to(&view, dst->shape, dst->rank, &whole)) {
        hc_block_give(copy);
        return hc_fail(ACLNN_ERR_PARAM_INVALID, "copy: source %s does not broadcast to %s", HC_SHOW(src),
                       HC_SHOW(dst));
    }
    run_copy(dst, &whole);
    hc_block_give(copy);
    return 0;
}
