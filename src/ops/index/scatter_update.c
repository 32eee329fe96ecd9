// SPDX-License-Identifier: Apache-2.0
/* Writes into a cache of keys or values: for each batch b, data[b, .., indices[b] + j, ..] = updates[b,
 * .., j, ..] along axis. Two-column indices name the batch, too: (batch, first).
 *
 * Every update is a block of data, so each is one strided copy. There are as many as sequences in a
 * batch: few and large, which is why the loop over them is plain and each copy uses all threads.
 *
 * QuantScatter quantises the updates on the way, along their last dimension: round(update / scale + zero
 * point). They lie quantised in memory of ours before anything is written. */
#include <string.h>

#include "index_load.h"
#include "quant.h"
#include "slice.h"

enum slot { DATA, INDICES, UPDATES, SCALES, ZEROS };

/* axis is not negative, and not the batch's. The rest counts where updates are quantised. */
struct args {
    int64_t axis;
    bool quantised, scale_each, zero_each;
    struct hc_quant_target target;
};

/* Rows of updates, everything contiguous. */
struct job {
    const struct args *a;
    const float *scale, *zero; /* zero NULL: none */
    char *y;
    size_t n;
};

static aclnnStatus check_range(const char *name, size_t position, const char *what, int64_t first,
                               int64_t length, int64_t bound) {
    HC_CHECK(hc_range_inside(first, length, bound), ACLNN_ERR_PARAM_INVALID,
             "%s: index %lld at position [%zu] of indices is out of range: %s, wanted 0 to %lld", name,
             (long long)first, position, what, (long long)(bound - length));
    return 0;
}

/* Two passes over a copy of the indices, so that nothing is written where one is out of range. */
static aclnnStatus update(const struct hc_call *call, const int64_t *index, bool pairs,
                          const aclTensor *updates, bool write) {
    const struct args *a = call->args;
    const aclTensor *data = hc_arg(call, DATA);
    for (int64_t i = 0; i < updates->shape[0]; i++) {
        const int64_t batch = pairs ? index[2 * i] : i, first = index[pairs ? 2 * i + 1 : i];
        const int64_t length = updates->shape[a->axis];
        HC_TRY(check_range(call->name, (size_t)i, "batch", batch, 1, data->shape[0]));
        HC_TRY(check_range(call->name, (size_t)i, "along axis", first, length, data->shape[a->axis]));
        const aclTensor row = hc_slice_view(data, 0, batch, 1),
                        to = hc_slice_view(&row, a->axis, first, length),
                        from = hc_slice_view(updates, 0, i, 1);
        if (write) HC_TRY(hc_copy(&to, &from));
    }
    return 0;
}

/* As the quantising operators do it: of floats of a byte the store rounds. */
static void quantise_row(const void *ctx, size_t row, float *x, float *spare) {
    const struct job *j = ctx;
    const struct hc_quant_affine by = {.scale = j->scale,
                                       .offset = j->zero,
                                       .scale_each = j->a->scale_each,
                                       .offset_each = j->a->zero_each,
                                       .divide = true,
                                       .target = j->a->target};
    (void)spare;
    HC_DISPATCH(hc_quant_affine)(j->n, x, x, &by);
    hc_quant_store(&j->a->target, j->y, row, j->n, x);
}

/* The updates in data's type, in memory that the caller gives back. */
static aclnnStatus quantise(const struct hc_call *call, aclTensor *quantised, void **owned) {
    const aclTensor *given = hc_arg(call, UPDATES), *zeros = hc_arg(call, ZEROS);
    aclTensor updates, scale, zero = {0};
    void *own_updates = NULL, *own_scale = NULL, *own_zero = NULL;
    *owned = hc_block_take_array(hc_numel(given), 1);
    HC_CHECK(*owned != NULL, ACLNN_ERR_INNER, "%s: out of host memory for updates %s", call->name,
             HC_SHOW(given));
    *quantised = hc_tensor_view(hc_arg(call, DATA)->dtype, given->shape, given->rank, *owned);
    aclnnStatus status = hc_contiguous(given, given->dtype, &updates, &own_updates);
    if (status == 0) status = hc_contiguous(hc_arg(call, SCALES), ACL_FLOAT, &scale, &own_scale);
    if (status == 0 && zeros != NULL) status = hc_contiguous(zeros, ACL_FLOAT, &zero, &own_zero);
    if (status == 0) {
        const struct job j = {call->args, (const float *)hc_data(&scale),
                              zeros != NULL ? (const float *)hc_data(&zero) : NULL, *owned,
                              hc_quant_row_length(&updates)};
        status = hc_quant_rows_run(&(const struct hc_quant_rows){
            call->name, &updates, j.n, hc_quant_row_count(&updates), quantise_row, &j});
    }
    hc_block_give(own_updates);
    hc_block_give(own_scale);
    hc_block_give(own_zero);
    return status;
}

/* Indices are few; they are read once, as int64 whatever their type. */
static aclnnStatus run(const struct hc_call *call) {
    const struct args *a = call->args;
    const aclTensor *indices = hc_arg(call, INDICES);
    aclTensor updates = *hc_arg(call, UPDATES);
    void *owned = NULL;
    int64_t *index = hc_block_take_array(hc_numel(indices), sizeof *index);
    HC_CHECK(index != NULL, ACLNN_ERR_INNER, "%s: out of host memory for indices %s", call->name,
             HC_SHOW(indices));
    const aclTensor own = hc_tensor_view(ACL_INT64, indices->shape, indices->rank, index);
    aclnnStatus status = hc_copy(&own, indices);
    if (status == 0) status = update(call, index, indices->rank == 2, &updates, false);
    if (status == 0 && a->quantised) status = quantise(call, &updates, &owned);
    if (status == 0) status = update(call, index, indices->rank == 2, &updates, true);
    hc_block_give(index);
    hc_block_give(owned);
    return status;
}

/* What all versions want of the three operands, by their names. */
static aclnnStatus check(const char *name, const char *data_name, const aclTensor *data,
                         const aclTensor *indices, const aclTensor *updates, int64_t axis,
                         struct args *args) {
    HC_CHECK(data && indices && updates, ACLNN_ERR_PARAM_NULLPTR, "%s: %s is null", name,
             !data     ? data_name
             : indices ? "updates"
                       : "indices");
    HC_TRY(hc_index_check_dtype(name, "indices", indices));
    args->axis = hc_wrap_dim(axis, data->rank);
    HC_CHECK(args->axis > 0, ACLNN_ERR_PARAM_INVALID,
             "%s: axis is %lld, %s is %s: wanted a dimension after the first", name, (long long)axis,
             data_name, HC_SHOW(data));
    bool fits = data->rank == updates->rank && (args->quantised || data->dtype == updates->dtype);
    for (int32_t d = 1; fits && d < data->rank; d++)
        fits = d == args->axis || data->shape[d] == updates->shape[d];
    HC_CHECK(fits, ACLNN_ERR_PARAM_INVALID, "%s: updates is %s, %s is %s (axis %lld)", name, HC_SHOW(updates),
             data_name, HC_SHOW(data), (long long)axis);
    HC_CHECK(indices->numel == updates->shape[0] * (indices->rank == 2 ? 2 : 1) && indices->rank >= 1 &&
                 indices->rank <= 2,
             ACLNN_ERR_PARAM_INVALID, "%s: indices is %s, updates is %s", name, HC_SHOW(indices),
             HC_SHOW(updates));
    return 0;
}

/* Where two updates overlap, the later one wins. What the updates do not cover keeps its bits. */
HC_API aclnnStatus aclnnInplaceScatterUpdateGetWorkspaceSize(aclTensor *data, const aclTensor *indices,
                                                             const aclTensor *updates, int64_t axis,
                                                             uint64_t *workspaceSize,
                                                             aclOpExecutor **executor) {
    static const char *const NAME = "aclnnInplaceScatterUpdate";
    struct args args = {.quantised = false};
    HC_TRY(check(NAME, "data", data, indices, updates, axis, &args));
    return HC_PLAN(NAME, run, &args, HC_INOUT(data), HC_IN(indices), HC_IN(updates));
}
HC_OP_LAUNCH(aclnnInplaceScatterUpdate)

/* One number for all of a row of updates, or one for each. */
static aclnnStatus check_numbers(const char *name, const char *arg, const aclTensor *t,
                                 const aclTensor *updates, bool *each) {
    const int64_t n = updates->shape[updates->rank - 1];
    HC_CHECK(hc_fits_f32(t->dtype) || t->dtype == ACL_INT32, ACLNN_ERR_PARAM_INVALID,
             "%s: %s is %s, wanted floating point or int32", name, arg, HC_SHOW(t));
    HC_CHECK(t->numel == n || t->numel == 1, ACLNN_ERR_PARAM_INVALID,
             "%s: %s is %s, wanted 1 or %lld elements: those of the last dimension of updates %s", name, arg,
             HC_SHOW(t), (long long)n, HC_SHOW(updates));
    *each = t->numel == n;
    return 0;
}

/* Both versions; each type is rounded in one way, and the word must be that one. */
static aclnnStatus plan_quantised(const char *name, aclTensor *selfRef, const aclTensor *indices,
                                  const aclTensor *updates, const aclTensor *quantScales,
                                  const aclTensor *quantZeroPoints, int64_t axis, int64_t quant_axis,
                                  int64_t reduction, const char *round_mode, uint64_t *workspaceSize,
                                  aclOpExecutor **executor) {
    struct args args = {.quantised = true};
    HC_TRY(check(name, "selfRef", selfRef, indices, updates, axis, &args));
    HC_TRY(hc_quant_check_float(name, "updates", updates));
    HC_TRY(hc_quant_check_float(name, "quantScales", quantScales));
    const aclTensor quantised = hc_tensor_view(selfRef->dtype, updates->shape, updates->rank, NULL);
    HC_TRY(hc_quant_check_target(name, updates, "selfRef", &quantised, -1, &args.target));
    HC_CHECK(hc_wrap_dim(quant_axis, updates->rank) == updates->rank - 1, ACLNN_ERR_PARAM_INVALID,
             "%s: quantAxis is %lld, wanted the last dimension of updates %s", name, (long long)quant_axis,
             HC_SHOW(updates));
    HC_CHECK(reduction == 1, ACLNN_ERR_PARAM_INVALID, "%s: reduction is %lld, wanted 1 (update)", name,
             (long long)reduction);
    const char *const word = args.target.kind == HC_QUANT_HIF8 ? "round" : "rint";
    HC_CHECK(round_mode == NULL || strcmp(round_mode, word) == 0, ACLNN_ERR_PARAM_INVALID,
             "%s: roundMode is '%.32s', wanted %s for selfRef %s", name, round_mode, word, HC_SHOW(selfRef));
    HC_TRY(check_numbers(name, "quantScales", quantScales, updates, &args.scale_each));
    if (quantZeroPoints != NULL)
        HC_TRY(check_numbers(name, "quantZeroPoints", quantZeroPoints, updates, &args.zero_each));
    return HC_PLAN(name, run, &args, HC_INOUT(selfRef), HC_IN(indices), HC_IN(updates), HC_IN(quantScales),
                   HC_IN_OPT(quantZeroPoints));
}

/* torch_npu.npu_quant_scatter, to int8. */
HC_API aclnnStatus aclnnInplaceQuantScatterGetWorkspaceSize(
    aclTensor *selfRef, const aclTensor *indices, const aclTensor *updates, const aclTensor *quantScales,
    const aclTensor *quantZeroPoints, int64_t axis, int64_t quantAxis, int64_t reduction,
    uint64_t *workspaceSize, aclOpExecutor **executor) {
    return plan_quantised("aclnnInplaceQuantScatter", selfRef, indices, updates, quantScales, quantZeroPoints,
                          axis, quantAxis, reduction, NULL, workspaceSize, executor);
}
HC_OP_LAUNCH(aclnnInplaceQuantScatter)

/* The same on Ascend950, to floats of a byte too. */
HC_API aclnnStatus aclnnInplaceQuantScatterV2GetWorkspaceSize(
    aclTensor *selfRef, const aclTensor *indices, const aclTensor *updates, const aclTensor *quantScales,
    const aclTensor *quantZeroPoints, int64_t axis, int64_t quantAxis, int64_t reduction,
    const char *roundMode, uint64_t *workspaceSize, aclOpExecutor **executor) {
    static const char *const NAME = "aclnnInplaceQuantScatterV2";
    HC_CHECK(roundMode != NULL, ACLNN_ERR_PARAM_NULLPTR, "%s: roundMode is null", NAME);
    return plan_quantised(NAME, selfRef, indices, updates, quantScales, quantZeroPoints, axis, quantAxis,
                          reduction, roundMode, workspaceSize, executor);
}
HC_OP_LAUNCH(aclnnInplaceQuantScatterV2)
