// SPDX-License-Identifier: Apache-2.0
/* y[g] += x[first_g : end_g]^T @ weight[first_g : end_g]: the gradient of each expert's weights, added to
 * what y has. Products are added up in float32 and y is rounded once, so a float32 y of bfloat16 operands
 * loses nothing. The same groups as in grouped_matmul.c, with x transposed where it lies. */
#include "grouped.h"
#include "temporary.h"

enum { BY_STEPS = 2 };

/* Which of the matrices lie transposed. */
struct args {
    bool transpose_x, transpose_weight, counts;
};

static aclTensor as_stored(const aclTensor *t, bool transposed) {
    return transposed ? hc_transpose_view(t, 0, 1) : *t;
}

/* x, weight are views of [M, K] and [K, N]. */
static struct hc_grouped groups_of(const char *name, const aclTensor *x, const aclTensor *weight,
                                   const aclTensor *y, const aclTensor *list) {
    return (struct hc_grouped){.name = name,
                               .x = {NULL, x, 1},
                               .weight = {NULL, weight, 1},
                               .y = {NULL, y, 1},
                               .weight_name = "weight",
                               .y_name = "yRef",
                               .groups = hc_numel(list),
                               .by_steps = true,
                               .accumulates = true,
                               .listed = true};
}

/* Operands x, weight, groupList, yRef. */
static aclnnStatus run(const struct hc_call *call) {
    const struct args *a = call->args;
    const aclTensor x = as_stored(hc_arg(call, 0), a->transpose_x),
                    weight = as_stored(hc_arg(call, 1), a->transpose_weight), *list = hc_arg(call, 2);
    const struct hc_grouped g = groups_of(call->name, &x, &weight, hc_arg(call, 3), list);
    int64_t *first = hc_block_take_array(2 * g.groups + 1, sizeof *first);
    HC_CHECK(first != NULL, ACLNN_ERR_INNER, "%s: out of host memory for %zu groups", call->name, g.groups);
    int64_t *own = first + g.groups + 1;
    const aclTensor copy = hc_tensor_view(ACL_INT64, list->shape, 1, own);
    aclnnStatus status = hc_copy(&copy, list);
    if (status == 0) status = hc_grouped_read(&g, own, a->counts, first);
    if (status == 0) status = hc_grouped_run(&g, first);
    hc_block_give(first);
    return status;
}

static aclnnStatus plan(const char *name, const aclTensor *x, const aclTensor *weight,
                        const aclTensor *groupList, const aclTensor *yRef, int64_t group_type,
                        int64_t list_type, struct args *args, uint64_t *workspaceSize,
                        aclOpExecutor **executor) {
    HC_CHECK(x && weight && groupList && yRef, ACLNN_ERR_PARAM_NULLPTR, "%s: %s is null", name,
             !x           ? "x"
             : !weight    ? "weight"
             : !groupList ? "groupList"
                          : "yRef");
    HC_CHECK(group_type == BY_STEPS, ACLNN_ERR_PARAM_INVALID, "%s: groupType is %lld, wanted 2", name,
             (long long)group_type);
    HC_CHECK(list_type == 0 || list_type == 1, ACLNN_ERR_PARAM_INVALID,
             "%s: groupListType is %lld, wanted 0 (ends of groups) or 1 (lengths)", name,
             (long long)list_type);
    HC_CHECK(groupList->rank == 1 && hc_dtype_class(groupList->dtype) == HC_CLASS_INT,
             ACLNN_ERR_PARAM_INVALID, "%s: groupList is %s, wanted int64 of one dimension", name,
             HC_SHOW(groupList));
    HC_CHECK(x->rank == 2 && weight->rank == 2, ACLNN_ERR_PARAM_INVALID,
             "%s: x is %s, weight %s, wanted two dimensions", name, HC_SHOW(x), HC_SHOW(weight));
    HC_CHECK(hc_dtype_is_float(x->dtype) && hc_dtype_is_float(weight->dtype) &&
                 hc_dtype_is_float(yRef->dtype),
             ACLNN_ERR_PARAM_INVALID,
             "%s: x is %s, weight %s, yRef %s, wanted floating point: quantised products are not supported",
             name, HC_SHOW(x), HC_SHOW(weight), HC_SHOW(yRef));
    const aclTensor stored_x = as_stored(x, args->transpose_x),
                    stored_weight = as_stored(weight, args->transpose_weight);
    const struct hc_grouped g = groups_of(name, &stored_x, &stored_weight, yRef, groupList);
    HC_TRY(hc_grouped_check(&g));
    args->counts = list_type == 1;
    const struct hc_operand operands[] = {HC_IN(x), HC_IN(weight), HC_IN(groupList), HC_INOUT(yRef)};
    const struct hc_plan p = {.name = name,
                              .run = run,
                              .args = args,
                              .args_size = sizeof *args,
                              .operands = operands,
                              .num_operands = HC_ARRAY_SIZE(operands),
                              .flops = hc_grouped_flops(&g)};
    return hc_plan(&p, workspaceSize, executor);
}

/* The group list has ends of groups; only the second version can be told that it has lengths. */
HC_API aclnnStatus aclnnGroupedMatmulAddGetWorkspaceSize(const aclTensor *x, const aclTensor *weight,
                                                         const aclTensor *groupList, aclTensor *yRef,
                                                         bool transposeX, bool transposeWeight,
                                                         int64_t groupType, uint64_t *workspaceSize,
                                                         aclOpExecutor **executor) {
    struct args args = {transposeX, transposeWeight, false};
    return plan("aclnnGroupedMatmulAdd", x, weight, groupList, yRef, groupType, 0, &args, workspaceSize,
                executor);
}
HC_OP_LAUNCH(aclnnGroupedMatmulAdd)

HC_API aclnnStatus aclnnGroupedMatmulAddV2GetWorkspaceSize(const aclTensor *x, const aclTensor *weight,
                                                           const aclTensor *groupList, aclTensor *yRef,
                                                           bool transposeX, bool transposeWeight,
                                                           int64_t groupType, int64_t groupListType,
                                                           uint64_t *workspaceSize,
                                                           aclOpExecutor **executor) {
    struct args args = {transposeX, transposeWeight, false};
    return plan("aclnnGroupedMatmulAddV2", x, weight, groupList, yRef, groupType, groupListType, &args,
                workspaceSize, executor);
}
HC_OP_LAUNCH(aclnnGroupedMatmulAddV2)
