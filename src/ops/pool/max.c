// SPDX-License-Identifier: Apache-2.0
/* See max.h. Rows of results are shared out among threads going forward, planes going back. */
#include "max.h"

#include <math.h>
#include <stdatomic.h>

#include "index_load.h"

#define FOR_TYPES(X) X(F32, float) X(F64, double) X(I64, int64_t)

/* Where x[i] is more than best[i], or a NaN, it and its place `base` + i replace best[i] and at[i]. */
#define X(id, type)                                                                                          \
    HC_KERNEL(pool_max_join_##id, (size_t n, type *best, int32_t *at, const type *x, int32_t base))
FOR_TYPES(X)
#undef X
/* y[i], index[i]: the maximum of best over window i, and its place. */
#define X(id, type)                                                                                          \
    HC_KERNEL(pool_max_along_##id, (size_t n, const struct pool_window *windows, const type *best,           \
                                    const int32_t *at, type *y, int32_t *index))
FOR_TYPES(X)
#undef X

#ifdef HC_ISA
#define X(id, type)                                                                                          \
    void HC_FN(pool_max_join_##id)(size_t n, type *best, int32_t *at, const type *x, int32_t base) {         \
        _Pragma("GCC ivdep") for (size_t i = 0; i < n; i++) {                                                \
            const bool take = x[i] > best[i] || x[i] != x[i];                                                \
            best[i] = take ? x[i] : best[i];                                                                 \
            at[i] = take ? base + (int32_t)i : at[i];                                                        \
        }                                                                                                    \
    }
FOR_TYPES(X)
#undef X

/* Columns have been joined from top to bottom, and keep the first of equal elements, or the last NaN. Along
 * the row two columns may hold places of different rows, so that places have to be compared.
 * Whether v at place `at` comes before b at place `best`: places of a row are not in order. */
#define COMES_FIRST(v, at, b, best)                                                                          \
    ((v) != (v) ? (b) == (b) || (at) > (best) : (b) == (b) && ((v) > (b) || ((v) == (b) && (at) < (best))))
#define X(id, type)                                                                                          \
    void HC_FN(pool_max_along_##id)(size_t n, const struct pool_window *windows, const type *best,           \
                                    const int32_t *at, type *y, int32_t *index) {                            \
        for (size_t i = 0; i < n; i++) {                                                                     \
            const struct pool_window w = windows[i];                                                         \
            type value = best[w.first];                                                                      \
            int32_t place = at[w.first];                                                                     \
            for (int64_t k = w.first + w.step; k < w.end; k += w.step) {                                     \
                const bool take = COMES_FIRST(best[k], at[k], value, place);                                 \
                value = take ? best[k] : value;                                                              \
                place = take ? at[k] : place;                                                                \
            }                                                                                                \
            y[i] = value, index[i] = place;                                                                  \
        }                                                                                                    \
    }
FOR_TYPES(X)
#undef X
#else
struct args {
    struct pool_shape shape;
    enum hc_block block;
    bool mask;
};

/* Of the way forward. */
struct job {
    const struct args *args;
    const struct pool_window *windows; /* along a row */
    const char *x;
    char *y;
    int32_t *index;
    atomic_int code;
};

/* best and at: the maximum of each column over the window's rows, and its place in the plane. */
static void join_rows(const struct args *a, const char *plane, const struct pool_window *depth,
                      const struct pool_window *height, void *best, int32_t *at) {
    const size_t width = (size_t)a->shape.axis[2].in, item = hc_block_size(a->block);
    bool begun = false;
    /* The first row is taken as it is, so that a maximum exists even where all elements are the lowest. */
    for (int64_t d = depth->first; d < depth->end; d += depth->step) {
        for (int64_t h = height->first; h < height->end; h += height->step) {
            const int64_t base = (d * a->shape.axis[1].in + h) * (int64_t)width;
            const char *row = plane + (size_t)base * item;
            if (!begun) {
                memcpy(best, row, width * item);
                for (size_t i = 0; i < width; i++) at[i] = (int32_t)base + (int32_t)i;
                begun = true;
                continue;
            }
            const int32_t from = (int32_t)base;
            if (a->block == HC_F32)
                HC_DISPATCH(pool_max_join_F32)(width, best, at, (const float *)(const void *)row, from);
            else if (a->block == HC_F64)
                HC_DISPATCH(pool_max_join_F64)(width, best, at, (const double *)(const void *)row, from);
            else HC_DISPATCH(pool_max_join_I64)(width, best, at, (const int64_t *)(const void *)row, from);
        }
    }
}

static void run_rows(void *job, size_t begin, size_t end) {
    struct job *j = job;
    const struct args *a = j->args;
    const struct pool_axis *axis = a->shape.axis;
    const size_t item = hc_block_size(a->block), out = (size_t)axis[2].out;
    void *best = hc_scratch(HC_SCRATCH_A, (size_t)axis[2].in * item);
    int32_t *at = hc_scratch(HC_SCRATCH_B, (size_t)axis[2].in * sizeof *at);
    if (best == NULL || at == NULL) {
        atomic_store(&j->code, ACLNN_ERR_INNER);
        return;
    }
    const size_t plane = (size_t)pool_in(&a->shape) * item;
    for (size_t r = begin; r < end; r++) {
        const int64_t row = (int64_t)r, h = row % axis[1].out, d = row / axis[1].out % axis[0].out;
        const struct pool_window depth = pool_window_at(&a->shape, 0, d);
        const struct pool_window height = pool_window_at(&a->shape, 1, h);
        const char *x = j->x + (size_t)(row / axis[1].out / axis[0].out) * plane;
        join_rows(a, x, &depth, &height, best, at);
        void *y = j->y + r * out * item;
        int32_t *index = j->index + r * out;
        if (a->block == HC_F32) HC_DISPATCH(pool_max_along_F32)(out, j->windows, best, at, y, index);
        else if (a->block == HC_F64) HC_DISPATCH(pool_max_along_F64)(out, j->windows, best, at, y, index);
        else HC_DISPATCH(pool_max_along_I64)(out, j->windows, best, at, y, index);
    }
}

/* Bytes of the mask of one element of the windows: the interface's number, which 16 bits each would fill. */
static int64_t mask_row(const struct pool_shape *s) { return ((pool_out(s) + 15) / 16 + 1) * 32; }
/* Elements of a window, which are the rows of a mask. */
static int64_t taps(const struct pool_shape *s) { return s->axis[1].kernel * s->axis[2].kernel; }

/* The element of its window that place `at` of a plane is. */
static int64_t tap_of(const struct pool_shape *s, int64_t i, int64_t at) {
    const struct pool_axis *h = &s->axis[1], *w = &s->axis[2];
    const int64_t row = at / w->in - (i / w->out * h->stride - h->pad);
    const int64_t col = at % w->in - (i % w->out * w->stride - w->pad);
    return row / h->dilation * w->kernel + col / w->dilation;
}

struct mask_job {
    const struct pool_shape *shape;
    int32_t *index;
    uint8_t *mask;
};
/* One plane after the other: the bits of a byte are of one plane, so threads do not meet in it. */
static void run_to_mask(void *job, size_t begin, size_t end) {
    const struct mask_job *j = job;
    const int64_t n = pool_out(j->shape);
    const size_t row = (size_t)mask_row(j->shape), plane = (size_t)taps(j->shape) * row;
    for (size_t p = begin; p < end; p++) {
        uint8_t *mask = j->mask + p * plane;
        memset(mask, 0, plane);
        for (int64_t i = 0; i < n; i++) {
            const size_t tap = (size_t)tap_of(j->shape, i, j->index[p * (size_t)n + (size_t)i]);
            mask[tap * row + (size_t)i / 8] |= (uint8_t)(1u << (i % 8));
        }
    }
}

/* Planes or rows that a thread takes at a time, by the elements of each. */
static size_t grain_of(int64_t each) {
    enum { WORK = 1 << 14 };
    return (size_t)hc_max_i64(WORK / hc_max_i64(each, 1), 1);
}

/* y and the place of each of its elements, from contiguous tensors in the type to compute in. */
static aclnnStatus fill(const struct args *a, const aclTensor *x, const aclTensor *y, int32_t *index) {
    struct pool_window *windows = pool_windows(&a->shape, 2);
    HC_CHECK(windows != NULL, ACLNN_ERR_INNER, "out of host memory for the windows of %s", HC_SHOW(y));
    struct job j = {a, windows, hc_data(x), hc_data(y), index, 0};
    const struct pool_axis *axis = a->shape.axis;
    const size_t rows = (size_t)(a->shape.planes * axis[0].out * axis[1].out);
    hc_parallel_for(rows, grain_of(axis[2].in + 4 * axis[2].out), run_rows, &j);
    hc_block_give(windows);
    return atomic_load(&j.code);
}

/* In the types to compute in; converted results are copied to the caller's tensors at the end.
 * The index goes where the caller wants it: as numbers, or into the mask. */
static aclnnStatus pool(const struct args *a, const aclTensor *x, const aclTensor *y, const aclTensor *index,
                        void **owned) {
    aclTensor in, out, mask, place;
    const aclDataType type = pool_type(a->block);
    HC_TRY(hc_contiguous_apart(x, type, y, &in, &owned[0]));
    HC_TRY(hc_contiguous_out(y, type, &out, &owned[1]));
    if (!a->mask) {
        HC_TRY(hc_contiguous_out(index, ACL_INT32, &place, &owned[2]));
        HC_TRY(fill(a, &in, &out, (int32_t *)(void *)hc_data(&place)));
        if (owned[2] != NULL) HC_TRY(hc_copy(index, &place));
    } else {
        int32_t *memory = owned[2] = hc_block_take_array(hc_numel(y), sizeof *memory);
        HC_CHECK(memory != NULL, ACLNN_ERR_INNER, "out of host memory for the places of %s", HC_SHOW(y));
        HC_TRY(hc_contiguous_out(index, index->dtype, &mask, &owned[3]));
        HC_TRY(fill(a, &in, &out, memory));
        struct mask_job j = {&a->shape, memory, (uint8_t *)hc_data(&mask)};
        hc_parallel_for((size_t)a->shape.planes, grain_of(pool_out(&a->shape)), run_to_mask, &j);
        if (owned[3] != NULL) HC_TRY(hc_copy(index, &mask));
    }
    return owned[1] != NULL ? hc_copy(y, &out) : 0;
}

static aclnnStatus run(const struct hc_call *call) {
    const aclTensor *y = hc_arg(call, 1);
    void *owned[4] = {0};
    if (y->numel == 0) return 0;
    const aclnnStatus code = pool(call->args, hc_arg(call, 0), y, hc_arg(call, 2), owned);
    for (size_t i = 0; i < HC_ARRAY_SIZE(owned); i++) hc_block_give(owned[i]);
    return code;
}

struct back_job {
    const struct args *args;
    const char *dy;
    char *dx;
    const int64_t *index;
    const uint8_t *mask;
    struct hc_index *checked;
};

/* dx[to] += dy[from] */
static void add(const struct args *a, char *dx, const char *dy, size_t to, size_t from) {
    if (a->block == HC_F32) ((float *)(void *)dx)[to] += ((const float *)(const void *)dy)[from];
    else ((double *)(void *)dx)[to] += ((const double *)(const void *)dy)[from];
}

/* Several windows may have one maximum, so the planes are what threads share out. Indices are the caller's
 * memory: each is read once and checked, and what is wrong is left out and reported. */
static void run_by_index(void *job, size_t begin, size_t end) {
    const struct back_job *j = job;
    const size_t item = hc_block_size(j->args->block);
    const size_t in = (size_t)pool_in(&j->args->shape), out = (size_t)pool_out(&j->args->shape);
    const uint64_t bound = hc_index_bound(&j->checked->range);
    struct hc_index_bad bad = {0};
    for (size_t p = begin; p < end; p++) {
        char *dx = j->dx + p * in * item;
        memset(dx, 0, in * item);
        for (size_t i = 0; i < out; i++) {
            int64_t at;
            if (hc_index_take(&j->index[p * out + i], bound, &j->checked->range, &at, &bad))
                add(j->args, dx, j->dy + p * out * item, (size_t)at, i);
        }
    }
    if (bad.at != NULL) hc_index_report(j->checked, &bad);
}

/* Results i to i + 7 of one element of the windows, whose bits are given. What a mask says that no pooling
 * wrote may lie outside of the plane. */
static void add_bits(const struct back_job *j, char *dx, const char *dy, int64_t tap, int64_t i,
                     unsigned bits) {
    const struct pool_axis *h = &j->args->shape.axis[1], *w = &j->args->shape.axis[2];
    const int64_t n = pool_out(&j->args->shape);
    for (; bits != 0 && i < n; i++, bits >>= 1) {
        if ((bits & 1) == 0) continue;
        const int64_t row = i / w->out * h->stride - h->pad + tap / w->kernel * h->dilation;
        const int64_t col = i % w->out * w->stride - w->pad + tap % w->kernel * w->dilation;
        if (row < 0 || row >= h->in || col < 0 || col >= w->in) continue;
        add(j->args, dx, dy, (size_t)(row * w->in + col), (size_t)i);
    }
}

/* Element after element of the windows, and for each the results whose maximum it was: an order that depends
 * on the mask alone. Most bytes of a mask are 0. */
static void run_by_mask(void *job, size_t begin, size_t end) {
    const struct back_job *j = job;
    const struct pool_shape *s = &j->args->shape;
    const size_t item = hc_block_size(j->args->block), row = (size_t)mask_row(s);
    const size_t in = (size_t)pool_in(s), out = (size_t)pool_out(s);
    for (size_t p = begin; p < end; p++) {
        char *dx = j->dx + p * in * item;
        memset(dx, 0, in * item);
        for (int64_t tap = 0; tap < taps(s); tap++) {
            const uint8_t *bits = j->mask + (p * (size_t)taps(s) + (size_t)tap) * row;
            for (size_t b = 0; b < (out + 7) / 8; b++) {
                if (bits[b] != 0) add_bits(j, dx, j->dy + p * out * item, tap, (int64_t)b * 8, bits[b]);
            }
        }
    }
}

/* Operands: the gradient of the output, the indices or the mask, and the gradient of the input. */
static aclnnStatus spread(const struct hc_call *call, void **owned) {
    const struct args *a = call->args;
    const aclTensor *dy = hc_arg(call, 0), *index = hc_arg(call, 1), *dx = hc_arg(call, 2);
    const aclDataType type = pool_type(a->block);
    aclTensor from, to, mask;
    struct hc_index checked = {.owned = NULL};
    HC_TRY(hc_contiguous_apart(dy, type, dx, &from, &owned[0]));
    HC_TRY(hc_contiguous_out(dx, type, &to, &owned[1]));
    struct back_job j = {.args = a, .dy = hc_data(&from), .dx = hc_data(&to), .checked = &checked};
    if (a->mask) {
        HC_TRY(hc_contiguous_apart(index, index->dtype, dx, &mask, &owned[2]));
        j.mask = (const uint8_t *)hc_data(&mask);
    } else {
        HC_TRY(hc_index_open(call->name, "indices", index, pool_in(&a->shape), false, &checked));
        j.index = (const int64_t *)(const void *)hc_data(&checked.view);
    }
    const size_t grain = grain_of(pool_in(&a->shape) + pool_out(&a->shape));
    hc_parallel_for((size_t)a->shape.planes, grain, a->mask ? run_by_mask : run_by_index, &j);
    const aclnnStatus code = a->mask ? 0 : hc_index_status(&checked);
    hc_block_give(checked.owned);
    HC_TRY(code);
    return owned[1] != NULL ? hc_copy(dx, &to) : 0;
}

static aclnnStatus run_backward(const struct hc_call *call) {
    void *owned[3] = {0};
    if (hc_arg(call, 2)->numel == 0) return 0;
    const aclnnStatus code = spread(call, owned);
    for (size_t i = 0; i < HC_ARRAY_SIZE(owned); i++) hc_block_give(owned[i]);
    return code;
}

/* torch_npu takes a mask that is larger than ours needs to be: its size is that of the interface. */
static aclnnStatus check_mask(const struct pool_max_call *call, const struct pool_shape *s) {
    const aclTensor *mask = call->indices, *in = call->pool.in;
    HC_CHECK(mask != NULL, ACLNN_ERR_PARAM_NULLPTR, "%s: indices is null", call->pool.name);
    HC_CHECK(mask->dtype == ACL_INT8 || mask->dtype == ACL_UINT8, ACLNN_ERR_PARAM_INVALID,
             "%s: indices is %s, wanted int8: it is a mask", call->pool.name, HC_SHOW(mask));
    int64_t shape[4], numel;
    for (int d = 0; d < in->rank - 2; d++) shape[d] = in->shape[d];
    shape[in->rank - 2] = taps(s), shape[in->rank - 1] = mask_row(s);
    HC_CHECK(hc_shape_numel(shape, in->rank, &numel), ACLNN_ERR_PARAM_INVALID,
             "%s: the mask would have more elements than a tensor can", call->pool.name);
    const aclTensor wanted = hc_tensor_view(mask->dtype, shape, in->rank, NULL);
    HC_CHECK(hc_same_shape(mask, &wanted), ACLNN_ERR_PARAM_INVALID,
             "%s: indices is %s, wanted %s, a mask for %s %s", call->pool.name, HC_SHOW(mask),
             HC_SHOW(&wanted), call->pool.in_name, HC_SHOW(in));
    return 0;
}

/* The windows over elements that exist, each of at least one: with a dilation above the size of the input one
 * may step over all of it. */
static aclnnStatus check_windows(const struct pool_max_call *call, const struct pool_shape *s) {
    for (int d = 0; d < POOL_DIMS && call->pool.out->numel > 0; d++) {
        const struct pool_axis *a = &s->axis[d];
        for (int64_t i = 0; a->dilation > a->in && i < a->out; i++) {
            const struct pool_window w = pool_window_at(s, d, i);
            HC_CHECK(w.first < w.end, ACLNN_ERR_PARAM_INVALID,
                     "%s: window %lld has no element of %s %s in a dimension of %lld: dilation is %lld",
                     call->pool.name, (long long)i, call->pool.in_name, HC_SHOW(call->pool.in),
                     (long long)a->in, (long long)a->dilation);
        }
    }
    return 0;
}

static aclnnStatus describe(const struct pool_max_call *call, struct args *args) {
    HC_TRY(pool_describe(&call->pool, &args->shape, &args->block));
    args->mask = call->mask;
    int64_t plane;
    const int64_t sizes[] = {args->shape.axis[0].in, args->shape.axis[1].in, args->shape.axis[2].in};
    HC_CHECK(hc_shape_numel(sizes, POOL_DIMS, &plane) && plane <= INT32_MAX, ACLNN_ERR_PARAM_INVALID,
             "%s: %s is %s, wanted planes of at most 2^31 - 1 elements, which indices count", call->pool.name,
             call->pool.in_name, HC_SHOW(call->pool.in));
    HC_TRY(check_windows(call, &args->shape));
    if (call->mask) return check_mask(call, &args->shape);
    HC_TRY(pool_check_like(&call->pool, call->indices, "indices", call->pool.out, call->pool.out_name));
    HC_CHECK(call->indices->dtype == ACL_INT32 || call->indices->dtype == ACL_INT64, ACLNN_ERR_PARAM_INVALID,
             "%s: indices is %s, wanted int32 or int64", call->pool.name, HC_SHOW(call->indices));
    return 0;
}

aclnnStatus pool_max_plan(const struct pool_max_call *call, uint64_t *workspaceSize,
                          aclOpExecutor **executor) {
    struct args args = {0};
    HC_TRY(describe(call, &args));
    const struct hc_operand operands[] = {{call->pool.in, NULL, HC_ROLE_IN, call->pool.in_name},
                                          {call->pool.out, NULL, HC_ROLE_OUT, call->pool.out_name},
                                          {call->indices, NULL, HC_ROLE_OUT, "indices"}};
    const struct hc_plan plan = {.name = call->pool.name,
                                 .run = run,
                                 .args = &args,
                                 .args_size = sizeof args,
                                 .operands = operands,
                                 .num_operands = 3};
    return hc_plan(&plan, workspaceSize, executor);
}

aclnnStatus pool_max_backward_plan(const struct pool_max_call *call, const aclTensor *grad_in,
                                   uint64_t *workspaceSize, aclOpExecutor **executor) {
    struct args args = {0};
    HC_TRY(describe(call, &args));
    HC_TRY(pool_check_gradient(&call->pool, grad_in, "gradInput"));
    const struct hc_operand operands[] = {{call->pool.out, NULL, HC_ROLE_IN, call->pool.out_name},
                                          {call->indices, NULL, HC_ROLE_IN, "indices"},
                                          {grad_in, NULL, HC_ROLE_OUT, "gradInput"}};
    const struct hc_plan plan = {.name = call->pool.name,
                                 .run = run_backward,
                                 .args = &args,
                                 .args_size = sizeof args,
                                 .operands = operands,
                                 .num_operands = 3};
    return hc_plan(&plan, workspaceSize, executor);
}
#endif
