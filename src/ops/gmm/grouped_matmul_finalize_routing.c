// SPDX-License-Identifier: Apache-2.0
/* The second half of an expert in one operator: rows of the product of groups, weighted and summed for the
 * tokens that they came from, with a shared expert's rows:
 *
 *     z = x[group] @ weight[g], scaled back
 *     out[rowIndex[i]] += logit[i] * z[i],   out[sharedInputOffset + s] += sharedInputWeight * sharedInput[s]
 *
 * Rows behind the last group belong to nobody. What is added to a token is one list of rows in their order,
 * summed in float, whatever number of threads there is. */
#include "fp4.h"
#include "grouped_product.h"
#include "row_sum.h"
#include "temporary.h"

enum slot { X, WEIGHT, SCALE, BIAS, ROW_SCALE, GROUPS, SHARED, LOGIT, ROW_INDEX, OFFSET, OUT, SLOTS };

struct args {
    bool counts;
    float shared_weight;
    int64_t shared_offset;
    aclDataType x_dtype, weight_dtype;
};

/* ---- phase two ---- */

/* Of rows of the product, then of the shared input. */
struct entries {
    int64_t *row, *first, *source; /* where each goes; entries of each row of out */
    double *weight, *scale;        /* by row, and in the order of the entries */
    size_t rows, shared;
    void *memory;
};

/* One block for all of them: indices and numbers have the same size. */
static aclnnStatus take_entries(const struct hc_call *call, int64_t rows, struct entries *e) {
    const aclTensor *shared = hc_arg(call, SHARED), *out = hc_arg(call, OUT);
    e->rows = (size_t)rows;
    e->shared = shared != NULL ? (size_t)shared->shape[0] : 0;
    const size_t n = e->rows + e->shared;
    int64_t *at = e->memory = hc_block_take_array(4 * n + (size_t)out->shape[0] + 2, sizeof *at);
    HC_CHECK(at != NULL, ACLNN_ERR_INNER, "%s: out of host memory for %zu rows", call->name, n);
    e->row = at;
    e->source = at + n;
    e->weight = (double *)(void *)(at + 2 * n);
    e->scale = (double *)(void *)(at + 3 * n);
    e->first = at + 4 * n;
    return 0;
}

/* Read once; an index of a row that belongs to nobody is not looked at. */
static aclnnStatus read_entries(const struct hc_call *call, int64_t end, struct entries *e) {
    const struct args *a = call->args;
    const aclTensor *index = hc_arg(call, ROW_INDEX), *logit = hc_arg(call, LOGIT), *out = hc_arg(call, OUT);
    const int64_t rows = (int64_t)e->rows;
    const aclTensor copy = hc_tensor_view(ACL_INT64, &rows, 1, e->row),
                    weights = hc_tensor_view(ACL_DOUBLE, &rows, 1, e->weight);
    HC_TRY(hc_copy(&copy, index));
    if (logit != NULL) HC_TRY(hc_copy(&weights, logit));
    for (int64_t i = 0; i < rows; i++) {
        if (logit == NULL) e->weight[i] = 1;
        if (i >= end) e->row[i] = -1;
        HC_CHECK(i >= end || (e->row[i] >= 0 && e->row[i] < out->shape[0]), ACLNN_ERR_PARAM_INVALID,
                 "%s: rowIndexOptional[%lld] is %lld, wanted 0 to %lld", call->name, (long long)i,
                 (long long)e->row[i], (long long)out->shape[0] - 1);
    }
    for (size_t s = 0; s < e->shared; s++) {
        e->row[e->rows + s] = a->shared_offset + (int64_t)s;
        e->weight[e->rows + s] = (double)a->shared_weight;
    }
    return 0;
}

/* The shared input's rows behind those of the product. */
static aclnnStatus stack(const struct hc_call *call, const aclTensor *z, aclTensor *all, void **owned) {
    const aclTensor *shared = hc_arg(call, SHARED);
    *all = *z;
    if (shared == NULL) return 0;
    const int64_t shape[] = {z->shape[0] + shared->shape[0], z->shape[1]};
    *owned = hc_block_take_array((size_t)(shape[0] * shape[1]), sizeof(float));
    HC_CHECK(*owned != NULL, ACLNN_ERR_INNER, "%s: out of host memory for %lld rows", call->name,
             (long long)shape[0]);
    *all = hc_tensor_view(ACL_FLOAT, shape, 2, *owned);
    const aclTensor upper = hc_grouped_part(all, 0, 0, z->shape[0]),
                    lower = hc_grouped_part(all, 0, z->shape[0], shared->shape[0]);
    HC_TRY(hc_copy(&upper, z));
    return hc_copy(&lower, shared);
}

/* A token without rows is 0. Rows of a token are added in the order of the product, the shared one last: the
 * sum does not depend on how the product was divided. */
static aclnnStatus combine(const struct hc_call *call, const aclTensor *z, struct entries *e) {
    const aclTensor *out = hc_arg(call, OUT);
    aclTensor all;
    void *owned = NULL;
    hc_positions_by_row(e->row, e->rows + e->shared, out->shape[0], -1, e->first, e->source);
    for (int64_t i = 0; i < e->first[out->shape[0]]; i++) e->scale[i] = e->weight[e->source[i]];
    aclnnStatus status = stack(call, z, &all, &owned);
    if (status == 0)
        status = hc_row_sum(&(const struct hc_row_sum){.name = call->name,
                                                       .out = out,
                                                       .src = &all,
                                                       .first = e->first,
                                                       .source = e->source,
                                                       .scale = e->scale});
    hc_block_give(owned);
    return status;
}

/* The product is finished before anything is written, so that an index out of range leaves out as it was. */
static aclnnStatus run(const struct hc_call *call) {
    const struct args *a = call->args;
    const struct hc_grouped_product p = {.name = call->name,
                                         .x = hc_grouped_one(hc_arg(call, X)),
                                         .weight = hc_grouped_one(hc_arg(call, WEIGHT)),
                                         .scale = hc_grouped_one(hc_arg(call, SCALE)),
                                         .rows = hc_grouped_one(hc_arg(call, ROW_SCALE)),
                                         .bias = hc_grouped_one(hc_arg(call, BIAS)),
                                         .weight_offset = hc_grouped_one(hc_arg(call, OFFSET)),
                                         .groups = hc_arg(call, GROUPS),
                                         .counts = a->counts,
                                         .dtype = ACL_FLOAT,
                                         .x_dtype = a->x_dtype,
                                         .weight_dtype = a->weight_dtype};
    struct hc_grouped_result result;
    struct entries entries = {.memory = NULL};
    aclnnStatus status = hc_grouped_product_run(&p, &result);
    if (status == 0) status = take_entries(call, result.z.shape[0], &entries);
    if (status == 0) status = read_entries(call, result.first[p.groups->numel], &entries);
    if (status == 0) status = combine(call, &result.z, &entries);
    hc_block_give(entries.memory);
    hc_grouped_product_give(&result);
    return status;
}

/* ---- phase one ---- */

/* What the versions have in common. */
struct request {
    const char *name;
    const aclTensor *in[SLOTS];
    struct args args;
    int64_t dtype, list_type;
    bool turned_x, turned_weight;
};

/* Where rows go. */
static aclnnStatus check_routing(const struct request *r, int64_t columns) {
    const aclTensor *out = r->in[OUT], *shared = r->in[SHARED], *logit = r->in[LOGIT],
                    *index = r->in[ROW_INDEX];
    const int64_t rows = r->in[X]->shape[0];
    HC_CHECK(out && index, ACLNN_ERR_PARAM_NULLPTR, "%s: %s is null", r->name,
             out ? "rowIndexOptional" : "out");
    HC_CHECK(r->dtype == 0 && out->dtype == ACL_FLOAT && out->rank == 2 && out->shape[1] == columns,
             ACLNN_ERR_PARAM_INVALID, "%s: out is %s with dtype %lld, wanted float32 rows of %lld and 0",
             r->name, HC_SHOW(out), (long long)r->dtype, (long long)columns);
    HC_CHECK(hc_dtype_class(index->dtype) == HC_CLASS_INT && index->rank == 1 && index->numel == rows,
             ACLNN_ERR_PARAM_INVALID, "%s: rowIndexOptional is %s, wanted %lld integers", r->name,
             HC_SHOW(index), (long long)rows);
    HC_CHECK(logit == NULL || (hc_fits_f32(logit->dtype) && logit->rank == 1 && logit->numel == rows),
             ACLNN_ERR_PARAM_INVALID, "%s: logitOptional is %s, wanted float32 of %lld elements", r->name,
             HC_SHOW(logit), (long long)rows);
    if (shared == NULL) return 0;
    HC_CHECK(hc_fits_f32(shared->dtype) && shared->rank == 2 && shared->shape[1] == columns,
             ACLNN_ERR_PARAM_INVALID, "%s: sharedInputOptional is %s, wanted floating point rows of %lld",
             r->name, HC_SHOW(shared), (long long)columns);
    const int64_t room = out->shape[0] - shared->shape[0];
    HC_CHECK(r->args.shared_offset >= 0 && r->args.shared_offset <= room, ACLNN_ERR_PARAM_INVALID,
             "%s: sharedInputOffset is %lld, wanted 0 to %lld: sharedInputOptional is %s, out %s", r->name,
             (long long)r->args.shared_offset, (long long)room, HC_SHOW(shared), HC_SHOW(out));
    return 0;
}

/* The weight as [groups, k, n]. */
static aclnnStatus turn_weight(struct request *r, aclTensor *view) {
    HC_CHECK(!r->turned_x, ACLNN_ERR_PARAM_INVALID, "%s: transposeX1 is true, wanted false", r->name);
    const aclTensor *weight = r->in[WEIGHT];
    HC_CHECK(weight != NULL, ACLNN_ERR_PARAM_NULLPTR, "%s: x2 is null", r->name);
    HC_CHECK(weight->rank == 3, ACLNN_ERR_PARAM_INVALID, "%s: x2 is %s, wanted the format ND of 3 dimensions",
             r->name, HC_SHOW(weight));
    if (r->turned_weight) {
        *view = hc_transpose_view(weight, 1, 2);
        r->in[WEIGHT] = view;
    }
    return 0;
}

/* Of the weights; its shape is the product's to check. */
static aclnnStatus check_offset(const struct request *r) {
    const aclTensor *x = r->in[X], *weight = r->in[WEIGHT], *offset = r->in[OFFSET];
    HC_CHECK(offset == NULL || (x != NULL && x->dtype == ACL_INT8 && weight->dtype == ACL_INT32),
             ACLNN_ERR_PARAM_INVALID,
             "%s: offsetOptional is %s, wanted none with x2 %s: it is of weights of int4 with x1 of int8",
             r->name, offset != NULL ? HC_SHOW(offset) : "null", HC_SHOW(weight));
    return 0;
}

/* Sizes that the product shares with the routing are those of the product, which is checked first. */
static aclnnStatus plan(struct request *r, uint64_t *workspaceSize, aclOpExecutor **executor) {
    static const char *const NAMES[SLOTS] = {"x1",
                                             "x2",
                                             "scaleOptional",
                                             "biasOptional",
                                             "pertokenScaleOptional",
                                             "groupListOptional",
                                             "sharedInputOptional",
                                             "logitOptional",
                                             "rowIndexOptional",
                                             "offsetOptional",
                                             "out"};
    aclTensor turned;
    HC_TRY(turn_weight(r, &turned));
    HC_CHECK(r->list_type == 0 || r->list_type == 1, ACLNN_ERR_PARAM_INVALID,
             "%s: groupListType is %lld, wanted 0 (ends of groups) or 1 (lengths)", r->name,
             (long long)r->list_type);
    r->args.counts = r->list_type == 1;
    HC_TRY(check_offset(r));
    const struct hc_grouped_product product = {.name = r->name,
                                               .x = hc_grouped_one(r->in[X]),
                                               .weight = hc_grouped_one(r->in[WEIGHT]),
                                               .scale = hc_grouped_one(r->in[SCALE]),
                                               .rows = hc_grouped_one(r->in[ROW_SCALE]),
                                               .bias = hc_grouped_one(r->in[BIAS]),
                                               .weight_offset = hc_grouped_one(r->in[OFFSET]),
                                               .groups = r->in[GROUPS],
                                               .counts = r->args.counts,
                                               .dtype = ACL_FLOAT};
    HC_TRY(hc_grouped_product_check(&product));
    HC_TRY(check_routing(r, hc_grouped_product_columns(&product)));
    r->args.x_dtype = r->in[X]->dtype, r->args.weight_dtype = r->in[WEIGHT]->dtype;
    const aclTensor bytes[] = {hc_fp4_bytes(r->in[X]), hc_fp4_bytes(r->in[WEIGHT])};
    r->in[X] = &bytes[0], r->in[WEIGHT] = &bytes[1];
    struct hc_operand operands[SLOTS];
    for (int s = 0; s < SLOTS; s++) {
        const bool needed = s == X || s == WEIGHT || s == GROUPS || s == ROW_INDEX || s == OUT;
        const int role = (s < OUT ? HC_ROLE_IN : HC_ROLE_OUT) | (needed ? 0 : HC_ROLE_OPTIONAL);
        operands[s] = (struct hc_operand){r->in[s], NULL, role, NAMES[s]};
    }
    const struct hc_plan p = {.name = r->name,
                              .run = run,
                              .args = &r->args,
                              .args_size = sizeof r->args,
                              .operands = operands,
                              .num_operands = SLOTS,
                              .flops = hc_grouped_product_flops(&product)};
    return hc_plan(&p, workspaceSize, executor);
}

/* An empty tensor is one that was not given. */
static const aclTensor *given(const aclTensor *t) { return t != NULL && t->numel > 0 ? t : NULL; }

/* Numbers of weights that are narrower than x of floating point. */
static aclnnStatus refuse(const char *name, const char *arg, const aclTensor *t) {
    HC_CHECK(given(t) == NULL, ACLNN_ERR_PARAM_INVALID,
             "%s: %s is %s, wanted none: weights narrower than floating point x are not supported", name, arg,
             HC_SHOW(t));
    return 0;
}

/* The hint for tuning is of no use here. */
#define DEFINE(api, weight_type, scale, bias, ANTIQUANT, groups, shared, logit, index, ...)                  \
    HC_API aclnnStatus api##GetWorkspaceSize(                                                                \
        const aclTensor *x1, weight_type *x2, const aclTensor *scale, const aclTensor *bias,                 \
        ANTIQUANT(PARAMETER, PARAMETER) const aclTensor *pertokenScaleOptional, const aclTensor *groups,     \
        const aclTensor *shared, const aclTensor *logit, const aclTensor *index, int64_t dtype,              \
        float sharedInputWeight, int64_t sharedInputOffset, bool transposeX1, bool transposeX2,              \
        int64_t groupListType, __VA_ARGS__ aclTensor *out, uint64_t *workspaceSize,                          \
        aclOpExecutor **executor) {                                                                          \
        static const char *const NAME = #api;                                                                \
        struct request r = {NAME,                                                                            \
                            {x1, x2, given(scale), given(bias), given(pertokenScaleOptional), groups,        \
                             given(shared), given(logit), index, NULL, out},                                 \
                            {.shared_weight = sharedInputWeight, .shared_offset = sharedInputOffset},        \
                            dtype,                                                                           \
                            groupListType,                                                                   \
                            transposeX1,                                                                     \
                            transposeX2};                                                                    \
        ANTIQUANT(TAKE, REFUSE)                                                                              \
        return plan(&r, workspaceSize, executor);                                                            \
    }                                                                                                        \
    HC_OP_LAUNCH(api)
#define PARAMETER(name) const aclTensor *name,
#define REFUSE(name) HC_TRY(refuse(NAME, #name, name));
#define TAKE(name) r.in[OFFSET] = given(name);
#define OFFSETS(X, Y) X(offsetOptional) Y(antiquantScaleOptional) Y(antiquantOffsetOptional)
#define NO_OFFSETS(X, Y)
#define HINT __attribute__((unused)) const aclIntArray *tuningConfigOptional,

/* torch_npu.npu_grouped_matmul_finalize_routing takes the third version, or those for weights in FRACTAL_NZ,
 * whose weights are taken in ND here. */
DEFINE(aclnnGroupedMatmulFinalizeRoutingV2, aclTensor, scaleOptional, biasOptional, OFFSETS,
       groupListOptional, sharedInputOptional, logitOptional, rowIndexOptional)
DEFINE(aclnnGroupedMatmulFinalizeRoutingV3, aclTensor, scaleOptional, biasOptional, OFFSETS,
       groupListOptional, sharedInputOptional, logitOptional, rowIndexOptional, HINT)
DEFINE(aclnnGroupedMatmulFinalizeRoutingWeightNz, const aclTensor, scale, bias, NO_OFFSETS, groupList,
       sharedInput, logit, rowIndex)
DEFINE(aclnnGroupedMatmulFinalizeRoutingWeightNzV2, const aclTensor, scale, bias, OFFSETS, groupList,
       sharedInput, logit, rowIndex, HINT)
