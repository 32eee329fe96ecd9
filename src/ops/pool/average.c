// SPDX-License-Identifier: Apache-2.0
/* See average.h. Rows of results are shared out among threads going forward, planes going back. Sums are in
 * float32 for the 16-bit types, and in one order. */
#include "average.h"

#include <stdatomic.h>

#define FOR_TYPES(X) X(F32, float) X(F64, double) X(I64, int64_t)
#define FOR_FLOATS(X) X(F32, float) X(F64, double)

/* sum[i] += x[i] */
#define X(id, type) HC_KERNEL(pool_add_##id, (size_t n, type *sum, const type *x))
FOR_TYPES(X)
#undef X
/* y[i] = the sum of x over window i / its divisor, which is `divisor`, or if that is 0 the window's count
 * times `count` */
#define X(id, type)                                                                                          \
    HC_KERNEL(pool_mean_##id, (size_t n, const struct pool_window *windows, int64_t count, int64_t divisor,  \
                               const type *x, type *y))
FOR_TYPES(X)
#undef X
/* x over window i += y[i] / its divisor */
#define X(id, type)                                                                                          \
    HC_KERNEL(pool_share_##id, (size_t n, const struct pool_window *windows, int64_t count, int64_t divisor, \
                                const type *y, type *x))
FOR_FLOATS(X)
#undef X

#ifdef HC_ISA
#define X(id, type)                                                                                          \
    void HC_FN(pool_add_##id)(size_t n, type *sum, const type *x) {                                          \
        _Pragma("GCC ivdep") for (size_t i = 0; i < n; i++) sum[i] += x[i];                                  \
    }                                                                                                        \
    void HC_FN(pool_mean_##id)(size_t n, const struct pool_window *windows, int64_t count, int64_t divisor,  \
                               const type *x, type *y) {                                                     \
        for (size_t i = 0; i < n; i++) {                                                                     \
            const struct pool_window w = windows[i];                                                         \
            type sum = 0;                                                                                    \
            for (int64_t k = w.first; k < w.end; k++) sum += x[k];                                           \
            y[i] = sum / (type)(divisor != 0 ? divisor : w.count * count);                                   \
        }                                                                                                    \
    }
FOR_TYPES(X)
#undef X
#define X(id, type)                                                                                          \
    void HC_FN(pool_share_##id)(size_t n, const struct pool_window *windows, int64_t count, int64_t divisor, \
                                const type *y, type *x) {                                                    \
        for (size_t i = 0; i < n; i++) {                                                                     \
            const struct pool_window w = windows[i];                                                         \
            const type part = y[i] / (type)(divisor != 0 ? divisor : w.count * count);                       \
            for (int64_t k = w.first; k < w.end; k++) x[k] += part;                                          \
        }                                                                                                    \
    }
FOR_FLOATS(X)
#undef X
#else
struct args {
    struct pool_shape shape;
    enum hc_block block;
};

struct job {
    const struct args *args;
    const struct pool_window *windows; /* along a row */
    char *in, *out;
    atomic_int code;
};

/* sum += x over n elements, in the type to compute in. */
static void add_row(enum hc_block block, size_t n, void *sum, const void *x) {
    if (block == HC_F32) HC_DISPATCH(pool_add_F32)(n, sum, x);
    else if (block == HC_F64) HC_DISPATCH(pool_add_F64)(n, sum, x);
    else HC_DISPATCH(pool_add_I64)(n, sum, x);
}

/* One row of results: which rows of a plane it is made of, and what they add to the divisor. */
struct row {
    struct pool_window depth, height;
    size_t plane;
    int64_t count;
};
/* Row r, counted over all planes. */
static struct row find_row(const struct pool_shape *s, int64_t r) {
    const int64_t h = r % s->axis[1].out, d = r / s->axis[1].out % s->axis[0].out;
    struct row row = {.depth = pool_window_at(s, 0, d), .height = pool_window_at(s, 1, h)};
    row.plane = (size_t)(r / s->axis[1].out / s->axis[0].out);
    row.count = row.depth.count * row.height.count;
    return row;
}

/* Add up the rows of a window in `line`, or add `line` to each of them. */
static void each_row(const struct args *a, const struct row *row, char *in, void *line, bool gather) {
    const size_t width = (size_t)a->shape.axis[2].in, item = hc_block_size(a->block);
    char *plane = in + row->plane * (size_t)pool_in(&a->shape) * item;
    for (int64_t d = row->depth.first; d < row->depth.end; d++) {
        for (int64_t h = row->height.first; h < row->height.end; h++) {
            char *x = plane + (size_t)(d * a->shape.axis[1].in + h) * width * item;
            add_row(a->block, width, gather ? line : (void *)x, gather ? (void *)x : line);
        }
    }
}

/* Forward: rows of a window are added up with whole vectors, then their sum along itself. Each result is the
 * sum of sums of columns, which for large windows also loses less than one sum over all. */
static void run_rows(void *job, size_t begin, size_t end) {
    struct job *j = job;
    const struct args *a = j->args;
    const size_t item = hc_block_size(a->block), n = (size_t)a->shape.axis[2].out;
    const size_t bytes = (size_t)a->shape.axis[2].in * item;
    void *line = hc_scratch(HC_SCRATCH_A, bytes);
    if (line == NULL) {
        atomic_store(&j->code, ACLNN_ERR_INNER);
        return;
    }
    const int64_t divisor = a->shape.divisor;
    for (size_t r = begin; r < end; r++) {
        const struct row row = find_row(&a->shape, (int64_t)r);
        void *y = j->out + r * n * item;
        memset(line, 0, bytes);
        each_row(a, &row, j->in, line, true);
        if (a->block == HC_F32) HC_DISPATCH(pool_mean_F32)(n, j->windows, row.count, divisor, line, y);
        else if (a->block == HC_F64) HC_DISPATCH(pool_mean_F64)(n, j->windows, row.count, divisor, line, y);
        else HC_DISPATCH(pool_mean_I64)(n, j->windows, row.count, divisor, line, y);
    }
}

/* Back: what each result hands to the columns of its window, then that to each of its rows. */
static void run_planes(void *job, size_t begin, size_t end) {
    struct job *j = job;
    const struct args *a = j->args;
    const size_t item = hc_block_size(a->block), n = (size_t)a->shape.axis[2].out;
    const size_t bytes = (size_t)a->shape.axis[2].in * item, plane = (size_t)pool_in(&a->shape) * item;
    const size_t rows = (size_t)(a->shape.axis[0].out * a->shape.axis[1].out);
    void *line = hc_scratch(HC_SCRATCH_A, bytes);
    if (line == NULL) {
        atomic_store(&j->code, ACLNN_ERR_INNER);
        return;
    }
    memset(j->in + begin * plane, 0, (end - begin) * plane);
    for (size_t r = begin * rows; r < end * rows; r++) {
        const struct row row = find_row(&a->shape, (int64_t)r);
        const void *y = j->out + r * n * item;
        memset(line, 0, bytes);
        if (a->block == HC_F32)
            HC_DISPATCH(pool_share_F32)(n, j->windows, row.count, a->shape.divisor, y, line);
        else HC_DISPATCH(pool_share_F64)(n, j->windows, row.count, a->shape.divisor, y, line);
        each_row(a, &row, j->in, line, false);
    }
}

/* Contiguous tensors of the size of the input and of the output, whichever of them is written. */
static aclnnStatus compute(const struct args *a, const aclTensor *in, const aclTensor *out, bool backward) {
    enum { WORK = 1 << 14 };
    const struct pool_axis *axis = a->shape.axis;
    struct pool_window *windows = pool_windows(&a->shape, 2);
    HC_CHECK(windows != NULL, ACLNN_ERR_INNER, "out of host memory for the windows of %s", HC_SHOW(out));
    struct job j = {a, windows, hc_data(in), hc_data(out), 0};
    const int64_t rows = axis[0].out * axis[1].out, row = axis[2].in + 4 * axis[2].out;
    const int64_t grain = backward ? WORK / row / hc_max_i64(rows, 1) : WORK / row;
    hc_parallel_for((size_t)(a->shape.planes * (backward ? 1 : rows)), (size_t)hc_max_i64(grain, 1),
                    backward ? run_planes : run_rows, &j);
    hc_block_give(windows);
    return atomic_load(&j.code);
}

/* The gradient of a mean hands each result, divided the same, to every element of its window; what the
 * padding would get is dropped.
 * Operands: input and output; or gradients of output and input. */
static aclnnStatus run_either(const struct hc_call *call, bool backward) {
    const struct args *a = call->args;
    const aclTensor *x = hc_arg(call, 0), *y = hc_arg(call, 1);
    const aclDataType type = pool_type(a->block);
    aclTensor from, to;
    void *owned[2] = {0};
    if (y->numel == 0) return 0;
    int code = hc_contiguous_apart(x, type, y, &from, &owned[0]);
    if (code == 0) code = hc_contiguous_out(y, type, &to, &owned[1]);
    if (code == 0) code = compute(a, backward ? &to : &from, backward ? &from : &to, backward);
    if (code == 0 && owned[1] != NULL) code = hc_copy(y, &to);
    for (int i = 0; i < 2; i++) hc_block_give(owned[i]);
    return code;
}
static aclnnStatus run(const struct hc_call *call) { return run_either(call, false); }
static aclnnStatus run_backward(const struct hc_call *call) { return run_either(call, true); }

static aclnnStatus describe(const struct pool_average_call *call, struct args *args) {
    HC_TRY(pool_describe(&call->pool, &args->shape, &args->block));
    args->shape.count_pad = call->count_pad, args->shape.divisor = call->divisor;
    return 0;
}

aclnnStatus pool_average_plan(const struct pool_average_call *call, uint64_t *workspaceSize,
                              aclOpExecutor **executor) {
    struct args args = {0};
    HC_TRY(describe(call, &args));
    const struct hc_operand operands[] = {{call->pool.in, NULL, HC_ROLE_IN, call->pool.in_name},
                                          {call->pool.out, NULL, HC_ROLE_OUT, call->pool.out_name}};
    const struct hc_plan plan = {.name = call->pool.name,
                                 .run = run,
                                 .args = &args,
                                 .args_size = sizeof args,
                                 .operands = operands,
                                 .num_operands = 2};
    return hc_plan(&plan, workspaceSize, executor);
}

aclnnStatus pool_average_backward_plan(const struct pool_average_call *call, const aclTensor *grad_in,
                                       const char *grad_in_name, uint64_t *workspaceSize,
                                       aclOpExecutor **executor) {
    struct args args = {0};
    HC_TRY(describe(call, &args));
    HC_TRY(pool_check_gradient(&call->pool, grad_in, grad_in_name));
    const struct hc_operand operands[] = {{call->pool.out, NULL, HC_ROLE_IN, call->pool.out_name},
                                          {grad_in, NULL, HC_ROLE_OUT, grad_in_name}};
    const struct hc_plan plan = {.name = call->pool.name,
                                 .run = run_backward,
                                 .args = &args,
                                 .args_size = sizeof args,
                                 .operands = operands,
                                 .num_operands = 2};
    return hc_plan(&plan, workspaceSize, executor);
}
#endif
