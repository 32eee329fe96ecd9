// SPDX-License-Identifier: Apache-2.0
/* y = round(x * scale[e] + offset) of the rows of group e: each group of rows has a row of scales, and all
 * have one offset. Groups are given by their ends, in order, the last that of all rows. */
#include "quant.h"

struct args {
    struct hc_quant_target target;
    bool scale_each; /* of a row of x; else one number a group */
};

enum slot { X, SCALE, INDEX, OFFSET, Y, SLOTS };

/* One run, everything contiguous. */
struct job {
    const struct args *a;
    const float *scale, *offset;
    const int64_t *ends;
    char *y;
    size_t n;
};

/* Groups are few: a row looks for its own. */
static void quantise_row(const void *ctx, size_t row, float *x, float *spare) {
    const struct job *j = ctx;
    size_t group = 0;
    (void)spare;
    while (j->ends[group] <= (int64_t)row) group++;
    const struct hc_quant_affine affine = {.scale = j->scale + group * (j->a->scale_each ? j->n : 1),
                                           .offset = j->offset,
                                           .scale_each = j->a->scale_each,
                                           .target = j->a->target};
    HC_DISPATCH(hc_quant_affine)(j->n, x, x, &affine);
    hc_quant_store(&j->a->target, j->y, row, j->n, x);
}

static aclnnStatus run_rows(const struct hc_call *call, const aclTensor *views, int64_t *ends) {
    const aclTensor *x = &views[X], *offset = &views[OFFSET];
    const size_t rows = hc_quant_row_count(x);
    HC_TRY(hc_quant_read_groups(call->name, "groupIndex", hc_arg(call, INDEX), (int64_t)rows, false, ends));
    const struct job j = {call->args,
                          (const float *)hc_data(&views[SCALE]),
                          hc_arg(call, OFFSET) != NULL ? (const float *)hc_data(offset) : NULL,
                          ends,
                          hc_data(&views[Y]),
                          hc_quant_row_length(x)};
    return hc_quant_rows_run(&(const struct hc_quant_rows){call->name, x, j.n, rows, quantise_row, &j});
}

/* Copies of what is not contiguous, or lies in the memory of y. */
static aclnnStatus run(const struct hc_call *call) {
    const aclTensor *y = hc_arg(call, Y);
    aclTensor views[SLOTS];
    void *owned[SLOTS] = {NULL};
    aclnnStatus status = 0;
    for (int s = 0; s < Y && status == 0; s++) {
        const aclTensor *t = hc_arg(call, s);
        if (t == NULL || s == INDEX) continue;
        status = hc_contiguous_apart(t, s == X ? t->dtype : ACL_FLOAT, y, &views[s], &owned[s]);
    }
    if (status == 0) status = hc_contiguous_out(y, y->dtype, &views[Y], &owned[Y]);
    int64_t *ends = hc_block_take_array(hc_numel(hc_arg(call, INDEX)), sizeof *ends);
    if (status == 0 && ends == NULL)
        status = hc_fail(ACLNN_ERR_INNER, "%s: out of host memory for the ends of groups", call->name);
    if (status == 0) status = run_rows(call, views, ends);
    if (status == 0 && owned[Y] != NULL) status = hc_copy(y, &views[Y]);
    for (int s = 0; s < SLOTS; s++) hc_block_give(owned[s]);
    hc_block_give(ends);
    return status;
}

HC_API aclnnStatus aclnnGroupQuantGetWorkspaceSize(const aclTensor *x, const aclTensor *scale,
                                                   const aclTensor *groupIndex,
                                                   const aclTensor *offsetOptional, int32_t dstType,
                                                   aclTensor *y, uint64_t *workspaceSize,
                                                   aclOpExecutor **executor) {
    static const char *const NAME = "aclnnGroupQuant";
    struct args args = {0};
    HC_TRY(hc_quant_check_float(NAME, "x", x));
    HC_TRY(hc_quant_check_float(NAME, "scale", scale));
    HC_CHECK(groupIndex && y, ACLNN_ERR_PARAM_NULLPTR, "%s: groupIndex or y is null", NAME);
    HC_CHECK(x->rank == 2 && scale->rank == 2 && (scale->shape[1] == x->shape[1] || scale->shape[1] == 1) &&
                 groupIndex->rank == 1 && groupIndex->shape[0] == scale->shape[0],
             ACLNN_ERR_PARAM_INVALID,
             "%s: x is %s, scale %s, groupIndex %s: want rows, a row of scales for each group, and its ends",
             NAME, HC_SHOW(x), HC_SHOW(scale), HC_SHOW(groupIndex));
    if (offsetOptional != NULL) HC_TRY(hc_quant_check_float(NAME, "offsetOptional", offsetOptional));
    HC_CHECK(offsetOptional == NULL || offsetOptional->numel == 1, ACLNN_ERR_PARAM_INVALID,
             "%s: offsetOptional is %s, want one element", NAME, HC_SHOW(offsetOptional));
    HC_TRY(hc_quant_check_target(NAME, x, "y", y, dstType, &args.target));
    args.scale_each = scale->shape[1] == x->shape[1];
    return HC_PLAN(NAME, run, &args, HC_IN(x), HC_IN(scale), HC_IN(groupIndex), HC_IN_OPT(offsetOptional),
                   HC_OUT(y));
}
HC_OP_LAUNCH(aclnnGroupQuant)
