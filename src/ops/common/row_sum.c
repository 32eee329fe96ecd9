// SPDX-License-Identifier: Apache-2.0
/* See row_sum.h. A block of columns of a sum stays in the first-level cache while its entries are added, each
 * of which is read once. */
#include "row_sum.h"

#include <string.h>

#include "gather.h"
#include "temporary.h"

#define PARAMS (size_t n, void *sum, const void *x, double scale, bool first)
HC_KERNEL(row_sum_F32, PARAMS)
HC_KERNEL(row_sum_F64, PARAMS)
HC_KERNEL(row_sum_BF16, PARAMS)
HC_KERNEL(row_dot_F32, (size_t n, const void *a, const void *b, double *sum))
HC_KERNEL(row_dot_F64, (size_t n, const void *a, const void *b, double *sum))

#ifdef HC_ISA
#include "simd.h"
#include "simd_rows.h"

/* sum += scale * x; the first entry of a row sets it. */
#define DEFINE(block, type)                                                                                  \
    void HC_FN(row_sum_##block) PARAMS {                                                                     \
        type *y = sum;                                                                                       \
        const type *a = x, s = (type)scale;                                                                  \
        if (first) {                                                                                         \
            _Pragma("GCC ivdep") for (size_t i = 0; i < n; i++) y[i] = s * a[i];                             \
        } else {                                                                                             \
            _Pragma("GCC ivdep") for (size_t i = 0; i < n; i++) y[i] += s * a[i];                            \
        }                                                                                                    \
    }
DEFINE(F32, float)
DEFINE(F64, double)

void HC_FN(row_sum_BF16) PARAMS {
    float *y = sum;
    const uint16_t *a = x;
    const vf s = vf_set((float)scale);
    size_t i = 0;
    for (; i + HC_VL <= n; i += HC_VL) {
        const vf v = s * vf_load_bf16(a + i);
        vf_store(y + i, first ? v : vf_load(y + i) + v);
    }
    if (i == n) return;
    const vf v = s * vf_load_bf16_part(a + i, n - i);
    vf_store_part(y + i, first ? v : vf_load_part(y + i, n - i) + v, n - i);
}

void HC_FN(row_dot_F32)(size_t n, const void *a, const void *b, double *sum) { *sum += vf_row_dot(a, b, n); }
void HC_FN(row_dot_F64)(size_t n, const void *a, const void *b, double *sum) {
    const double *x = a, *y = b;
    for (size_t i = 0; i < n; i++) *sum += x[i] * y[i];
}
#else
struct job {
    const struct hc_row_sum *sum;
    aclTensor out, src; /* out contiguous, src with unit inner stride */
    size_t width, chunk, chunks;
    enum hc_block block;
    hc_load_fn *load; /* NULL: kernels read src as it is */
    hc_store_fn *store;
    row_sum_F32_fn *add;
};

/* Columns [column, column + n) of a row of out. A row without entries is zero. */
static void sum_row(const struct job *j, size_t row, size_t column, size_t n) {
    _Alignas(64) double sum[HC_EW_BLOCK], widened[HC_EW_BLOCK];
    const struct hc_row_sum *s = j->sum;
    const int64_t begin = s->first != NULL ? s->first[row] : (int64_t)(row * s->each);
    const int64_t end = s->first != NULL ? s->first[row + 1] : begin + (int64_t)s->each;
    char *y = hc_data(&j->out) + (row * j->width + column) * (size_t)j->out.item_size;
    bool first = true;
    for (int64_t e = begin; e < end; e++) {
        const int64_t from = s->source != NULL ? s->source[e] : e;
        if (from < 0) continue;
        const void *x = hc_data(&j->src) + (from * j->src.stride[0] + (int64_t)column) * j->src.item_size;
        if (j->load != NULL) {
            j->load(n, widened, x, 1);
            x = widened;
        }
        j->add(n, sum, x, s->scale != NULL ? s->scale[e] : 1, first);
        first = false;
    }
    if (first) memset(y, 0, n * (size_t)j->out.item_size);
    else j->store(n, y, 1, sum);
}

/* A unit is a row, or a part of a wide one. */
static void sum_units(void *ctx, size_t begin, size_t end) {
    const struct job *j = ctx;
    for (size_t unit = begin; unit < end; unit++) {
        const size_t column = unit % j->chunks * j->chunk;
        sum_row(j, unit / j->chunks, column, hc_min_size(j->chunk, j->width - column));
    }
}

aclnnStatus hc_row_sum(const struct hc_row_sum *s) {
    const size_t width = (size_t)s->out->shape[1];
    struct job job = {.sum = s, .width = width, .chunk = hc_min_size(width, HC_EW_BLOCK)};
    void *copy, *result = NULL;
    if (s->out->numel == 0) return 0;
    HC_TRY(hc_contiguous_apart(s->src, s->src->dtype, s->out, &job.src, &copy));
    job.chunks = hc_ceil_div(width, job.chunk);
    job.block = hc_compute_block(hc_dtype_promote(s->src->dtype, s->out->dtype));
    aclnnStatus status = hc_contiguous_out(s->out, s->out->dtype, &job.out, &result);
    if (status == 0) {
        const bool half = job.block == HC_F32 && s->src->dtype == ACL_BF16;
        const bool direct = half || hc_block_of(s->src->dtype) == (int)job.block;
        job.load = direct ? NULL : hc_load_for(s->src->dtype, job.block);
        job.store = hc_store_for(s->out->dtype, job.block);
        job.add = half                  ? HC_DISPATCH(row_sum_BF16)
                  : job.block == HC_F32 ? HC_DISPATCH(row_sum_F32)
                                        : HC_DISPATCH(row_sum_F64);
        const size_t grain = hc_max_size(1, 16 * 1024 / job.chunk);
        hc_parallel_for((size_t)s->out->shape[0] * job.chunks, grain, sum_units, &job);
        if (result != NULL) status = hc_copy(s->out, &job.out);
    }
    hc_block_give(result);
    hc_block_give(copy);
    return status;
}

aclnnStatus hc_row_take(const aclTensor *out, const aclTensor *src, const int64_t *source) {
    aclTensor from, index = hc_tensor_view(ACL_INT64, out->shape, 2, (void *)(uintptr_t)source);
    void *copy;
    if (out->numel == 0) return 0;
    HC_TRY(hc_apart(src, src->dtype, out, &from, &copy));
    const int64_t step = from.stride[0] * from.item_size;
    from.shape[0] = out->shape[0];
    from.numel = out->numel;
    from.stride[0] = 0;
    index.stride[0] = 1;
    index.stride[1] = 0;
    const aclnnStatus status = hc_gather(out, &from, &index, step, NULL);
    hc_block_give(copy);
    return status;
}

struct dots {
    const struct hc_row_dot *dot;
    aclTensor a, b;
    size_t width;
    hc_load_fn *load_a, *load_b;
    row_dot_F32_fn *add;
};

static void dot_units(void *ctx, size_t begin, size_t end) {
    const struct dots *d = ctx;
    _Alignas(64) double left[HC_EW_BLOCK], right[HC_EW_BLOCK];
    for (size_t e = begin; e < end; e++) {
        const int64_t i = d->dot->a_row[e], j = d->dot->b_row[e];
        double sum = 0;
        for (size_t at = 0; at < d->width && i >= 0 && j >= 0; at += HC_EW_BLOCK) {
            const size_t n = hc_min_size(HC_EW_BLOCK, d->width - at);
            d->load_a(n, left, hc_data(&d->a) + (i * d->a.stride[0] + (int64_t)at) * d->a.item_size, 1);
            d->load_b(n, right, hc_data(&d->b) + (j * d->b.stride[0] + (int64_t)at) * d->b.item_size, 1);
            d->add(n, left, right, &sum);
        }
        d->dot->dot[e] = sum;
    }
}

aclnnStatus hc_row_dot(const struct hc_row_dot *dot) {
    const enum hc_block block = hc_compute_block(hc_dtype_promote(dot->a->dtype, dot->b->dtype));
    struct dots d = {.dot = dot,
                     .width = (size_t)dot->a->shape[1],
                     .load_a = hc_load_for(dot->a->dtype, block),
                     .load_b = hc_load_for(dot->b->dtype, block),
                     .add = block == HC_F32 ? HC_DISPATCH(row_dot_F32) : HC_DISPATCH(row_dot_F64)};
    void *copy_a, *copy_b = NULL;
    HC_TRY(hc_contiguous(dot->a, dot->a->dtype, &d.a, &copy_a));
    const aclnnStatus status = hc_contiguous(dot->b, dot->b->dtype, &d.b, &copy_b);
    if (status == 0)
        hc_parallel_for(dot->n, hc_max_size(1, 16 * 1024 / hc_max_size(d.width, 1)), dot_units, &d);
    hc_block_give(copy_b);
    hc_block_give(copy_a);
    return status;
}

/* first[v + 1] counts row v, is summed up, and ends as the start of row v + 1. */
void hc_positions_by_row(const int64_t *row, size_t n, int64_t rows, int64_t skip, int64_t *first,
                         int64_t *order) {
    memset(first, 0, (size_t)(rows + 2) * sizeof *first);
    int64_t *next = first + 1; /* next[v]: where row v's next position goes */
    for (size_t i = 0; i < n; i++) {
        if (row[i] >= 0 && row[i] != skip) next[row[i] + 1]++;
    }
    for (int64_t v = 0; v < rows; v++) next[v + 1] += next[v];
    for (size_t i = 0; i < n; i++) {
        if (row[i] >= 0 && row[i] != skip) order[next[row[i]]++] = (int64_t)i;
    }
}
#endif
