// SPDX-License-Identifier: Apache-2.0
/* Quantisation with scales found from the values themselves: of each row (pertoken), of each column of the
 * last two dimensions (perchannel), or of the whole tensor (pertensor).
 *
 *     symmetric   scale = max |x| / highest                      y = round(x / scale)
 *     otherwise   scale = (max - min) / (highest - lowest)
 *                 offset = highest - max / scale                 y = round(x / scale + offset)
 *
 * x is multiplied by the smooth scales first: one for each element of a row (of the rows of its group, where
 * there are groups), or one for each row with perchannel. A row is read once; the other two modes read all of
 * x twice. */
#include "quant.h"

HC_KERNEL(quant_columns, (size_t n, const float *x, float factor, float *min, float *max))

#ifdef HC_ISA
#include "simd.h"

/* min and max become those with one row more; NaN stays. */
void HC_FN(quant_columns)(size_t n, const float *x, float factor, float *min, float *max) {
    size_t i = 0;
    for (; i + HC_VL <= n; i += HC_VL) {
        const vf v = vf_load(x + i) * vf_set(factor);
        vf_store(min + i, vf_min(vf_load(min + i), v));
        vf_store(max + i, vf_max(vf_load(max + i), v));
    }
    if (i == n) return;
    const vf v = vf_load_part(x + i, n - i) * vf_set(factor);
    vf_store_part(min + i, vf_min(vf_load_part(min + i, n - i), v), n - i);
    vf_store_part(max + i, vf_max(vf_load_part(max + i, n - i), v), n - i);
}

#else
#include <string.h>

enum mode { PER_TOKEN, PER_CHANNEL, PER_TENSOR };
static const char *const MODES[] = {"pertoken", "perchannel", "pertensor"};

/* Operands x, smooth, group index, y, scale, offset. */
enum slot { X, SMOOTH, GROUPS, Y, SCALE, OFFSET, SLOTS };

struct args {
    enum mode mode;
    bool symmetric;
    struct hc_quant_target target;
};

/* One run. scale and offset are contiguous float32; columns: of perchannel, numbers for every element of a
 * batch's row. */
struct job {
    const struct args *a;
    aclTensor x, y, scale, offset, smooth;
    const int64_t *ends; /* of the groups' rows, `groups` of them */
    size_t groups, n, rows, rows_of_batch;
    struct hc_quant_range *ranges; /* of the rows, pertensor */
    struct hc_quant_scale whole;
};

/* The smooth scales of a row, NULL without any. */
static const float *smooth_of(const struct job *j, size_t row) {
    const float *smooth = (const float *)hc_data(&j->smooth);
    if (j->smooth.base == NULL) return NULL;
    size_t low = 0, high = j->groups;
    while (low + 1 < high) { /* the first group that ends behind the row */
        const size_t middle = (low + high) / 2;
        if (j->ends[middle - 1] <= (int64_t)row) low = middle;
        else high = middle;
    }
    return smooth + low * j->n;
}

/* Number `at` of the results; scale and offset are contiguous here. */
static void put(const struct job *j, size_t at, struct hc_quant_scale s) {
    ((float *)hc_data(&j->scale))[at] = s.scale;
    if (j->offset.base != NULL) ((float *)hc_data(&j->offset))[at] = s.offset;
}

/* pertoken: everything while the row is in the cache. */
static void token_row(const void *ctx, size_t row, float *x, float *spare) {
    const struct job *j = ctx;
    struct hc_quant_range range;
    (void)spare;
    HC_DISPATCH(hc_quant_range)(j->n, x, smooth_of(j, row), &range);
    const struct hc_quant_scale s = hc_quant_scale_of(&j->a->target, range, j->a->symmetric);
    put(j, row, s);
    hc_quant_row(&j->a->target, &s, j->n, x);
    hc_quant_store(&j->a->target, hc_data(&j->y), row, j->n, x);
}

/* pertensor, the first time: the range of each row. */
static void range_row(const void *ctx, size_t row, float *x, float *spare) {
    const struct job *j = ctx;
    (void)spare;
    HC_DISPATCH(hc_quant_range)(j->n, x, smooth_of(j, row), &j->ranges[row]);
}

/* pertensor, the second time; the smooth scales multiply again, so that nothing of x is kept. */
static void tensor_row(const void *ctx, size_t row, float *x, float *spare) {
    const struct job *j = ctx;
    struct hc_quant_range range;
    (void)spare;
    HC_DISPATCH(hc_quant_range)(j->n, x, smooth_of(j, row), &range);
    hc_quant_row(&j->a->target, &j->whole, j->n, x);
    hc_quant_store(&j->a->target, hc_data(&j->y), row, j->n, x);
}

/* A row of perchannel has one smooth scale, and a scale for each element. */
static void channel_row(const void *ctx, size_t row, float *x, float *spare) {
    const struct job *j = ctx;
    const size_t first = row / j->rows_of_batch * j->n;
    const float factor =
        j->smooth.base != NULL ? ((const float *)hc_data(&j->smooth))[row % j->rows_of_batch] : 1;
    (void)spare;
    for (size_t i = 0; i < j->n; i++) x[i] *= factor;
    const struct hc_quant_affine a = {
        .scale = (const float *)hc_data(&j->scale) + first,
        .offset = j->offset.base != NULL ? (const float *)hc_data(&j->offset) + first : NULL,
        .scale_each = true,
        .offset_each = true,
        .divide = true,
        .target = j->a->target};
    HC_DISPATCH(hc_quant_affine)(j->n, x, x, &a);
    hc_quant_store(&j->a->target, hc_data(&j->y), row, j->n, x);
}

/* Columns in runs of a fixed length, whatever the number of threads. */
enum { COLUMNS = 256 };

/* Piece p: columns of a batch, all its rows. */
static void column_scales(void *ctx, size_t begin, size_t end) {
    const struct job *j = ctx;
    const size_t runs = hc_ceil_div(j->n, COLUMNS), item = (size_t)j->x.item_size;
    hc_load_fn *load = hc_load_for(j->x.dtype, HC_F32);
    float x[COLUMNS], min[COLUMNS], max[COLUMNS];
    for (size_t p = begin; p < end; p++) {
        const size_t batch = p / runs, first = p % runs * COLUMNS, n = hc_min_size(COLUMNS, j->n - first);
        for (size_t i = 0; i < n; i++) min[i] = __builtin_inff(), max[i] = -__builtin_inff();
        for (size_t r = 0; r < j->rows_of_batch; r++) {
            const size_t row = batch * j->rows_of_batch + r;
            load(n, x, hc_data(&j->x) + (row * j->n + first) * item, 1);
            HC_DISPATCH(quant_columns)
            (n, x, j->smooth.base != NULL ? ((const float *)hc_data(&j->smooth))[r] : 1, min, max);
        }
        for (size_t i = 0; i < n; i++)
            put(j, batch * j->n + first + i,
                hc_quant_scale_of(&j->a->target, (struct hc_quant_range){min[i], max[i]}, j->a->symmetric));
    }
}

/* Scales of all columns, then the rows. */
static aclnnStatus run_channels(const char *name, struct job *j) {
    j->rows_of_batch = (size_t)j->x.shape[j->x.rank - 2];
    if (j->rows == 0) return 0;
    hc_parallel_for(j->rows / j->rows_of_batch * hc_ceil_div(j->n, COLUMNS), 1, column_scales, j);
    return hc_quant_rows_run(&(const struct hc_quant_rows){name, &j->x, j->n, j->rows, channel_row, j});
}

/* Ranges of rows are joined in order: the same for any number of threads, as would be any other order. */
static aclnnStatus run_tensor(const char *name, struct job *j) {
    struct hc_quant_range all = {__builtin_inff(), -__builtin_inff()};
    j->ranges = hc_block_take_array(j->rows, sizeof *j->ranges);
    HC_CHECK(j->ranges != NULL, ACLNN_ERR_INNER, "%s: out of host memory for %zu rows", name, j->rows);
    struct hc_quant_rows rows = {name, &j->x, j->n, j->rows, range_row, j};
    aclnnStatus status = hc_quant_rows_run(&rows);
    for (size_t r = 0; r < j->rows; r++) {
        const struct hc_quant_range at = j->ranges[r];
        all.min = at.min < all.min || at.min != at.min ? at.min : all.min;
        all.max = at.max > all.max || at.max != at.max ? at.max : all.max;
    }
    hc_block_give(j->ranges);
    j->whole = hc_quant_scale_of(&j->a->target, all, j->a->symmetric);
    put(j, 0, j->whole);
    rows.row = tensor_row;
    return status != 0 ? status : hc_quant_rows_run(&rows);
}

/* With everything contiguous. */
static aclnnStatus quantise(const struct hc_call *call, struct job *j) {
    const aclTensor *index = hc_arg(call, GROUPS);
    if (j->a->mode == PER_CHANNEL) return run_channels(call->name, j);
    if (j->a->mode == PER_TENSOR) return run_tensor(call->name, j);
    const struct hc_quant_rows rows = {call->name, &j->x, j->n, j->rows, token_row, j};
    if (index == NULL) return hc_quant_rows_run(&rows);
    int64_t *ends = hc_block_take_array(hc_numel(index), sizeof *ends);
    HC_CHECK(ends != NULL, ACLNN_ERR_INNER, "%s: out of host memory for %lld groups", call->name,
             (long long)index->numel);
    aclnnStatus status =
        hc_quant_read_groups(call->name, "groupIndexOptional", index, (int64_t)j->rows, false, ends);
    j->ends = ends;
    j->groups = hc_numel(index);
    if (status == 0) status = hc_quant_rows_run(&rows);
    hc_block_give(ends);
    return status;
}

/* Inputs as contiguous copies where they are not, or lie in an output's memory; outputs likewise. */
static aclnnStatus run(const struct hc_call *call) {
    const aclTensor *x = hc_arg(call, X), *y = hc_arg(call, Y);
    struct job j = {.a = call->args, .n = hc_quant_row_length(x), .rows = hc_quant_row_count(x)};
    aclTensor *const views[SLOTS] = {&j.x, &j.smooth, NULL, &j.y, &j.scale, &j.offset};
    void *owned[SLOTS] = {NULL};
    aclnnStatus status = 0;
    for (int s = 0; s < SLOTS && status == 0; s++) {
        const aclTensor *t = hc_arg(call, s);
        if (t == NULL || s == GROUPS || (s == OFFSET && j.a->symmetric)) continue;
        if (s == X) status = hc_contiguous_apart(t, t->dtype, y, views[s], &owned[s]);
        else if (s == SMOOTH) status = hc_contiguous_apart(t, ACL_FLOAT, y, views[s], &owned[s]);
        else status = hc_contiguous_out(t, s == Y ? t->dtype : ACL_FLOAT, views[s], &owned[s]);
    }
    if (status == 0) status = quantise(call, &j);
    for (int s = Y; s < SLOTS && status == 0; s++) {
        if (owned[s] != NULL) status = hc_copy(hc_arg(call, s), views[s]);
    }
    for (int s = 0; s < SLOTS; s++) hc_block_give(owned[s]);
    return status;
}

/* ---- phase one ---- */

/* What the versions have in common. */
struct request {
    const char *name, *mode;
    const aclTensor *x, *smooth, *groups, *y, *scale, *offset;
    int64_t dst_type;
    float max; /* in place of the type's largest value; 0: that one */
    bool symmetric;
};

/* By its word. */
static aclnnStatus find_mode(const struct request *r, enum mode *mode) {
    for (size_t i = 0; i < HC_ARRAY_SIZE(MODES); i++) {
        if (strcmp(r->mode, MODES[i]) != 0) continue;
        *mode = (enum mode)i;
        return 0;
    }
    return hc_fail(ACLNN_ERR_PARAM_INVALID,
                   "%s: quantMode is '%.32s', wanted pertoken, perchannel or pertensor", r->name, r->mode);
}

/* The smooth scales' last dimension is a row's, or counts rows with perchannel; groups have a row of them
 * each. */
static aclnnStatus check_smooth(const struct request *r, enum mode mode) {
    const aclTensor *smooth = r->smooth, *x = r->x;
    if (smooth == NULL) {
        HC_CHECK(r->groups == NULL, ACLNN_ERR_PARAM_INVALID,
                 "%s: groupIndexOptional is given without smoothScalesOptional", r->name);
        return 0;
    }
    HC_TRY(hc_quant_check_float(r->name, "smoothScalesOptional", smooth));
    const int64_t wanted = x->shape[mode == PER_CHANNEL ? x->rank - 2 : x->rank - 1];
    if (r->groups == NULL) {
        HC_CHECK(smooth->numel == wanted && smooth->rank == 1, ACLNN_ERR_PARAM_INVALID,
                 "%s: smoothScalesOptional is %s, wanted %lld elements in one dimension for x %s", r->name,
                 HC_SHOW(smooth), (long long)wanted, HC_SHOW(x));
        return 0;
    }
    HC_CHECK(mode == PER_TOKEN, ACLNN_ERR_PARAM_INVALID,
             "%s: groupIndexOptional is given with quantMode %s, wanted pertoken", r->name, MODES[mode]);
    HC_CHECK(hc_dtype_class(r->groups->dtype) == HC_CLASS_INT && r->groups->rank == 1 && r->groups->numel > 0,
             ACLNN_ERR_PARAM_INVALID, "%s: groupIndexOptional is %s, wanted int32 of one dimension", r->name,
             HC_SHOW(r->groups));
    HC_CHECK(smooth->rank == 2 && smooth->shape[0] == r->groups->numel && smooth->shape[1] == wanted,
             ACLNN_ERR_PARAM_INVALID, "%s: smoothScalesOptional is %s, wanted [%lld,%lld] for %lld groups",
             r->name, HC_SHOW(smooth), (long long)r->groups->numel, (long long)wanted,
             (long long)r->groups->numel);
    return 0;
}

/* One number for each row, column or tensor: by count, as clients leave or keep the dimension of size 1. */
static aclnnStatus check_result(const struct request *r, const char *arg, const aclTensor *t,
                                enum mode mode) {
    const aclTensor *x = r->x;
    int64_t wanted = 1;
    for (int32_t d = 0; d < x->rank && mode != PER_TENSOR; d++)
        wanted *= d == x->rank - (mode == PER_CHANNEL ? 2 : 1) ? 1 : x->shape[d];
    HC_TRY(hc_quant_check_float(r->name, arg, t));
    HC_CHECK(t->numel == wanted, ACLNN_ERR_PARAM_INVALID, "%s: %s is %s, wanted %lld elements for x %s, %s",
             r->name, arg, HC_SHOW(t), (long long)wanted, HC_SHOW(x), MODES[mode]);
    return 0;
}

/* Phase one of all versions. */
static aclnnStatus plan(const struct request *r, uint64_t *workspaceSize, aclOpExecutor **executor) {
    struct args args = {.symmetric = r->symmetric};
    HC_TRY(hc_quant_check_float(r->name, "x", r->x));
    HC_CHECK(r->x->rank >= 1, ACLNN_ERR_PARAM_INVALID, "%s: x is %s, wanted a dimension at least", r->name,
             HC_SHOW(r->x));
    HC_CHECK(r->x->numel > 0 || (r->scale != NULL && r->scale->numel == 0), ACLNN_ERR_PARAM_INVALID,
             "%s: x is %s, wanted elements: there is no largest of none", r->name, HC_SHOW(r->x));
    HC_CHECK(r->mode != NULL, ACLNN_ERR_PARAM_NULLPTR, "%s: quantMode is null", r->name);
    HC_TRY(find_mode(r, &args.mode));
    HC_CHECK(args.mode != PER_CHANNEL || r->x->rank >= 2, ACLNN_ERR_PARAM_INVALID,
             "%s: x is %s, wanted two dimensions at least with perchannel", r->name, HC_SHOW(r->x));
    HC_TRY(hc_quant_check_target(r->name, r->x, "yOut", r->y, r->dst_type, &args.target));
    if (r->max > 0) args.target.low = -r->max, args.target.high = r->max;
    HC_TRY(check_smooth(r, args.mode));
    HC_TRY(check_result(r, "scaleOut", r->scale, args.mode));
    if (!r->symmetric) HC_TRY(check_result(r, "offsetOut", r->offset, args.mode));
    const aclTensor *const x = r->x, *const smoothScalesOptional = r->smooth,
                           *const groupIndexOptional = r->groups, *const yOut = r->y,
                           *const scaleOut = r->scale, *const offsetOut = r->symmetric ? NULL : r->offset;
    return HC_PLAN(r->name, run, &args, HC_IN(x), HC_IN_OPT(smoothScalesOptional),
                   HC_IN_OPT(groupIndexOptional), HC_OUT(yOut), HC_OUT(scaleOut), HC_OUT_OPT(offsetOut));
}

/* torch_npu.npu_dynamic_quant takes the newest version that knows what is asked. */
HC_API aclnnStatus aclnnDynamicQuantGetWorkspaceSize(const aclTensor *x,
                                                     const aclTensor *smoothScalesOptional,
                                                     const aclTensor *yOut, const aclTensor *scaleOut,
                                                     uint64_t *workspaceSize, aclOpExecutor **executor) {
    const struct request r = {.name = "aclnnDynamicQuant",
                              .mode = MODES[PER_TOKEN],
                              .x = x,
                              .smooth = smoothScalesOptional,
                              .y = yOut,
                              .scale = scaleOut,
                              .dst_type = -1,
                              .symmetric = true};
    return plan(&r, workspaceSize, executor);
}
HC_OP_LAUNCH(aclnnDynamicQuant)

/* Symmetric where there is no place for offsets. */
HC_API aclnnStatus aclnnDynamicQuantV2GetWorkspaceSize(const aclTensor *x,
                                                       const aclTensor *smoothScalesOptional,
                                                       const aclTensor *groupIndexOptional, int64_t dstType,
                                                       const aclTensor *yOut, const aclTensor *scaleOut,
                                                       const aclTensor *offsetOut, uint64_t *workspaceSize,
                                                       aclOpExecutor **executor) {
    const struct request r = {.name = "aclnnDynamicQuantV2",
                              .mode = MODES[PER_TOKEN],
                              .x = x,
                              .smooth = smoothScalesOptional,
                              .groups = groupIndexOptional,
                              .y = yOut,
                              .scale = scaleOut,
                              .offset = offsetOut,
                              .dst_type = dstType,
                              .symmetric = offsetOut == NULL};
    return plan(&r, workspaceSize, executor);
}
HC_OP_LAUNCH(aclnnDynamicQuantV2)

/* With the modes, and a word for symmetry of its own. */
HC_API aclnnStatus aclnnDynamicQuantV3GetWorkspaceSize(const aclTensor *x,
                                                       const aclTensor *smoothScalesOptional,
                                                       const aclTensor *groupIndexOptional, int64_t dstType,
                                                       bool isSymmetrical, const char *quantMode,
                                                       const aclTensor *yOut, const aclTensor *scaleOut,
                                                       const aclTensor *offsetOut, uint64_t *workspaceSize,
                                                       aclOpExecutor **executor) {
    const struct request r = {.name = "aclnnDynamicQuantV3",
                              .mode = quantMode,
                              .x = x,
                              .smooth = smoothScalesOptional,
                              .groups = groupIndexOptional,
                              .y = yOut,
                              .scale = scaleOut,
                              .offset = offsetOut,
                              .dst_type = dstType,
                              .symmetric = isSymmetrical};
    return plan(&r, workspaceSize, executor);
}
HC_OP_LAUNCH(aclnnDynamicQuantV3)

/* dstTypeMax takes the place of the largest value of hifloat8, whose precision is highest near 1. */
HC_API aclnnStatus aclnnDynamicQuantV4GetWorkspaceSize(const aclTensor *x,
                                                       const aclTensor *smoothScalesOptional,
                                                       const aclTensor *groupIndexOptional, int64_t dstType,
                                                       bool isSymmetrical, const char *quantMode,
                                                       float dstTypeMax, const aclTensor *yOut,
                                                       const aclTensor *scaleOut, const aclTensor *offsetOut,
                                                       uint64_t *workspaceSize, aclOpExecutor **executor) {
    static const char *const NAME = "aclnnDynamicQuantV4";
    const bool chosen = yOut != NULL && yOut->dtype == ACL_HIFLOAT8 && dstTypeMax > 0 && dstTypeMax <= 32768;
    HC_CHECK(dstTypeMax == 0 || chosen, ACLNN_ERR_PARAM_INVALID,
             "%s: dstTypeMax is %g, wanted 0, or up to 32768 with hifloat8", NAME, (double)dstTypeMax);
    const struct request r = {.name = NAME,
                              .mode = quantMode,
                              .x = x,
                              .smooth = smoothScalesOptional,
                              .groups = groupIndexOptional,
                              .y = yOut,
                              .scale = scaleOut,
                              .offset = offsetOut,
                              .dst_type = dstType,
                              .max = dstTypeMax,
                              .symmetric = isSymmetrical};
    return plan(&r, workspaceSize, executor);
}
HC_OP_LAUNCH(aclnnDynamicQuantV4)
#endif
