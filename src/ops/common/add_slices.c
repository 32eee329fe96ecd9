// SPDX-License-Identifier: Apache-2.0
/* Indices are grouped by what they name (a counting sort, which keeps their order), so that a slice is read
 * and written once however often it is hit, by one thread, and rounded once though nothing wider than it is
 * kept. Slices that are not hit are not touched. Cost: the bytes of the source, twice those of the slices
 * that are hit, and a few instructions for each index and slice. */
#include "add_slices.h"

/* The slices first[0..count) of `x`, `step` bytes apart, times alpha, to n elements of y. */
#define PARAMS                                                                                               \
    (size_t n, void *to, const char *x, const uint32_t *first, size_t count, size_t step, float alpha)
HC_KERNEL(add_slices_F32, PARAMS)
HC_KERNEL(add_slices_BF16, PARAMS)

#ifdef HC_ISA
#include "simd.h"

static inline vf load_bf16(const uint16_t *p) { return vf_load_bf16(p); }
static inline void store_bf16(uint16_t *p, vf x) { vf_store_bf16(p, x); }
static inline vf load_bf16_part(const uint16_t *p, size_t n) { return vf_load_bf16_part(p, n); }
static inline void store_bf16_part(uint16_t *p, vf x, size_t n) { vf_store_bf16_part(p, x, n); }

/* Sums stay in registers, four vectors at a time. */
#define DEFINE(name, type, load, store, load_part, store_part)                                               \
    void HC_FN(name) PARAMS {                                                                                \
        type *y = to;                                                                                        \
        size_t i = 0;                                                                                        \
        for (; i + 4 * HC_VL <= n; i += 4 * HC_VL) {                                                         \
            vf s[4];                                                                                         \
            _Pragma("GCC unroll 4") for (size_t u = 0; u < 4; u++) s[u] = load(y + i + u * HC_VL);           \
            for (size_t k = 0; k < count; k++) {                                                             \
                const type *v = (const type *)(x + first[k] * step) + i;                                     \
                _Pragma("GCC unroll 4") for (size_t u = 0; u < 4; u++) s[u] += load(v + u * HC_VL) * alpha;  \
            }                                                                                                \
            _Pragma("GCC unroll 4") for (size_t u = 0; u < 4; u++) store(y + i + u * HC_VL, s[u]);           \
        }                                                                                                    \
        for (; i < n; i += HC_VL) {                                                                          \
            const size_t rest = hc_min_size(HC_VL, n - i);                                                   \
            vf s = rest == HC_VL ? load(y + i) : load_part(y + i, rest);                                     \
            for (size_t k = 0; k < count; k++) {                                                             \
                const type *v = (const type *)(x + first[k] * step) + i;                                     \
                s += (rest == HC_VL ? load(v) : load_part(v, rest)) * alpha;                                 \
            }                                                                                                \
            if (rest == HC_VL) store(y + i, s);                                                              \
            else store_part(y + i, s, rest);                                                                 \
        }                                                                                                    \
    }
DEFINE(add_slices_F32, float, vf_load, vf_store, vf_load_part, vf_store_part)
DEFINE(add_slices_BF16, uint16_t, load_bf16, store_bf16, load_bf16_part, store_bf16_part)

#else
/* SHORT: slices for which grouping costs more than it saves. TILE: elements that a thread takes of a slice.
 * SPARSE, FEW: each slice has a counter, so more than that for an index do not pay, unless there are few. */
enum { SHORT = 64, TILE = 4096, GRAIN = 32 * 1024, SPARSE = 64, FEW = 4096 };

/* One call: read-only while threads run. `order`: positions in the source by the slice they name, those of
 * hit h being order[begin[h]] to order[begin[h + 1]]. */
struct job {
    add_slices_F32_fn *kernel;
    char *out;
    const char *source;
    size_t n, tiles, item;        /* elements of a slice, its tiles, bytes of an element */
    size_t out_step, source_step; /* bytes from slice to slice */
    float alpha;
    size_t count, hits;
    uint32_t *target, *order, *begin, *hit;
};

/* A row is what follows the indexed dimension; before it there may be only dimensions of one element. */
static bool plain_rows(const aclTensor *t, int64_t dim) {
    int64_t expected = 1;
    for (int32_t d = t->rank - 1; d > dim; d--) {
        if (t->shape[d] != 1 && t->stride[d] != expected) return false;
        expected *= t->shape[d];
    }
    for (int32_t d = 0; d < dim; d++) {
        if (t->shape[d] != 1) return false;
    }
    return expected >= SHORT && t->stride[dim] >= expected;
}

bool hc_add_slices_fits(const aclTensor *out, const aclTensor *source, int64_t dim) {
    return (out->dtype == ACL_FLOAT || out->dtype == ACL_BF16) && source->dtype == out->dtype &&
           out->shape[dim] <= FEW + SPARSE * source->shape[dim] && out->shape[dim] < UINT32_MAX &&
           source->shape[dim] < UINT32_MAX && plain_rows(out, dim) && plain_rows(source, dim);
}

/* Each index once, into our own memory; slices that are hit, and how often, from there. `place` has a counter
 * for each slice. */
static void group(struct job *j, struct hc_index *index, size_t slices, uint32_t *place) {
    const char *data = hc_data(&index->view);
    const uint64_t bound = hc_index_bound(&index->range);
    struct hc_index_bad bad = {0};
    for (size_t i = 0; i < j->count; i++) {
        int64_t at;
        const bool legal = hc_index_take(data + i * sizeof at, bound, &index->range, &at, &bad);
        j->target[i] = legal ? (uint32_t)at : UINT32_MAX;
        if (legal) place[at]++;
    }
    if (bad.at != NULL) hc_index_report(index, &bad);
    uint32_t sum = 0;
    for (size_t s = 0; s < slices; s++) {
        const uint32_t times = place[s];
        if (times == 0) continue;
        j->hit[j->hits] = (uint32_t)s;
        j->begin[j->hits++] = sum;
        place[s] = sum;
        sum += times;
    }
    j->begin[j->hits] = sum;
    for (size_t i = 0; i < j->count; i++) {
        if (j->target[i] != UINT32_MAX) j->order[place[j->target[i]]++] = (uint32_t)i;
    }
}

/* A unit is a tile of a slice that is hit. */
static void add_units(void *ctx, size_t begin, size_t end) {
    const struct job *j = ctx;
    for (size_t unit = begin; unit < end; unit++) {
        const size_t h = unit / j->tiles, first = unit % j->tiles * TILE, at = first * j->item;
        j->kernel(hc_min_size(TILE, j->n - first), j->out + j->hit[h] * j->out_step + at, j->source + at,
                  j->order + j->begin[h], j->begin[h + 1] - j->begin[h], j->source_step, j->alpha);
    }
}

aclnnStatus hc_add_slices(const aclTensor *out, const aclTensor *source, int64_t dim, float alpha,
                          struct hc_index *index) {
    const size_t count = hc_numel(&index->view), slices = (size_t)out->shape[dim];
    struct job j = {.kernel =
                        out->dtype == ACL_BF16 ? HC_DISPATCH(add_slices_BF16) : HC_DISPATCH(add_slices_F32),
                    .out = hc_data(out),
                    .source = hc_data(source),
                    .n = 1,
                    .item = (size_t)out->item_size,
                    .alpha = alpha,
                    .count = count};
    if (count == 0 || out->numel == 0) return 0;
    for (int32_t d = (int32_t)dim + 1; d < out->rank; d++) j.n *= (size_t)out->shape[d];
    j.tiles = hc_ceil_div(j.n, TILE);
    j.out_step = (size_t)out->stride[dim] * j.item;
    j.source_step = (size_t)source->stride[dim] * j.item;
    const size_t most = hc_min_size(count, slices);
    uint32_t *memory = hc_block_take_array(2 * count + 2 * most + 1, sizeof *memory);
    uint32_t *place = hc_block_take_zeroed(slices, sizeof *place);
    if (memory != NULL && place != NULL) {
        j.target = memory;
        j.order = j.target + count;
        j.hit = j.order + count;
        j.begin = j.hit + most;
        group(&j, index, slices, place);
        const size_t cost = hc_min_size(j.n, TILE) * (1 + count / hc_max_size(j.hits, 1));
        hc_parallel_for(j.hits * j.tiles, hc_max_size(GRAIN / cost, 1), add_units, &j);
    }
    const bool failed = memory == NULL || place == NULL;
    hc_block_give(memory);
    hc_block_give(place);
    HC_CHECK(!failed, ACLNN_ERR_INNER, "%s: out of host memory for %zu indices", index->op, count);
    return hc_index_status(index);
}
#endif
