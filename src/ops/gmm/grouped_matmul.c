// SPDX-License-Identifier: Apache-2.0
/* Grouped matrix products with a list of integers (the first version) or a tensor (the fourth and fifth) that
 * says which rows belong to which group: see grouped.h. In floating point, or with weights of int8 or int4
 * and scales (grouped_quant.h); activations of results are refused by name. */
#include <string.h>

#include "grouped_narrow.h"
#include "grouped_quant.h"
#include "temporary.h"

/* `values`: of a group list that came as integers, num_values of them. */
struct args {
    bool by_steps, listed, counts, pairs; /* pairs: the list is of numbers of groups and their lengths */
    size_t groups, num_values;
    aclDataType x_dtype, weight_dtype; /* fp4 are bytes in the plan */
    int64_t values[];
};

enum { BY_ROWS = 0, BY_STEPS = 2, NO_GROUPS = -1 };
/* groupListType: ends, lengths, or numbers of groups with their lengths. */
enum { COUNTS = 1, PAIRS = 2 };

/* What the versions have in common, by the names of the interface. */
struct request {
    const char *name, *y_name;
    const aclTensorList *x, *weight, *biasOptional, *y;
    const aclTensorList *scale, *offset, *antiquant, *shift, *rows; /* of quantised products */
    const aclIntArray *integers;
    const aclTensor *groupListOptional;
    int64_t split_item, group_type, list_type;
};

static struct hc_grouped_list from_list(const aclTensorList *list) {
    return (struct hc_grouped_list){list != NULL ? (const aclTensor *const *)list->data : NULL, NULL,
                                    list != NULL ? list->size : 0};
}

static struct hc_grouped_list from_call(const struct hc_call *call, int slot) {
    return (struct hc_grouped_list){NULL, hc_arg(call, slot), hc_arg_count(call, slot)};
}

/* Lengths of all groups from pairs (number, length), of which those of length 0 say nothing: groups are in
 * order, as what sorts tokens by their experts leaves them. */
static aclnnStatus read_pairs(const struct hc_call *call, const struct hc_grouped *g, int64_t *lengths) {
    const int64_t n = (int64_t)g->groups;
    int64_t *pairs = hc_block_take_array(2 * g->groups + 1, sizeof *pairs), next = 0;
    HC_CHECK(pairs != NULL, ACLNN_ERR_INNER, "%s: out of host memory for %zu groups", call->name, g->groups);
    const aclTensor copy = hc_tensor_view(ACL_INT64, (const int64_t[]){n, 2}, 2, pairs);
    aclnnStatus status = hc_copy(&copy, hc_arg(call, 3));
    memset(lengths, 0, g->groups * sizeof *lengths);
    for (int64_t i = 0; i < n && status == 0; i++) {
        const int64_t group = pairs[2 * i], length = pairs[2 * i + 1];
        if (length == 0) continue;
        if (group < next || group >= n)
            status = hc_fail(ACLNN_ERR_PARAM_INVALID,
                             "%s: groupList[%lld] is of group %lld, wanted %lld to %lld: groups in order",
                             call->name, (long long)i, (long long)group, (long long)next, (long long)n - 1);
        else lengths[group] = length, next = group + 1;
    }
    hc_block_give(pairs);
    return status;
}

/* The list as the caller's memory has it now, into ours. */
static aclnnStatus read_list(const struct hc_call *call, const struct hc_grouped *g, int64_t *first) {
    const struct args *a = call->args;
    if (a->num_values > 0) return hc_grouped_read(g, a->values, a->counts, first);
    const int64_t n = (int64_t)a->groups;
    int64_t *own = first + n + 1;
    if (a->pairs) {
        HC_TRY(read_pairs(call, g, own));
        return hc_grouped_read(g, own, true, first);
    }
    const aclTensor copy = hc_tensor_view(ACL_INT64, &n, 1, own);
    HC_TRY(hc_copy(&copy, hc_arg(call, 3)));
    return hc_grouped_read(g, own, a->counts, first);
}

/* Whether weights are fp8 or hifloat8, in phase two. */
static bool is_narrow(const struct hc_grouped *g) { return hc_is_narrow(g->weight.flat->dtype); }

/* Operands x, weight, biasOptional, groupListOptional, y, and the scales of quantised products. */
static aclnnStatus run(const struct hc_call *call) {
    const struct args *a = call->args;
    struct hc_grouped g = {.name = call->name,
                           .x = from_call(call, 0),
                           .weight = from_call(call, 1),
                           .bias = from_call(call, 2),
                           .y = from_call(call, 4),
                           .scale = from_call(call, 5),
                           .offset = from_call(call, 6),
                           .antiquant = from_call(call, 7),
                           .shift = from_call(call, 8),
                           .rows = from_call(call, 9),
                           .weight_name = "weight",
                           .groups = a->groups,
                           .by_steps = a->by_steps,
                           .listed = a->listed};
    int64_t *first = hc_block_take_array(2 * a->groups + 1, sizeof *first);
    HC_CHECK(first != NULL, ACLNN_ERR_INNER, "%s: out of host memory for %zu groups", call->name, a->groups);
    void *owned[2] = {NULL};
    aclnnStatus status = hc_grouped_fp4_open(call->name, a->x_dtype, &g.x, &owned[0]);
    if (status == 0) status = hc_grouped_fp4_open(call->name, a->weight_dtype, &g.weight, &owned[1]);
    if (status == 0 && a->listed) status = read_list(call, &g, first);
    else if (status == 0) hc_grouped_lengths(&g, first);
    if (status == 0) status = is_narrow(&g) ? hc_grouped_narrow_run(&g, first) : hc_grouped_run(&g, first);
    hc_block_give(first);
    hc_block_give(owned[0]);
    hc_block_give(owned[1]);
    return status;
}

/* How many groups there are: as many as the list has entries, or else as there are tensors. */
static aclnnStatus count_groups(const struct request *r, struct hc_grouped *g) {
    const aclTensor *list = r->groupListOptional, *weight = g->weight.at[0];
    HC_CHECK(weight != NULL, ACLNN_ERR_PARAM_NULLPTR, "%s: weight[0] is null", r->name);
    if (r->integers != NULL && r->integers->size > 0) {
        g->groups = r->integers->size;
        g->listed = true;
    } else if (list != NULL && list->numel > 0) {
        const bool pairs = r->list_type == PAIRS && list->rank == 2 && list->shape[1] == 2;
        HC_CHECK((pairs || (r->list_type != PAIRS && list->rank == 1)) &&
                     hc_dtype_class(list->dtype) == HC_CLASS_INT,
                 ACLNN_ERR_PARAM_INVALID, "%s: groupListOptional is %s, wanted int64 of %s", r->name,
                 HC_SHOW(list), r->list_type == PAIRS ? "pairs [groups,2]" : "one dimension");
        g->groups = (size_t)list->shape[0];
        g->listed = true;
    } else {
        g->groups = hc_max_size(g->x.n, g->weight.n);
        if (g->groups == 1 && !g->by_steps && weight->rank == 3) g->groups = (size_t)weight->shape[0];
    }
    return 0;
}

/* Numbers that choose, and the number of outputs that follows from them. */
static aclnnStatus check_choices(const struct request *r, const struct hc_grouped *g) {
    HC_CHECK(r->split_item >= 0 && r->split_item <= 3, ACLNN_ERR_PARAM_INVALID,
             "%s: splitItem is %lld, wanted 0 to 3", r->name, (long long)r->split_item);
    HC_CHECK(r->group_type == NO_GROUPS || r->group_type == BY_ROWS || r->group_type == BY_STEPS,
             ACLNN_ERR_PARAM_INVALID, "%s: groupType is %lld, wanted -1, 0 (rows) or 2 (columns of x)",
             r->name, (long long)r->group_type);
    HC_CHECK(
        r->list_type >= 0 && r->list_type <= PAIRS, ACLNN_ERR_PARAM_INVALID,
        "%s: groupListType is %lld, wanted 0 (ends of groups), 1 (lengths) or 2 (pairs of number and length)",
        r->name, (long long)r->list_type);
    HC_CHECK(r->list_type != PAIRS || r->group_type == BY_ROWS, ACLNN_ERR_PARAM_INVALID,
             "%s: groupListType is 2 with groupType %lld, wanted 0 (rows)", r->name,
             (long long)r->group_type);
    const size_t wanted = r->split_item >= 2 ? 1 : g->groups;
    HC_CHECK(g->y.n == wanted, ACLNN_ERR_PARAM_INVALID,
             "%s: %s has %zu tensors, wanted %zu for %zu groups and splitItem %lld", r->name, r->y_name,
             g->y.n, wanted, g->groups, (long long)r->split_item);
    return 0;
}

/* A list that was not given: null, or of empty tensors. */
static const aclTensorList *given(const aclTensorList *list) {
    for (size_t i = 0; list != NULL && i < list->size; i++)
        if (list->data[i] != NULL && list->data[i]->numel > 0) return list;
    return NULL;
}

/* Integers are quantised values, which only a quantised weight makes. */
static aclnnStatus check_floats(const struct request *r) {
    const aclTensor *weight = r->weight->data[0];
    if (weight != NULL && hc_is_quantised(weight)) return 0;
    HC_CHECK(!r->scale && !r->offset && !r->antiquant && !r->shift && !r->rows, ACLNN_ERR_PARAM_INVALID,
             "%s: %s is given, wanted none: weight[0] is %s", r->name,
             r->scale       ? "scaleOptional"
             : r->offset    ? "offsetOptional"
             : r->antiquant ? "antiquantScaleOptional"
             : r->shift     ? "antiquantOffsetOptional"
                            : "perTokenScaleOptional",
             weight != NULL ? HC_SHOW(weight) : "null");
    const aclTensorList *lists[] = {r->x, r->weight, r->biasOptional, r->y};
    const char *const names[] = {"x", "weight", "biasOptional", r->y_name};
    for (size_t k = 0; k < HC_ARRAY_SIZE(lists); k++) {
        for (size_t i = 0; lists[k] != NULL && i < lists[k]->size; i++) {
            const aclTensor *t = lists[k]->data[i];
            HC_CHECK(t == NULL || hc_dtype_is_float(t->dtype), ACLNN_ERR_PARAM_INVALID,
                     "%s: %s[%zu] is %s, wanted floating point as weight", r->name, names[k], i, HC_SHOW(t));
        }
    }
    return 0;
}

/* In phase one, of a list that has some. */
static const aclTensor *list_first(const struct hc_grouped_list *list) { return list->at[0]; }

/* Of checked groups, whose lists may be the bytes of theirs in the request. */
static aclnnStatus make_plan(const struct request *r, const struct hc_grouped *g, uint64_t *workspaceSize,
                             aclOpExecutor **executor) {
    const size_t values = r->integers != NULL ? r->integers->size : 0;
    struct args *args = hc_block_take(sizeof *args + values * sizeof(int64_t));
    HC_CHECK(args != NULL, ACLNN_ERR_INNER, "%s: out of host memory for %zu groups", r->name, values);
    *args = (struct args){g->by_steps, g->listed, r->list_type == COUNTS,   r->list_type == PAIRS,
                          g->groups,   values,    list_first(&g->x)->dtype, list_first(&g->weight)->dtype};
    if (values > 0) memcpy(args->values, r->integers->data, values * sizeof(int64_t));
    const aclTensorList *const x = r->x, *const weight = r->weight, *const biasOptional = r->biasOptional,
                               *const y = r->y, *const scaleOptional = r->scale,
                               *const offsetOptional = r->offset,
                               *const antiquantScaleOptional = r->antiquant,
                               *const antiquantOffsetOptional = r->shift,
                               *const perTokenScaleOptional = r->rows;
    const aclTensor *const groupListOptional = values > 0 || !g->listed ? NULL : r->groupListOptional;
    const struct hc_operand operands[] = {HC_IN_LIST(x),
                                          HC_IN_LIST(weight),
                                          HC_IN_LIST(biasOptional),
                                          HC_IN_OPT(groupListOptional),
                                          HC_OUT_LIST(y),
                                          HC_IN_LIST(scaleOptional),
                                          HC_IN_LIST(offsetOptional),
                                          HC_IN_LIST(antiquantScaleOptional),
                                          HC_IN_LIST(antiquantOffsetOptional),
                                          HC_IN_LIST(perTokenScaleOptional)};
    const struct hc_plan p = {.name = r->name,
                              .run = run,
                              .args = args,
                              .args_size = sizeof *args + values * sizeof(int64_t),
                              .operands = operands,
                              .num_operands = HC_ARRAY_SIZE(operands),
                              .flops = hc_grouped_flops(g)};
    const aclnnStatus status = hc_plan(&p, workspaceSize, executor);
    hc_block_give(args);
    return status;
}

static aclnnStatus plan(const struct request *r, uint64_t *workspaceSize, aclOpExecutor **executor) {
    HC_CHECK(r->x && r->weight && r->y, ACLNN_ERR_PARAM_NULLPTR, "%s: %s is null", r->name,
             !r->x        ? "x"
             : !r->weight ? "weight"
                          : r->y_name);
    struct hc_grouped g = {.name = r->name,
                           .x = from_list(r->x),
                           .weight = from_list(r->weight),
                           .bias = from_list(r->biasOptional),
                           .y = from_list(r->y),
                           .scale = from_list(r->scale),
                           .offset = from_list(r->offset),
                           .antiquant = from_list(r->antiquant),
                           .shift = from_list(r->shift),
                           .rows = from_list(r->rows),
                           .weight_name = "weight",
                           .y_name = r->y_name,
                           .by_steps = r->group_type == BY_STEPS};
    HC_CHECK(g.x.n > 0 && g.weight.n > 0 && g.y.n > 0, ACLNN_ERR_PARAM_INVALID,
             "%s: x has %zu tensors, weight %zu, %s %zu, wanted some", r->name, g.x.n, g.weight.n, r->y_name,
             g.y.n);
    HC_TRY(count_groups(r, &g));
    HC_TRY(check_choices(r, &g));
    if (hc_is_narrow(g.weight.at[0]->dtype)) {
        HC_TRY(hc_grouped_narrow_check(&g));
    } else {
        HC_TRY(check_floats(r));
        HC_TRY(hc_grouped_check(&g));
    }
    struct hc_fp4_list x_bytes = {.owned = NULL}, weight_bytes = {.owned = NULL};
    struct request seen = *r;
    aclnnStatus status = hc_grouped_fp4_bytes(r->name, r->x, &x_bytes);
    if (status == 0) status = hc_grouped_fp4_bytes(r->name, r->weight, &weight_bytes);
    if (x_bytes.owned != NULL) seen.x = &x_bytes.list;
    if (weight_bytes.owned != NULL) seen.weight = &weight_bytes.list;
    if (status == 0) status = make_plan(&seen, &g, workspaceSize, executor);
    hc_block_give(x_bytes.owned);
    hc_block_give(weight_bytes.owned);
    return status;
}

/* A list that belongs to activations; one of empty tensors is one that was not given. */
static aclnnStatus refuse(const char *name, const char *list_name, const aclTensorList *list) {
    for (size_t i = 0; list != NULL && i < list->size; i++) {
        HC_CHECK(list->data[i] == NULL || list->data[i]->numel == 0, ACLNN_ERR_PARAM_INVALID,
                 "%s: %s[%zu] is %s, wanted none: activations are not supported", name, list_name, i,
                 HC_SHOW(list->data[i]));
    }
    return 0;
}
#define REFUSE(list) HC_TRY(refuse(NAME, #list, list))

/* The group list is one of integers: ends of groups of rows. */
HC_API aclnnStatus aclnnGroupedMatmulGetWorkspaceSize(
    const aclTensorList *x, const aclTensorList *weight, const aclTensorList *biasOptional,
    const aclTensorList *scaleOptional, const aclTensorList *offsetOptional,
    const aclTensorList *antiquantScaleOptional, const aclTensorList *antiquantOffsetOptional,
    const aclIntArray *groupListOptional, int64_t splitItem, const aclTensorList *y, uint64_t *workspaceSize,
    aclOpExecutor **executor) {
    static const char *const NAME = "aclnnGroupedMatmul";
    const struct request r = {.name = NAME,
                              .y_name = "y",
                              .x = x,
                              .weight = weight,
                              .biasOptional = biasOptional,
                              .y = y,
                              .scale = given(scaleOptional),
                              .offset = given(offsetOptional),
                              .antiquant = given(antiquantScaleOptional),
                              .shift = given(antiquantOffsetOptional),
                              .integers = groupListOptional,
                              .split_item = splitItem};
    return plan(&r, workspaceSize, executor);
}
HC_OP_LAUNCH(aclnnGroupedMatmul)

/* Versions four and five: the fifth has a hint for tuning besides, which is of no use here. */
#define DEFINE(api, ...)                                                                                     \
    HC_API aclnnStatus api##GetWorkspaceSize(                                                                \
        const aclTensorList *x, const aclTensorList *weight, const aclTensorList *biasOptional,              \
        const aclTensorList *scaleOptional, const aclTensorList *offsetOptional,                             \
        const aclTensorList *antiquantScaleOptional, const aclTensorList *antiquantOffsetOptional,           \
        const aclTensorList *perTokenScaleOptional, const aclTensor *groupListOptional,                      \
        const aclTensorList *activationInputOptional, const aclTensorList *activationQuantScaleOptional,     \
        const aclTensorList *activationQuantOffsetOptional, int64_t splitItem, int64_t groupType,            \
        int64_t groupListType, int64_t actType, __VA_ARGS__ aclTensorList *out,                              \
        aclTensorList *activationFeatureOutOptional, aclTensorList *dynQuantScaleOutOptional,                \
        uint64_t *workspaceSize, aclOpExecutor **executor) {                                                 \
        static const char *const NAME = #api;                                                                \
        REFUSE(activationInputOptional);                                                                     \
        REFUSE(activationQuantScaleOptional);                                                                \
        REFUSE(activationQuantOffsetOptional);                                                               \
        REFUSE(activationFeatureOutOptional);                                                                \
        REFUSE(dynQuantScaleOutOptional);                                                                    \
        HC_CHECK(actType == 0, ACLNN_ERR_PARAM_INVALID,                                                      \
                 "%s: actType is %lld, wanted 0: activations are not supported", NAME, (long long)actType);  \
        const struct request r = {.name = NAME,                                                              \
                                  .y_name = "out",                                                           \
                                  .x = x,                                                                    \
                                  .weight = weight,                                                          \
                                  .biasOptional = biasOptional,                                              \
                                  .y = out,                                                                  \
                                  .scale = given(scaleOptional),                                             \
                                  .offset = given(offsetOptional),                                           \
                                  .antiquant = given(antiquantScaleOptional),                                \
                                  .shift = given(antiquantOffsetOptional),                                   \
                                  .rows = given(perTokenScaleOptional),                                      \
                                  .groupListOptional = groupListOptional,                                    \
                                  .split_item = splitItem,                                                   \
                                  .group_type = groupType,                                                   \
                                  .list_type = groupListType};                                               \
        return plan(&r, workspaceSize, executor);                                                            \
    }                                                                                                        \
    HC_OP_LAUNCH(api)
#define HINT __attribute__((unused)) aclIntArray *tuningConfigOptional,
DEFINE(aclnnGroupedMatmulV4)
DEFINE(aclnnGroupedMatmulV5, HINT)
