// SPDX-License-Identifier: Apache-2.0
/* Quantisation to floats of a byte with the scale of a tensor, or of a group of its first dimension, which
 * also tells the largest magnitude, from which the next step's scale is made (delayed scaling):
 *
 *     y = round(x / scale[g])        amax[g] = max |x|        of group g
 *
 * One pass over x. amax is that of x as it is given, NaN if x has one, and 0 of no elements.
 *
 * The largest magnitude of each row is kept apart until all are known: folding them in the order of rows
 * makes the result the same for any number of threads.
 */
#include <string.h>

#include "quant.h"

enum slot { X, SCALE, GROUPS, Y, AMAX };

/* Of one call. */
struct args {
    struct hc_quant_target target;
};

/* One run, everything contiguous. Groups are of `inner` rows for each index of the first dimension. */
struct job {
    const struct args *a;
    const float *scale;
    const int64_t *ends; /* NULL: all is one group */
    size_t inner, n;
    char *y;
    float *largest; /* of each row */
};

/* Groups are few: a row looks for its own. */
static size_t group_of(const struct job *j, size_t row) {
    size_t group = 0;
    while (j->ends != NULL && j->ends[group] <= (int64_t)(row / j->inner)) group++;
    return group;
}

/* The largest of x first: the quotients take its place. */
static void quantise_row(const void *ctx, size_t row, float *x, float *spare) {
    const struct job *j = ctx;
    struct hc_quant_range range;
    (void)spare;
    HC_DISPATCH(hc_quant_range)(j->n, x, NULL, &range);
    j->largest[row] = -range.min > range.max ? -range.min : range.max;
    const struct hc_quant_affine affine = {.scale = j->scale + group_of(j, row),
                                           .divide = true,
                                           .rounding = HC_QUANT_KEEP,
                                           .target = j->a->target};
    HC_DISPATCH(hc_quant_affine)(j->n, x, x, &affine);
    hc_quant_store(&j->a->target, j->y, row, j->n, x);
}

/* Of all rows of a group; one that is no number stays. */
static void fold_groups(const struct job *j, size_t rows, size_t groups, float *amax) {
    memset(amax, 0, groups * sizeof *amax);
    for (size_t row = 0, g = 0; row < rows; row++) {
        while (j->ends != NULL && j->ends[g] <= (int64_t)(row / j->inner)) g++;
        if (!(j->largest[row] <= amax[g]) && !__builtin_isnan(amax[g])) amax[g] = j->largest[row];
    }
}

/* Rows of `largest` hold amax behind them. */
static aclnnStatus run_rows(const struct hc_call *call, struct job *j, const aclTensor *x, int64_t *ends) {
    const aclTensor *groups = hc_arg(call, GROUPS), *out = hc_arg(call, AMAX);
    const size_t rows = hc_quant_row_count(x), count = groups != NULL ? hc_numel(groups) : 1;
    if (groups != NULL)
        HC_TRY(hc_quant_read_groups(call->name, "groupList", groups, x->shape[0], false, ends));
    j->largest = hc_block_take_array(rows + count, sizeof *j->largest);
    HC_CHECK(j->largest != NULL, ACLNN_ERR_INNER, "%s: out of host memory for %zu rows", call->name, rows);
    aclnnStatus status =
        hc_quant_rows_run(&(const struct hc_quant_rows){call->name, x, j->n, rows, quantise_row, j});
    if (status == 0) {
        fold_groups(j, rows, count, j->largest + rows);
        const aclTensor amax =
            hc_tensor_view(ACL_FLOAT, (const int64_t[]){(int64_t)count}, 1, j->largest + rows);
        status = hc_copy(out, &amax);
    }
    hc_block_give(j->largest);
    return status;
}

/* Copies of what is not contiguous, or lies in the memory of y. */
static aclnnStatus run(const struct hc_call *call) {
    const aclTensor *given = hc_arg(call, X), *given_y = hc_arg(call, Y), *groups = hc_arg(call, GROUPS);
    aclTensor x, scale, y;
    void *own_x = NULL, *own_scale = NULL, *own_y = NULL;
    int64_t *ends = groups != NULL ? hc_block_take_array(hc_numel(groups), sizeof *ends) : NULL;
    aclnnStatus status = hc_contiguous_apart(given, given->dtype, given_y, &x, &own_x);
    if (status == 0)
        status = hc_contiguous_apart(hc_arg(call, SCALE), ACL_FLOAT, given_y, &scale, &own_scale);
    if (status == 0) status = hc_contiguous_out(given_y, given_y->dtype, &y, &own_y);
    if (status == 0 && groups != NULL && ends == NULL)
        status = hc_fail(ACLNN_ERR_INNER, "%s: out of host memory for the ends of groups", call->name);
    if (status == 0) {
        struct job j = {.a = call->args,
                        .scale = (const float *)hc_data(&scale),
                        .ends = ends,
                        .inner = 1,
                        .n = hc_quant_row_length(&x),
                        .y = hc_data(&y)};
        for (int32_t d = 1; d < x.rank - 1; d++) j.inner *= (size_t)x.shape[d];
        status = run_rows(call, &j, &x, ends);
    }
    if (status == 0 && own_y != NULL) status = hc_copy(given_y, &y);
    hc_block_give(own_x);
    hc_block_give(own_scale);
    hc_block_give(own_y);
    hc_block_give(ends);
    return status;
}

/* ---- phase one ---- */

/* fp8 is rounded to the nearest of two, hifloat8 halves away from zero: each has one word. */
static aclnnStatus check_rounding(const char *name, const char *mode, const aclTensor *y) {
    HC_CHECK(mode != NULL, ACLNN_ERR_PARAM_NULLPTR, "%s: roundMode is null", name);
    const char *const wanted = y->dtype == ACL_HIFLOAT8 ? "round" : "rint";
    HC_CHECK(strcmp(mode, wanted) == 0, ACLNN_ERR_PARAM_INVALID,
             "%s: roundMode is '%.32s', wanted %s for y %s", name, mode, wanted, HC_SHOW(y));
    return 0;
}

/* Phase one of both: `groups` is 1 without a list. */
static aclnnStatus plan(const char *name, const aclTensor *x, const aclTensor *scale,
                        const aclTensor *groupList, int64_t groups, const char *mode, int64_t dst_type,
                        const aclTensor *y, const aclTensor *amax, uint64_t *workspaceSize,
                        aclOpExecutor **executor) {
    struct args args;
    HC_TRY(hc_quant_check_float(name, "x", x));
    HC_TRY(hc_quant_check_float(name, "scale", scale));
    HC_CHECK(amax != NULL, ACLNN_ERR_PARAM_NULLPTR, "%s: amax is null", name);
    HC_CHECK(scale->numel == groups, ACLNN_ERR_PARAM_INVALID, "%s: scale is %s, wanted %lld elements", name,
             HC_SHOW(scale), (long long)groups);
    HC_TRY(hc_quant_check_target(name, x, "y", y, dst_type, &args.target));
    HC_CHECK(hc_quant_is_float(&args.target), ACLNN_ERR_PARAM_INVALID,
             "%s: y is %s, wanted float8_e4m3fn, float8_e5m2 or hifloat8", name, HC_SHOW(y));
    HC_TRY(check_rounding(name, mode, y));
    HC_CHECK(hc_fits_f32(amax->dtype) && amax->numel == groups, ACLNN_ERR_PARAM_INVALID,
             "%s: amax is %s, wanted %lld elements of %s", name, HC_SHOW(amax), (long long)groups,
             hc_dtype_name(x->dtype));
    return HC_PLAN(name, run, &args, HC_IN(x), HC_IN(scale), HC_IN_OPT(groupList), HC_OUT(y), HC_OUT(amax));
}

/* torch_npu.npu_quant_max. */
HC_API aclnnStatus aclnnQuantMaxGetWorkspaceSize(const aclTensor *x, const aclTensor *scale, char *roundMode,
                                                 int64_t dstType, const aclTensor *y, const aclTensor *amax,
                                                 uint64_t *workspaceSize, aclOpExecutor **executor) {
    return plan("aclnnQuantMax", x, scale, NULL, 1, roundMode, dstType, y, amax, workspaceSize, executor);
}
HC_OP_LAUNCH(aclnnQuantMax)

/* With groups of the first dimension, by their ends. */
HC_API aclnnStatus aclnnGroupedQuantMaxGetWorkspaceSize(const aclTensor *x, const aclTensor *scale,
                                                        const aclTensor *groupList, const char *roundMode,
                                                        int64_t dstType, const aclTensor *y,
                                                        const aclTensor *amax, uint64_t *workspaceSize,
                                                        aclOpExecutor **executor) {
    static const char *const NAME = "aclnnGroupedQuantMax";
    HC_CHECK(groupList != NULL, ACLNN_ERR_PARAM_NULLPTR, "%s: groupList is null", NAME);
    HC_CHECK(groupList->rank == 1 && groupList->numel > 0 && hc_dtype_class(groupList->dtype) == HC_CLASS_INT,
             ACLNN_ERR_PARAM_INVALID, "%s: groupList is %s, wanted int64 of one dimension", NAME,
             HC_SHOW(groupList));
    HC_CHECK(x == NULL || x->rank >= 2, ACLNN_ERR_PARAM_INVALID,
             "%s: x is %s, wanted two dimensions at least", NAME, HC_SHOW(x));
    return plan(NAME, x, scale, groupList, groupList->numel, roundMode, dstType, y, amax, workspaceSize,
                executor);
}
HC_OP_LAUNCH(aclnnGroupedQuantMax)
