// SPDX-License-Identifier: Apache-2.0
/* The loop of scatter.h.
 *
 * Dimensions where the destination moves ("free") never meet: threads share them. The indexed dimensions
 * ("ordered") are walked in order by each. Where too few free elements are left for the threads, each
 * thread also owns a range of index values and skips the rest: every owner then reads all indices, which
 * is cheap next to the writes, and no atomic is needed. Who writes an element changes, the order of its
 * writes does not, so sums are the same bits for any number of threads. */
#include "scatter.h"

#include <stdlib.h>

#include "strided.h"

/* Index values this call may write: all, or one owner's. Others are skipped, and noted where they are none
 * that the destination has. */
struct range {
    int64_t step, low;
    uint64_t span; /* low <= x < low + span */
    struct hc_ew_scalar alpha;
    bool whole;
    const struct hc_index_range *legal; /* NULL: all */
    struct hc_index_bad *bad;
};
#define PARAMS                                                                                               \
    (size_t n, char *dst, int64_t d0, const char *index, int64_t i0, const char *src, int64_t s0,            \
     const struct range *r)

#define FOR_SIZES(X) X(1, uint8_t) X(2, uint16_t) X(4, uint32_t) X(8, uint64_t) X(16, struct wide)
#define FOR_OPS(X, block) X(add, block) X(mul, block) X(max, block) X(min, block)
#define DECLARE_SET(size, type) HC_KERNEL(scatter_set_##size, PARAMS)
#define DECLARE_OP(op, block) HC_KERNEL(scatter_##op##_##block, PARAMS)
FOR_SIZES(DECLARE_SET)
FOR_OPS(DECLARE_OP, F32)
FOR_OPS(DECLARE_OP, F64)
FOR_OPS(DECLARE_OP, I64)
DECLARE_OP(add, C128)
DECLARE_OP(mul, C128)

#ifdef HC_ISA
#include "convert.h"
struct wide {
    uint64_t low, high;
};

/* Whether the value at `index`, read once, is mine to write. One comparison: below `low` wraps to beyond
 * `span`. */
static inline bool take(const char *index, const struct range *r, int64_t *at) {
    *at = hc_index_once(index);
    if (HC_LIKELY((uint64_t)*at - (uint64_t)r->low < r->span)) return true;
    if ((uint64_t)*at >= hc_index_bound(r->legal)) hc_index_settle(index, r->legal, at, r->bad);
    return false;
}

/* combine(old, new, alpha) for one element; a run with one index is a plain vector loop. */
#define DEFINE(name, type, combine, factor)                                                                  \
    void HC_FN(scatter_##name) PARAMS {                                                                      \
        if (i0 == 0) {                                                                                       \
            int64_t at;                                                                                      \
            if (!take(index, r, &at)) return;                                                                \
            dst += at * r->step;                                                                             \
            if (d0 == sizeof(type) && s0 == sizeof(type)) {                                                  \
                type *y = (type *)dst;                                                                       \
                const type *x = (const type *)src;                                                           \
                _Pragma("GCC ivdep") for (size_t i = 0; i < n; i++) y[i] = combine(y[i], x[i], r->factor);   \
                return;                                                                                      \
            }                                                                                                \
            if (d0 == sizeof(type) && s0 == 0) {                                                             \
                type *y = (type *)dst;                                                                       \
                const type value = *(const type *)src;                                                       \
                for (size_t i = 0; i < n; i++) y[i] = combine(y[i], value, r->factor);                       \
                return;                                                                                      \
            }                                                                                                \
            for (size_t i = 0; i < n; i++, dst += d0, src += s0)                                             \
                *(type *)dst = combine(*(type *)dst, *(const type *)src, r->factor);                         \
            return;                                                                                          \
        }                                                                                                    \
        if (r->whole && i0 == 8 && s0 == sizeof(type) && d0 == 0 && r->step == sizeof(type)) {               \
            type *y = (type *)dst; /* along the last dimension, all indices mine */                          \
            const type *x = (const type *)src;                                                               \
            const uint64_t bound = hc_index_bound(r->legal);                                                 \
            for (size_t i = 0; i < n; i++) {                                                                 \
                int64_t to;                                                                                  \
                if (hc_index_take(index + i * 8, bound, r->legal, &to, r->bad))                              \
                    y[to] = combine(y[to], x[i], r->factor);                                                 \
            }                                                                                                \
            return;                                                                                          \
        }                                                                                                    \
        for (size_t i = 0; i < n; i++, dst += d0, src += s0, index += i0) {                                  \
            int64_t at;                                                                                      \
            if (!take(index, r, &at)) continue;                                                              \
            type *y = (type *)(dst + at * r->step);                                                          \
            *y = combine(*y, *(const type *)src, r->factor);                                                 \
        }                                                                                                    \
    }
#define SET(old, new, factor) (new)
#define DEFINE_SET(size, type) DEFINE(set_##size, type, SET, alpha.F32)
FOR_SIZES(DEFINE_SET)

#define ADD(old, new, factor) ((old) + (factor) * (new))
#define MUL(old, new, factor) ((old) * (new))
/* NaN wins, as in PyTorch. */
#define MAX(old, new, factor) ((new) > (old) || (new) != (new) ? (new) : (old))
#define MIN(old, new, factor) ((new) < (old) || (new) != (new) ? (new) : (old))
DEFINE(add_F32, float, ADD, alpha.F32)
DEFINE(mul_F32, float, MUL, alpha.F32)
DEFINE(max_F32, float, MAX, alpha.F32)
DEFINE(min_F32, float, MIN, alpha.F32)
DEFINE(add_F64, double, ADD, alpha.F64)
DEFINE(mul_F64, double, MUL, alpha.F64)
DEFINE(max_F64, double, MAX, alpha.F64)
DEFINE(min_F64, double, MIN, alpha.F64)
/* Integers wrap around: computed unsigned. */
static inline int64_t add_i64(int64_t a, int64_t b, int64_t f) {
    return (int64_t)((uint64_t)a + (uint64_t)f * (uint64_t)b);
}
static inline int64_t mul_i64(int64_t a, int64_t b) { return (int64_t)((uint64_t)a * (uint64_t)b); }
#define MUL_I64(old, new, factor) mul_i64(old, new)
#define MAX_I64(old, new, factor) ((new) > (old) ? (new) : (old))
#define MIN_I64(old, new, factor) ((new) < (old) ? (new) : (old))
DEFINE(add_I64, int64_t, add_i64, alpha.I64)
DEFINE(mul_I64, int64_t, MUL_I64, alpha.I64)
DEFINE(max_I64, int64_t, MAX_I64, alpha.I64)
DEFINE(min_I64, int64_t, MIN_I64, alpha.I64)
static inline hc_c128 product(hc_c128 a, hc_c128 b) {
    return (hc_c128){a.re * b.re - a.im * b.im, a.re * b.im + a.im * b.re};
}
static inline hc_c128 add_c128(hc_c128 a, hc_c128 b, hc_c128 f) {
    const hc_c128 term = product(b, f);
    return (hc_c128){a.re + term.re, a.im + term.im};
}
#define MUL_C128(old, new, factor) product(old, new)
DEFINE(add_C128, hc_c128, add_c128, alpha.C128)
DEFINE(mul_C128, hc_c128, MUL_C128, alpha.C128)
#else
enum {
    MIN_CHUNK = 64,
    OWNED_RUN = 32 * 1024, /* runs of indices from which owners pay, and most of those */
    MAX_OWNERS = 16,
    OWNED_BYTES = 4 << 20, /* destinations in a cache are written as fast by one thread alone */
    PART = 256 * 1024,     /* elements of a 16-bit destination that are widened at a time */
}; /* MIN_CHUNK and all others: elements */
typedef void scatter_fn PARAMS;

/* Moving needs the size only; arithmetic the block type. */
static scatter_fn *kernel_for(enum hc_scatter_op op, aclDataType dtype) {
    static scatter_fn *const *const SETS[] = {scatter_set_1_table, scatter_set_2_table, scatter_set_4_table,
                                              scatter_set_8_table, scatter_set_16_table};
    static scatter_fn *const *const TABLES[HC_SCATTER_OP_COUNT][HC_BLOCK_COUNT] = {
        [HC_SCATTER_ADD] = {scatter_add_F32_table, scatter_add_F64_table, scatter_add_I64_table,
                            scatter_add_C128_table},
        [HC_SCATTER_MUL] = {scatter_mul_F32_table, scatter_mul_F64_table, scatter_mul_I64_table,
                            scatter_mul_C128_table},
        [HC_SCATTER_MAX] = {scatter_max_F32_table, scatter_max_F64_table, scatter_max_I64_table},
        [HC_SCATTER_MIN] = {scatter_min_F32_table, scatter_min_F64_table, scatter_min_I64_table},
    };
    if (op == HC_SCATTER_SET) return SETS[hc_size_index(hc_dtype_size(dtype))][hc_isa()];
    return TABLES[op][hc_compute_block(dtype)][hc_isa()];
}

aclDataType hc_scatter_dtype(enum hc_scatter_op op, aclDataType dtype) {
    static const aclDataType DTYPES[HC_BLOCK_COUNT] = {ACL_FLOAT, ACL_DOUBLE, ACL_INT64, ACL_COMPLEX128,
                                                       ACL_BOOL};
    return op == HC_SCATTER_SET ? dtype : DTYPES[hc_compute_block(dtype)];
}

/* Free dimensions as a loop over (dst, index, src); ordered ones likewise, without reordering. */
struct job {
    struct hc_strided free, ordered;
    scatter_fn *kernel;
    struct range range;
    bool inner_free; /* a kernel run goes along free dimension 0, else along ordered dimension 0 */
    size_t chunk, chunks, owners;
    int64_t owned; /* index values of one owner */
    struct hc_index *checked;
};

enum { DST, INDEX, SRC };

/* Outwards, merged with the last where all three operands allow. No reordering: the order of writes is
 * the contract. */
static void add_dimension(struct hc_strided *s, int64_t size, const int64_t *strides) {
    bool merges = s->rank > 0;
    for (int k = 0; k < s->num && merges; k++)
        merges = strides[k] == s->stride[k][s->rank - 1] * s->shape[s->rank - 1];
    if (merges) {
        s->shape[s->rank - 1] *= size;
        return;
    }
    for (int k = 0; k < s->num; k++) s->stride[k][s->rank] = strides[k];
    s->shape[s->rank++] = size;
}

/* Free are those along which the destination moves; the index replaces the others, there its stride is 0.
 */
static void split_dimensions(struct job *j, const struct hc_scatter *s) {
    const aclTensor *views[] = {&s->dst, &s->index, &s->src};
    aclTensor still[3] = {s->dst, s->index, s->src}; /* the free dimensions only */
    j->ordered = (struct hc_strided){.num = 3};
    int32_t rank = 0;
    for (int32_t d = s->dst.rank - 1; d >= 0; d--) {
        if (s->dst.shape[d] == 1 || s->dst.stride[d] != 0) continue;
        const int64_t strides[] = {0, views[INDEX]->stride[d] * 8, views[SRC]->stride[d] * s->src.item_size};
        add_dimension(&j->ordered, s->dst.shape[d], strides);
    }
    for (int32_t d = 0; d < s->dst.rank; d++) {
        if (s->dst.stride[d] == 0 || s->dst.shape[d] == 1) continue;
        for (int k = 0; k < 3; k++) {
            still[k].shape[rank] = views[k]->shape[d];
            still[k].stride[rank] = views[k]->stride[d];
        }
        rank++;
    }
    for (int k = 0; k < 3; k++) still[k].rank = rank;
    hc_strided_init(&j->free, (const aclTensor *[]){&still[0], &still[1], &still[2]}, 3);
    if (j->ordered.rank == 0) add_dimension(&j->ordered, 1, (const int64_t[]){0, 0, 0});
}

/* The largest step of a run along the innermost dimension: the smaller it is, the fewer cache lines a run
 * touches. */
static int64_t widest(const struct hc_strided *s) {
    return hc_max_i64(llabs(s->stride[DST][0]),
                      hc_max_i64(llabs(s->stride[INDEX][0]), llabs(s->stride[SRC][0])));
}

/* A chunk of one row of free elements (or one free element), through all ordered positions in order. */
static void scatter_unit(const struct job *j, size_t row, size_t first, size_t owner) {
    const struct hc_strided *f = &j->free, *o = &j->ordered;
    struct range range = j->range;
    struct hc_index_bad bad = {0};
    range.bad = &bad;
    if (j->owners > 1) {
        range.low = (int64_t)owner * j->owned;
        range.span = (uint64_t)j->owned;
    }
    char *data[3];
    for (int k = 0; k < 3; k++) {
        data[k] = f->data[k] + hc_strided_offset(f, k, j->inner_free, row) + (int64_t)first * f->stride[k][0];
    }
    const struct hc_strided *inner = j->inner_free ? f : o;
    const size_t n = j->inner_free ? hc_min_size(j->chunk, (size_t)f->shape[0] - first) : (size_t)o->shape[0];
    const int begin = j->inner_free ? 0 : 1;
    int64_t at[HC_MAX_RANK] = {0};
    for (;;) {
        j->kernel(n, data[DST], inner->stride[DST][0], data[INDEX], inner->stride[INDEX][0], data[SRC],
                  inner->stride[SRC][0], &range);
        int d = begin;
        for (; d < o->rank; d++) {
            for (int k = 0; k < 3; k++) data[k] += o->stride[k][d];
            if (++at[d] < o->shape[d]) break;
            for (int k = 0; k < 3; k++) data[k] -= o->stride[k][d] * o->shape[d];
            at[d] = 0;
        }
        if (d >= o->rank) break;
    }
    if (HC_UNLIKELY(bad.at != NULL)) hc_index_report(j->checked, &bad);
}

/* A unit is a piece of the free dimensions and an owner: the destinations that one thread writes. */
static void scatter_units(void *ctx, size_t begin, size_t end) {
    const struct job *j = ctx;
    for (size_t unit = begin; unit < end; unit++) {
        const size_t piece = unit / j->owners;
        scatter_unit(j, piece / j->chunks, piece % j->chunks * j->chunk, unit % j->owners);
    }
}

/* Sizes of chunks follow the thread count, which decides who writes and not in which order. */
aclnnStatus hc_scatter(const struct hc_scatter *s) {
    if (s->dst.numel == 0) return 0;
    struct job j = {.kernel = kernel_for(s->op, s->dst.dtype), .owners = 1, .checked = s->checked};
    j.range = (struct range){.step = s->step, .low = INT64_MIN, .span = UINT64_MAX, .alpha = s->alpha};
    if (s->checked != NULL) {
        j.range.legal = &s->checked->range;
        j.range.low = 0;
        j.range.span = (uint64_t)s->range;
    }
    split_dimensions(&j, s);
    size_t rows = 1, ordered = 1;
    for (int d = 1; d < j.free.rank; d++) rows *= (size_t)j.free.shape[d];
    for (int d = 0; d < j.ordered.rank; d++) ordered *= (size_t)j.ordered.shape[d];
    const size_t length = (size_t)j.free.shape[0], threads = hc_num_threads();
    j.inner_free = ordered == 1 || (length > 1 && widest(&j.free) <= widest(&j.ordered));
    j.chunk = length;
    j.chunks = 1;
    if (!j.inner_free) {
        rows *= length;
    } else if (rows < 2 * threads) {
        j.chunk = hc_max_size(MIN_CHUNK, hc_align_up(hc_ceil_div(length, 2 * threads), 16));
        j.chunks = hc_ceil_div(length, j.chunk);
    }
    if (rows * j.chunks < threads && (uint64_t)s->range * (uint64_t)llabs(s->step) > OWNED_BYTES &&
        ordered * hc_min_size(length, j.chunk) >= OWNED_RUN) {
        j.owners = hc_min_size(threads, MAX_OWNERS);
        j.owned = (int64_t)hc_ceil_div((size_t)s->range, j.owners);
    }
    j.range.whole = j.owners == 1;
    const size_t unit = ordered * (j.inner_free ? j.chunk : 1);
    hc_parallel_for(rows * j.chunks * j.owners, hc_max_size(1, 16 * 1024 / unit), scatter_units, &j);
    return s->checked != NULL ? hc_index_status(s->checked) : 0;
}

/* Positions [begin, begin + size) of a dimension. */
static aclTensor part_of(const aclTensor *t, int32_t dim, int64_t begin, int64_t size) {
    aclTensor part = *t;
    part.offset += begin * t->stride[dim];
    part.numel = t->shape[dim] > 0 ? t->numel / t->shape[dim] * size : 0;
    part.shape[dim] = size;
    return part;
}

/* One part of hc_scatter_wide; the index may end before it, or in it. */
static aclnnStatus scatter_part(const struct hc_scatter *s, const aclTensor *out, const aclTensor *self,
                                int64_t dim) {
    const aclDataType dtype = hc_scatter_dtype(s->op, out->dtype);
    struct hc_scatter wide = *s;
    aclTensor target;
    void *sums, *copy = NULL;
    HC_TRY(hc_contiguous(self, dtype, &target, &sums));
    aclnnStatus status = 0;
    if (s->index.numel > 0) {
        status = hc_apart(&s->src, dtype, out, &wide.src, &copy);
        wide.dst = target;
        for (int32_t d = 0; d < target.rank; d++) wide.dst.shape[d] = s->index.shape[d];
        wide.dst.numel = s->index.numel;
        wide.dst.stride[dim] = 0;
        wide.step = target.stride[dim] * target.item_size;
        if (status == 0) status = hc_scatter(&wide);
    }
    if (status == 0) status = hc_copy(out, &target);
    hc_block_give(copy);
    hc_block_give(sums);
    return status;
}

/* Cut along the first dimension, if that is not the indexed one: strips of rows would cost more than they
 * save. What one part writes must not be what a later one reads. */
aclnnStatus hc_scatter_wide(const struct hc_scatter *s, const aclTensor *out, const aclTensor *self,
                            int64_t dim) {
    if (dim == 0 || hc_overlaps(out, &s->src) || hc_overlaps(out, &s->index) || hc_overlaps_partly(out, self))
        return scatter_part(s, out, self, dim);
    const int64_t length = out->shape[0], share = length > 0 ? out->numel / length : 0;
    const int64_t size = share > 0 ? hc_max_i64(PART / share, 1) : length;
    for (int64_t begin = 0; begin < length; begin += size) {
        const int64_t n = hc_min_i64(size, length - begin);
        const int64_t first = hc_min_i64(begin, s->index.shape[0]);
        const int64_t used = hc_min_i64(n, s->index.shape[0] - first);
        struct hc_scatter part = *s;
        const aclTensor to = part_of(out, 0, begin, n), from = part_of(self, 0, begin, n);
        part.index = part_of(&s->index, 0, first, used);
        part.src = part_of(&s->src, 0, first, used);
        HC_TRY(scatter_part(&part, &to, &from, dim));
    }
    return 0;
}
#endif
