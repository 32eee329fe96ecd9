// SPDX-License-Identifier: Apache-2.0
/* See mc2.h. Scales, bias and x3 are applied to float32 sums while a row of the product is in the cache, and
 * the result is rounded once. int8 operands have exact sums, a bias of int32 in them, which become float32
 * then. */
#include "mc2.h"

#include <string.h>

#include "antiquant.h"
#include "dequant.h"
#include "gemm_i8.h"
#include "quant.h"

/* Words of the interface for how ranks talk to each other; here there is one way. */
static const char *const COMM_MODES[] = {"", "ai_cpu", "aiv", "ccu"};

static aclnnStatus check_options(const struct hc_mc2 *op) {
    HC_CHECK(op->reduce_op == NULL || strcmp(op->reduce_op, "sum") == 0, ACLNN_ERR_PARAM_INVALID,
             "%s: reduceOp is '%.32s', wanted sum", op->name, op->reduce_op);
    HC_CHECK(op->comm_turn == 0, ACLNN_ERR_PARAM_INVALID, "%s: commTurn is %lld, wanted 0", op->name,
             (long long)op->comm_turn);
    HC_CHECK(op->stream_mode == 1, ACLNN_ERR_PARAM_INVALID,
             "%s: streamMode is %lld, wanted 1: a stream stops at its first error", op->name,
             (long long)op->stream_mode);
    return 0;
}

aclnnStatus hc_mc2_check_mode(const char *name, const char *comm_mode) {
    if (comm_mode == NULL) return 0;
    for (size_t i = 0; i < HC_ARRAY_SIZE(COMM_MODES); i++)
        if (strcmp(comm_mode, COMM_MODES[i]) == 0) return 0;
    return hc_fail(ACLNN_ERR_PARAM_INVALID, "%s: commMode is '%.32s', wanted ai_cpu, aiv or ccu", name,
                   comm_mode);
}

aclnnStatus hc_mc2_join(const char *name, const char *group_name, struct hc_mc2_args *args) {
    struct hc_group group;
    if (hc_group_find(name, group_name, &group) != 0) return ACLNN_ERR_PARAM_INVALID; /* its text is set */
    args->rank = group.rank;
    args->num_ranks = group.num_ranks;
    args->beside = group.beside != NULL;
    strncpy(args->group, group_name, sizeof args->group - 1); /* found: so it is not longer */
    return 0;
}

static aclnnStatus check_types(const struct hc_mc2 *op) {
    HC_CHECK(hc_fits_f32(op->out->dtype), ACLNN_ERR_PARAM_INVALID,
             "%s: output is %s, wanted float16, bfloat16 or float32", op->name, HC_SHOW(op->out));
    const bool weights = op->weight_scale != NULL;
    HC_CHECK(!weights || op->x2->dtype == ACL_INT8, ACLNN_ERR_PARAM_INVALID,
             "%s: x2 is %s, wanted int8 with antiquantScale", op->name, HC_SHOW(op->x2));
    HC_CHECK(weights || op->x1->dtype == op->x2->dtype, ACLNN_ERR_PARAM_INVALID,
             "%s: x1 is %s and x2 %s, wanted one type", op->name, HC_SHOW(op->x1), HC_SHOW(op->x2));
    if (op->scale != NULL) {
        HC_CHECK(op->x1->dtype == ACL_INT8, ACLNN_ERR_PARAM_INVALID, "%s: x1 is %s, wanted int8 with a scale",
                 op->name, HC_SHOW(op->x1));
        return 0;
    }
    HC_CHECK(op->x1->dtype == op->out->dtype, ACLNN_ERR_PARAM_INVALID,
             "%s: x1 is %s and output %s, wanted one type of float16, bfloat16 and float32", op->name,
             HC_SHOW(op->x1), HC_SHOW(op->out));
    return 0;
}

static aclnnStatus check_shapes(const struct hc_mc2 *op, struct hc_mc2_args *args) {
    HC_CHECK(op->x1->rank >= 2, ACLNN_ERR_PARAM_INVALID, "%s: x1 is %s, wanted 2 dimensions or more",
             op->name, HC_SHOW(op->x1));
    HC_CHECK(op->x2->rank == 2, ACLNN_ERR_PARAM_INVALID, "%s: x2 is %s, wanted 2 dimensions", op->name,
             HC_SHOW(op->x2));
    const int64_t k = op->x1->shape[op->x1->rank - 1];
    HC_CHECK(k == op->x2->shape[0], ACLNN_ERR_PARAM_INVALID,
             "%s: x1 %s and x2 %s cannot be multiplied: %lld columns, %lld rows", op->name, HC_SHOW(op->x1),
             HC_SHOW(op->x2), (long long)k, (long long)op->x2->shape[0]);
    int64_t rows;
    hc_shape_numel(op->x1->shape, op->x1->rank - 1, &rows);
    args->m = (size_t)rows;
    args->n = (size_t)op->x2->shape[1];
    args->k = (size_t)k;
    HC_CHECK(hc_is_contiguous(op->out), ACLNN_ERR_PARAM_INVALID, "%s: output %s is not contiguous", op->name,
             HC_SHOW(op->out));
    return 0;
}

/* A vector of so many numbers, or of one where `one` is allowed; dimensions of size 1 may come before. */
static aclnnStatus check_vector(const struct hc_mc2 *op, const aclTensor *t, const char *name, size_t count,
                                bool one) {
    if (t == NULL) return 0;
    const bool fits = hc_numel(t) == count || (one && hc_numel(t) == 1);
    HC_CHECK(fits && (t->rank == 1 || (t->rank == 2 && t->shape[0] == 1)), ACLNN_ERR_PARAM_INVALID,
             "%s: %s is %s, wanted %zu elements", op->name, name, HC_SHOW(t), count);
    const bool packed = t == op->scale && (t->dtype == ACL_UINT64 || t->dtype == ACL_INT64);
    const bool whole = t == op->bias && t->dtype == ACL_INT32 && op->scale != NULL;
    HC_CHECK(hc_fits_f32(t->dtype) || packed || whole, ACLNN_ERR_PARAM_INVALID,
             "%s: %s is %s, wanted float32, float16 or bfloat16%s", op->name, name, HC_SHOW(t),
             t == op->scale                       ? ", or what aclnnTransQuantParam makes"
             : t == op->bias && op->scale != NULL ? ", or int32"
                                                  : "");
    return 0;
}

/* One number, one for each column, or one of each for every group of rows. */
static aclnnStatus check_weights(const struct hc_mc2 *op, struct hc_mc2_args *args) {
    const aclTensor *scale = op->weight_scale, *offset = op->weight_offset;
    HC_CHECK(offset == NULL || scale != NULL, ACLNN_ERR_PARAM_INVALID,
             "%s: antiquantOffset is given, antiquantScale is null", op->name);
    HC_CHECK(op->group_rows >= 0 && (scale != NULL || op->group_rows == 0), ACLNN_ERR_PARAM_INVALID,
             "%s: antiquantGroupSize is %lld, wanted 0, or more with antiquantScale", op->name,
             (long long)op->group_rows);
    if (scale == NULL) return 0;
    const size_t groups = op->group_rows > 0 ? hc_ceil_div(args->k, (size_t)op->group_rows) : 1;
    const bool each = scale->rank > 0 && (size_t)scale->shape[scale->rank - 1] == args->n &&
                      hc_numel(scale) == hc_mul_saturated(groups, args->n);
    HC_CHECK(hc_fits_f32(scale->dtype) && (each || (hc_numel(scale) == 1 && op->group_rows == 0)),
             ACLNN_ERR_PARAM_INVALID,
             "%s: antiquantScale is %s, wanted floating point [1] or [%zu,%zu] with antiquantGroupSize %lld",
             op->name, HC_SHOW(scale), groups, args->n, (long long)op->group_rows);
    HC_CHECK(offset == NULL || (hc_fits_f32(offset->dtype) && hc_same_shape(offset, scale)),
             ACLNN_ERR_PARAM_INVALID,
             "%s: antiquantOffset is %s, wanted floating point of the shape of antiquantScale %s", op->name,
             HC_SHOW(offset), HC_SHOW(scale));
    args->group_rows = (size_t)op->group_rows;
    return 0;
}

static aclnnStatus check_summands(const struct hc_mc2 *op, const struct hc_mc2_args *args) {
    HC_TRY(check_vector(op, op->bias, "bias", args->n, false));
    HC_TRY(check_vector(op, op->scale, "dequantScale", args->n, true));
    HC_TRY(check_vector(op, op->row_scale, "pertokenScale", args->m, false));
    HC_CHECK(op->x3 == NULL || (op->x3->dtype == op->out->dtype && hc_same_shape(op->x3, op->out)),
             ACLNN_ERR_PARAM_INVALID, "%s: x3 is %s, wanted %s as output", op->name, HC_SHOW(op->x3),
             HC_SHOW(op->out));
    return 0;
}

aclnnStatus hc_mc2_describe(const struct hc_mc2 *op, struct hc_mc2_args *args) {
    HC_CHECK(op->x1 && op->x2 && op->out, ACLNN_ERR_PARAM_NULLPTR, "%s: x1, x2 or output is null", op->name);
    *args = (struct hc_mc2_args){.num_ranks = 0};
    HC_TRY(check_options(op));
    HC_TRY(hc_mc2_check_mode(op->name, op->comm_mode));
    HC_TRY(check_types(op));
    HC_TRY(check_shapes(op, args));
    HC_TRY(check_summands(op, args));
    HC_TRY(check_weights(op, args));
    return hc_mc2_join(op->name, op->group, args);
}

aclnnStatus hc_mc2_no_scales(const char *name, const aclTensor *x1_scale, const aclTensor *x2_scale,
                             const aclTensor *quant_scale, const aclTensor *amax, int64_t block_size,
                             int64_t group_size) {
    HC_CHECK(x1_scale == NULL && x2_scale == NULL && quant_scale == NULL, ACLNN_ERR_PARAM_INVALID,
             "%s: scales are given, but quantised operands are not supported here; convert them first", name);
    HC_CHECK(amax == NULL || hc_numel(amax) == 0, ACLNN_ERR_PARAM_INVALID,
             "%s: amaxOut is %s, wanted none: nothing is quantised", name, HC_SHOW(amax));
    HC_CHECK(block_size == 0 && group_size == 0, ACLNN_ERR_PARAM_INVALID,
             "%s: blockSize is %lld and groupSize %lld, wanted 0 without scales", name, (long long)block_size,
             (long long)group_size);
    return 0;
}

aclnnStatus hc_mc2_plan(const struct hc_mc2 *op, const struct hc_mc2_args *args, hc_launch_fn launch,
                        size_t workspace, uint64_t *workspaceSize, aclOpExecutor **executor) {
    const struct hc_operand operands[] = {
        [HC_MC2_X1] = {op->x1, NULL, HC_ROLE_IN, "x1"},
        [HC_MC2_X2] = {op->x2, NULL, HC_ROLE_IN, "x2"},
        [HC_MC2_BIAS] = {op->bias, NULL, HC_ROLE_IN | HC_ROLE_OPTIONAL, "bias"},
        [HC_MC2_X3] = {op->x3, NULL, HC_ROLE_IN | HC_ROLE_OPTIONAL, "x3"},
        [HC_MC2_SCALE] = {op->scale, NULL, HC_ROLE_IN | HC_ROLE_OPTIONAL, "dequantScale"},
        [HC_MC2_ROW_SCALE] = {op->row_scale, NULL, HC_ROLE_IN | HC_ROLE_OPTIONAL, "pertokenScale"},
        [HC_MC2_OUT] = {op->out, NULL, HC_ROLE_OUT, "output"},
        [HC_MC2_GATHERED] = {op->gathered, NULL, HC_ROLE_OUT | HC_ROLE_OPTIONAL, "gatherOut"},
        [HC_MC2_SENT_SCALE] = {op->sent_scale, NULL, HC_ROLE_IN | HC_ROLE_OPTIONAL, "commQuantScale1"},
        [HC_MC2_SUM_SCALE] = {op->sum_scale, NULL, HC_ROLE_IN | HC_ROLE_OPTIONAL, "commQuantScale2"},
        [HC_MC2_WEIGHT_SCALE] = {op->weight_scale, NULL, HC_ROLE_IN | HC_ROLE_OPTIONAL, "antiquantScale"},
        [HC_MC2_WEIGHT_OFFSET] = {op->weight_offset, NULL, HC_ROLE_IN | HC_ROLE_OPTIONAL, "antiquantOffset"},
    };
    const struct hc_plan plan = {.name = op->name,
                                 .args = args,
                                 .args_size = sizeof *args,
                                 .operands = operands,
                                 .num_operands = HC_ARRAY_SIZE(operands),
                                 .workspace = workspace};
    return hc_plan_steps(&plan, launch, workspaceSize, executor);
}

aclnnStatus hc_mc2_group(const struct hc_call *call, struct hc_group *group) {
    const struct hc_mc2_args *args = call->args;
    if (hc_group_find(call->name, args->group, group) != 0)
        return ACLNN_ERR_PARAM_INVALID; /* its text is set */
    const bool same = group->num_ranks == args->num_ranks && group->rank == args->rank &&
                      (group->beside != NULL) == args->beside;
    HC_CHECK(same, ACLNN_ERR_PARAM_INVALID,
             "%s: group '%s' is another one than when the operator was planned: rank %u of %u, was %u of %u",
             call->name, args->group, group->rank, group->num_ranks, args->rank, args->num_ranks);
    return 0;
}

aclnnStatus hc_mc2_collective(int code) { return code == 0 ? 0 : ACLNN_ERR_INNER; }

uint64_t hc_mc2_flops(const struct hc_mc2_args *args, size_t rows) {
    return 2 * (uint64_t)rows * args->n * args->k;
}

/* What the end of a product needs, as float32. A scale of one element has a stride of 0. */
struct ending {
    const float *bias, *scale, *row_scale, *x3;
    const int32_t *whole_bias;        /* of int8 operands, in place of bias */
    size_t scale_stride, cols, first; /* row of the operand that is row 0 of this product */
    char *out;                        /* of int8 operands: the first row's memory */
    aclDataType dtype;
    const float *sent_scale; /* not NULL: `out` is int8, of what is divided by it */
};

static void finish(void *ctx, size_t batch, size_t row, size_t col, size_t n, float *x) {
    const struct ending *end = ctx;
    (void)batch;
    row += end->first;
    if (end->bias != NULL)
        for (size_t i = 0; i < n; i++) x[i] += end->bias[col + i];
    if (end->scale != NULL)
        for (size_t i = 0; i < n; i++) x[i] *= end->scale[(col + i) * end->scale_stride];
    if (end->row_scale != NULL)
        for (size_t i = 0; i < n; i++) x[i] *= end->row_scale[row];
    if (end->x3 != NULL)
        for (size_t i = 0; i < n; i++) x[i] += end->x3[row * end->cols + col + i];
}

/* A run of a row of int8 operands' sums. */
static void finish_whole(const void *ctx, size_t row, size_t col, size_t n, const int32_t *sums) {
    const struct ending *end = ctx;
    float y[HC_GEMM_I8_RUN];
    for (size_t i = 0; i < n; i++) {
        const uint32_t bias = end->whole_bias != NULL ? (uint32_t)end->whole_bias[col + i] : 0;
        y[i] = (float)(int32_t)((uint32_t)sums[i] + bias);
    }
    finish((void *)end, 0, row, col, n, y);
    if (end->sent_scale != NULL) {
        const struct hc_quant_affine by = {.scale = end->sent_scale + col,
                                           .scale_each = true,
                                           .divide = true,
                                           .target = hc_quant_target_of(HC_QUANT_I8)};
        HC_DISPATCH(hc_quant_affine)(n, y, y, &by);
    }
    const aclDataType dtype = end->sent_scale != NULL ? ACL_INT8 : end->dtype;
    char *out = end->out + (row * end->cols + col) * hc_dtype_size(dtype);
    hc_store_for(dtype, HC_F32)(n, out, 1, y);
}

/* Operands as the product wants them, and the copies that this took. */
struct product {
    struct hc_gemm gemm;
    struct ending end;
    void *owned[10];
    size_t num_owned;
};

/* A copy that a failure leaves behind is given back with the others (multiply). */
static aclnnStatus convert(struct product *p, const aclTensor *t, aclDataType dtype, aclTensor *view) {
    return hc_contiguous(t, dtype, view, &p->owned[p->num_owned++]);
}

/* An operand of the end of the product as float32; one that was not given leaves *data as it is, NULL. */
static aclnnStatus numbers(struct product *p, const aclTensor *t, const float **data) {
    aclTensor view;
    if (t == NULL) return 0;
    HC_TRY(convert(p, t, ACL_FLOAT, &view));
    *data = (const float *)hc_data(&view);
    return 0;
}

/* Where it lies, if it is a matrix; rows over several dimensions that are none are copied. */
static aclnnStatus operand(struct product *p, const aclTensor *t, struct hc_gemm_matrix *m) {
    aclTensor view = *t;
    if (t->rank != 2) HC_TRY(convert(p, t, t->dtype, &view));
    *m = (struct hc_gemm_matrix){.data = hc_data(&view), .dtype = t->dtype};
    m->row = view.rank == 2 ? view.stride[0] : view.shape[view.rank - 1];
    m->col = view.rank == 2 ? view.stride[1] : 1;
    return 0;
}

/* x2 of int8 as float32: its own numbers are rounded once, and no product reads them as 16 bits. */
struct weights {
    const int8_t *from;
    float *to;
    const float *scale, *offset;
    size_t n, group_rows; /* 0: one group */
    bool each;
};

static void open_rows(void *ctx, size_t begin, size_t end) {
    const struct weights *w = ctx;
    for (size_t row = begin; row < end; row++) {
        const size_t at = w->each && w->group_rows > 0 ? row / w->group_rows * w->n : 0;
        HC_DISPATCH(hc_antiquant)(w->n, w->to + row * w->n, w->from + row * w->n, w->scale + at,
                                  w->offset + at, w->each, w->each);
    }
}

static aclnnStatus open_weights(struct product *p, const struct hc_call *call, struct hc_gemm_matrix *m) {
    const struct hc_mc2_args *args = call->args;
    const aclTensor *x2 = hc_arg(call, HC_MC2_X2), *scale = hc_arg(call, HC_MC2_WEIGHT_SCALE);
    struct weights w = {.n = args->n, .group_rows = args->group_rows, .each = hc_numel(scale) > 1};
    aclTensor view;
    HC_TRY(convert(p, x2, ACL_INT8, &view));
    w.from = (const int8_t *)hc_data(&view);
    HC_TRY(numbers(p, scale, &w.scale));
    HC_TRY(numbers(p, hc_arg(call, HC_MC2_WEIGHT_OFFSET), &w.offset));
    float *memory = hc_block_take_zeroed(args->k * args->n + hc_numel(scale), sizeof *memory);
    p->owned[p->num_owned++] = memory;
    HC_CHECK(memory != NULL, ACLNN_ERR_INNER, "%s: out of host memory for the floats of x2 %s", call->name,
             HC_SHOW(x2));
    w.to = memory;
    if (w.offset == NULL) w.offset = memory + args->k * args->n; /* zeros */
    hc_parallel_for(args->k, 1 + 16384 / hc_max_size(args->n, 1), open_rows, &w);
    *m = (struct hc_gemm_matrix){.data = memory, .dtype = ACL_FLOAT, .row = (int64_t)args->n, .col = 1};
    return 0;
}

/* Rows of the operand, from the first on. */
static aclnnStatus own_rows(struct product *p, const aclTensor *x1, size_t first, struct hc_gemm_matrix *m) {
    HC_TRY(operand(p, x1, m));
    m->data = (char *)m->data + (int64_t)first * m->row * (int64_t)hc_dtype_size(m->dtype);
    p->end.first = first;
    return 0;
}

/* What is added and multiplied at the end. Packed scales carry an offset, which counts for int8 results only.
 */
static aclnnStatus set_ending(struct product *p, const struct hc_call *call) {
    const aclTensor *bias = hc_arg(call, HC_MC2_BIAS), *scale = hc_arg(call, HC_MC2_SCALE);
    aclTensor view;
    if (bias != NULL && bias->dtype == ACL_INT32) {
        HC_TRY(convert(p, bias, ACL_INT32, &view));
        p->end.whole_bias = (const int32_t *)(const void *)hc_data(&view);
    } else {
        HC_TRY(numbers(p, bias, &p->end.bias));
    }
    if (scale != NULL) {
        struct hc_dequant by = {.factor = 1};
        HC_TRY(hc_dequant_scale(scale, NULL, p->end.dtype, &by, &p->owned[p->num_owned++]));
        p->end.scale = by.scale;
        p->end.scale_stride = by.scale_each;
    }
    HC_TRY(numbers(p, hc_arg(call, HC_MC2_ROW_SCALE), &p->end.row_scale));
    return numbers(p, hc_arg(call, HC_MC2_X3), &p->end.x3);
}

/* Strides count elements, which are bytes. */
static aclnnStatus multiply_whole(const struct product *p) {
    const struct hc_gemm *g = &p->gemm;
    return hc_gemm_i8(&(const struct hc_gemm_i8){.m = g->m,
                                                 .n = g->n,
                                                 .k = g->k,
                                                 .a = g->a.data,
                                                 .b = g->b.data,
                                                 .a_row = g->a.row,
                                                 .a_col = g->a.col,
                                                 .b_row = g->b.row,
                                                 .b_col = g->b.col,
                                                 .finish = finish_whole,
                                                 .ctx = &p->end});
}

/* The product of rows of the operand, or of rows that another rank sent. The epilogue is set only where there
 * is something to add or to scale: without one the tiles are stored as they are. */
static aclnnStatus compute(struct product *p, const struct hc_call *call, void *x1, struct hc_mc2_rows rows,
                           void *out) {
    const struct hc_mc2_args *args = call->args;
    const aclTensor *a = hc_arg(call, HC_MC2_X1);
    struct hc_gemm *g = &p->gemm;
    *g = (struct hc_gemm){
        .m = rows.rows, .n = args->n, .k = args->k, .alpha = HC_GEMM_REAL(1), .beta = HC_GEMM_REAL(1)};
    if (x1 != NULL)
        g->a = (struct hc_gemm_matrix){.data = x1, .dtype = a->dtype, .row = (int64_t)args->k, .col = 1};
    else HC_TRY(own_rows(p, a, rows.first, &g->a));
    if (hc_arg(call, HC_MC2_WEIGHT_SCALE) != NULL) HC_TRY(open_weights(p, call, &g->b));
    else HC_TRY(operand(p, hc_arg(call, HC_MC2_X2), &g->b));
    p->end.cols = args->n;
    p->end.out = out, p->end.dtype = hc_arg(call, HC_MC2_OUT)->dtype;
    HC_TRY(set_ending(p, call));
    if (a->dtype == ACL_INT8) return multiply_whole(p);
    if (p->end.bias != NULL || p->end.scale != NULL || p->end.x3 != NULL)
        g->epilogue = finish, g->epilogue_ctx = &p->end;
    g->out = (struct hc_gemm_matrix){.data = out, .dtype = p->end.dtype, .row = (int64_t)args->n, .col = 1};
    return hc_gemm(g);
}

static aclnnStatus multiply(const struct hc_call *call, void *x1, struct hc_mc2_rows rows, void *out) {
    struct product p = {.num_owned = 0};
    const aclnnStatus status = compute(&p, call, x1, rows, out);
    for (size_t i = 0; i < p.num_owned; i++) hc_block_give(p.owned[i]);
    return status;
}

aclnnStatus hc_mc2_multiply_int8(const struct hc_call *call, void *out) {
    const struct hc_mc2_args *args = call->args;
    struct product p = {.num_owned = 0};
    aclnnStatus status = numbers(&p, hc_arg(call, HC_MC2_SENT_SCALE), &p.end.sent_scale);
    if (status == 0) status = compute(&p, call, NULL, (struct hc_mc2_rows){0, args->m}, out);
    for (size_t i = 0; i < p.num_owned; i++) hc_block_give(p.owned[i]);
    return status;
}

aclnnStatus hc_mc2_multiply(const struct hc_call *call, struct hc_mc2_rows rows, void *out) {
    return multiply(call, NULL, rows, out);
}

aclnnStatus hc_mc2_multiply_rows(const struct hc_call *call, void *x1, size_t rows, void *out) {
    return multiply(call, x1, (struct hc_mc2_rows){0, rows}, out);
}
