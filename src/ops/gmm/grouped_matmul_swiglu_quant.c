// SPDX-License-Identifier: Apache-2.0
/* The first half of an expert in one operator, of quantised tokens to quantised tokens:
 *
 *     z = silu(a) * b, a and b being the halves of a row of x[group] @ weight[g], scaled back
 *     per token   scale = max |z * smooth| / highest of each row, y = round(z * smooth / scale)
 *     MX          blocks of 32 of a row (mx.h), where the product is one of MX as well
 *
 * Weights of int4 are those of grouped_int4.c, with weightAssistMatrix for a bias where x is int8.
 *
 * The product lies in memory of ours; a row is activated and quantised in one go. Rows behind the last group
 * are 0 and so are their scales. */
#include <string.h>

#include "grouped_narrow.h"
#include "grouped_product.h"
#include "mx.h"
#include "quant.h"
#include "swiglu.h"

enum slot { X, WEIGHT, WEIGHT_SCALE, X_SCALE, SMOOTH, GROUPS, Y, Y_SCALE, Y_OFFSET, ASSIST, SLOTS };

struct args {
    bool counts, blocks;
    aclDataType dtype; /* of the product before it is activated */
    aclDataType x_dtype, weight_dtype;
    struct hc_quant_target target;
    struct hc_mx mx;
};

/* ---- phase two ---- */

/* smooth: n of each group, NULL for none. Of MX, rows are activated into `wide`. */
struct job {
    const struct args *a;
    size_t n, groups;
    const int64_t *first;
    const float *smooth;
    float *scale, *wide;
    char *y;
};

static struct hc_grouped_list from_call(const struct hc_call *call, int slot) {
    return (struct hc_grouped_list){NULL, hc_arg(call, slot), hc_arg_count(call, slot)};
}

/* Smooth scales of the group of a row; NULL behind the last one. */
static const float *smooth_of(const struct job *j, size_t row) {
    size_t g = 0;
    while (g < j->groups && j->first[g + 1] <= (int64_t)row) g++;
    return j->smooth != NULL && g < j->groups ? j->smooth + g * j->n : NULL;
}

/* Behind the last group a row is zeros: its scale is 0, and 0 / 0 is 0 for the quantiser. */
static void finish_row(const void *ctx, size_t row, float *x, float *spare) {
    const struct job *j = ctx;
    const struct hc_swiglu plain = {HC_SWIGLU_PLAIN, true, false};
    float *z = hc_swiglu_of_row(&plain, j->n, x, spare);
    if (j->a->blocks) {
        memcpy(j->wide + row * j->n, z, j->n * sizeof *z);
        return;
    }
    struct hc_quant_range range;
    HC_DISPATCH(hc_quant_range)(j->n, z, smooth_of(j, row), &range);
    const struct hc_quant_scale by = hc_quant_scale_of(&j->a->target, range, true);
    j->scale[row] = by.scale;
    hc_quant_row(&j->a->target, &by, j->n, z);
    hc_quant_store(&j->a->target, j->y, row, j->n, z);
}

static aclnnStatus finish_rows(const char *name, struct job *j, const aclTensor *z) {
    const struct hc_quant_rows rows = {name, z, 2 * j->n, (size_t)z->shape[0], finish_row, j};
    return hc_quant_rows_run(&rows);
}

/* Outputs go by way of memory of ours where they are not contiguous. */
static aclnnStatus quantise_tokens(const struct hc_call *call, struct job *j, const aclTensor *z) {
    const aclTensor *y = hc_arg(call, Y), *scale = hc_arg(call, Y_SCALE), *smooth = hc_arg(call, SMOOTH);
    aclTensor to, to_scale, by;
    void *owned[3] = {NULL};
    aclnnStatus status = hc_contiguous_out(y, y->dtype, &to, &owned[0]);
    if (status == 0) status = hc_contiguous_out(scale, ACL_FLOAT, &to_scale, &owned[1]);
    if (status == 0 && smooth != NULL) status = hc_contiguous(smooth, ACL_FLOAT, &by, &owned[2]);
    if (status == 0) {
        j->y = hc_data(&to);
        j->scale = (float *)hc_data(&to_scale);
        if (smooth != NULL) j->smooth = (const float *)hc_data(&by);
        status = finish_rows(call->name, j, z);
    }
    if (status == 0 && owned[0] != NULL) status = hc_copy(y, &to);
    if (status == 0 && owned[1] != NULL) status = hc_copy(scale, &to_scale);
    for (size_t i = 0; i < HC_ARRAY_SIZE(owned); i++) hc_block_give(owned[i]);
    return status;
}

/* A block's scale needs all of the block: rows are kept in float32 and then quantised as any tensor is. */
static aclnnStatus quantise_blocks(const struct hc_call *call, struct job *j, const aclTensor *z) {
    const int64_t shape[] = {z->shape[0], (int64_t)j->n};
    j->wide = hc_block_take_array((size_t)shape[0] * j->n, sizeof *j->wide);
    HC_CHECK(j->wide != NULL, ACLNN_ERR_INNER, "%s: out of host memory for %lld rows", call->name,
             (long long)shape[0]);
    const aclTensor wide = hc_tensor_view(ACL_FLOAT, shape, 2, j->wide);
    aclnnStatus status = finish_rows(call->name, j, z);
    if (status == 0)
        status = hc_mx_quantise(call->name, &j->a->mx, &wide, 1, hc_arg(call, Y), hc_arg(call, Y_SCALE));
    hc_block_give(j->wide);
    return status;
}

/* Results of a failed product are not looked at. */
static aclnnStatus run(const struct hc_call *call) {
    const struct args *a = call->args;
    const struct hc_grouped_product p = {.name = call->name,
                                         .x = from_call(call, X),
                                         .weight = from_call(call, WEIGHT),
                                         .scale = from_call(call, WEIGHT_SCALE),
                                         .rows = from_call(call, X_SCALE),
                                         .bias = from_call(call, ASSIST),
                                         .groups = hc_arg(call, GROUPS),
                                         .counts = a->counts,
                                         .dtype = a->dtype,
                                         .x_dtype = a->x_dtype,
                                         .weight_dtype = a->weight_dtype};
    struct hc_grouped_result result;
    aclnnStatus status = hc_grouped_product_run(&p, &result);
    struct job j = {
        .a = a, .n = (size_t)result.z.shape[1] / 2, .groups = hc_numel(p.groups), .first = result.first};
    if (status == 0 && result.z.numel > 0)
        status = a->blocks ? quantise_blocks(call, &j, &result.z) : quantise_tokens(call, &j, &result.z);
    hc_grouped_product_give(&result);
    /* Quantisation is symmetric. */
    if (status == 0 && hc_arg(call, Y_OFFSET) != NULL)
        status = hc_fill(hc_arg(call, Y_OFFSET), &(const struct hc_element){{0}});
    return status;
}

/* ---- phase one ---- */

/* What the versions have in common. */
struct request {
    struct hc_grouped_product p;
    const aclTensorList *weights, *weight_scales, *assists; /* the second version */
    const aclTensor *weight, *weight_scale;                 /* the first version */
    const aclTensor *x, *x_scale, *smooth, *output, *output_scale;
    int64_t quant_mode;
};

/* The scales, by their names here: the product knows them by other ones. */
static aclnnStatus check_scales(const struct request *r) {
    const struct hc_grouped_product *p = &r->p;
    HC_CHECK(r->x != NULL && r->x_scale != NULL, ACLNN_ERR_PARAM_NULLPTR, "%s: %s is null", p->name,
             r->x != NULL ? "xScale" : "x");
    HC_CHECK(p->scale.n > 0, ACLNN_ERR_PARAM_NULLPTR, "%s: weightScale is null", p->name);
    HC_CHECK(r->x->rank == 2 && (r->x_scale->dtype == ACL_FLOAT8_E8M0 ||
                                 (hc_fits_f32(r->x_scale->dtype) && r->x_scale->numel == r->x->shape[0])),
             ACLNN_ERR_PARAM_INVALID, "%s: xScale is %s, wanted float32 of the rows of x %s, or MX scales",
             p->name, HC_SHOW(r->x_scale), HC_SHOW(r->x));
    return 0;
}

/* One scale for each row. */
static aclnnStatus check_tokens(struct request *r, const aclTensor *z, struct args *args) {
    const char *name = r->p.name;
    HC_CHECK(r->quant_mode == 0, ACLNN_ERR_PARAM_INVALID,
             "%s: quantMode is %lld, wanted 0 (scales of rows) for outputScale %s", name,
             (long long)r->quant_mode, HC_SHOW(r->output_scale));
    HC_TRY(hc_quant_check_target(name, z, "output", r->output, -1, &args->target));
    HC_TRY(hc_quant_check_float(name, "outputScale", r->output_scale));
    HC_CHECK(r->output_scale->numel == z->shape[0], ACLNN_ERR_PARAM_INVALID,
             "%s: outputScale is %s, wanted %lld elements", name, HC_SHOW(r->output_scale),
             (long long)z->shape[0]);
    const aclTensor *smooth = r->smooth;
    HC_CHECK(smooth == NULL || (hc_fits_f32(smooth->dtype) && smooth->rank == 2 &&
                                smooth->shape[0] == r->p.groups->numel && smooth->shape[1] == z->shape[1]),
             ACLNN_ERR_PARAM_INVALID, "%s: smoothScale is %s, wanted float32 [%lld,%lld]", name,
             HC_SHOW(smooth), (long long)r->p.groups->numel, (long long)z->shape[1]);
    return 0;
}

/* Scales of blocks, with the word for fp8's only rounding. */
static aclnnStatus check_blocks(const struct request *r, const aclTensor *z, struct args *args) {
    const char *name = r->p.name;
    HC_CHECK(r->quant_mode == 2, ACLNN_ERR_PARAM_INVALID,
             "%s: quantMode is %lld, wanted 2 (MX) for outputScale %s", name, (long long)r->quant_mode,
             HC_SHOW(r->output_scale));
    HC_CHECK(r->smooth == NULL, ACLNN_ERR_PARAM_INVALID, "%s: smoothScale is %s, wanted none with MX scales",
             name, HC_SHOW(r->smooth));
    HC_TRY(hc_mx_check(name, "rint", r->output->dtype, 32, 0, 0, &args->mx));
    return hc_mx_check_outputs(name, &args->mx, z, 1, "output", r->output, "outputScale", r->output_scale);
}

/* The type of outputScale decides between scales of rows and MX. */
static aclnnStatus check_outputs(struct request *r, struct args *args) {
    const char *name = r->p.name;
    HC_CHECK(r->output && r->output_scale, ACLNN_ERR_PARAM_NULLPTR, "%s: %s is null", name,
             r->output ? "outputScale" : "output");
    const int64_t columns = hc_grouped_product_columns(&r->p);
    HC_CHECK(columns % 2 == 0, ACLNN_ERR_PARAM_INVALID,
             "%s: weight has %lld columns, wanted an even number: halves are multiplied", name,
             (long long)columns);
    const aclTensor z = hc_tensor_view(r->p.dtype, (const int64_t[]){r->x->shape[0], columns / 2}, 2, NULL);
    args->blocks = r->output_scale->dtype == ACL_FLOAT8_E8M0;
    return args->blocks ? check_blocks(r, &z, args) : check_tokens(r, &z, args);
}

/* Of a checked request, whose weights may be the bytes of its. */
static aclnnStatus make_plan(const struct request *r, const struct args *args, const aclTensor *output_offset,
                             uint64_t *workspaceSize, aclOpExecutor **executor) {
    const aclTensor x = hc_fp4_bytes(r->x), output = hc_fp4_bytes(r->output);
    const aclTensor one = r->weight != NULL ? hc_fp4_bytes(r->weight) : (aclTensor){.base = NULL};
    const int role = HC_ROLE_IN | (r->weights != NULL ? HC_ROLE_LIST : 0);
    const int optional_list = HC_ROLE_IN | HC_ROLE_OPTIONAL | (r->assists != NULL ? HC_ROLE_LIST : 0);
    const struct hc_operand operands[SLOTS] = {
        [X] = {&x, NULL, HC_ROLE_IN, "x"},
        [WEIGHT] = {r->weight != NULL ? &one : NULL, r->weights, role, "weight"},
        [WEIGHT_SCALE] = {r->weight_scale, r->weight_scales, role, "weightScale"},
        [X_SCALE] = {r->x_scale, NULL, HC_ROLE_IN, "xScale"},
        [SMOOTH] = {r->smooth, NULL, HC_ROLE_IN | HC_ROLE_OPTIONAL, "smoothScale"},
        [GROUPS] = {r->p.groups, NULL, HC_ROLE_IN, "groupList"},
        [Y] = {&output, NULL, HC_ROLE_OUT, "output"},
        [Y_SCALE] = {r->output_scale, NULL, HC_ROLE_OUT, "outputScale"},
        [Y_OFFSET] = {output_offset, NULL, HC_ROLE_OUT | HC_ROLE_OPTIONAL, "outputOffset"},
        [ASSIST] = {NULL, r->assists, optional_list, "weightAssistMatrix"}};
    const struct hc_plan p = {.name = r->p.name,
                              .run = run,
                              .args = args,
                              .args_size = sizeof *args,
                              .operands = operands,
                              .num_operands = SLOTS,
                              .flops = hc_grouped_product_flops(&r->p)};
    return hc_plan(&p, workspaceSize, executor);
}

static aclnnStatus plan(struct request *r, const aclTensor *output_offset, uint64_t *workspaceSize,
                        aclOpExecutor **executor) {
    struct args args = {.counts = r->p.counts, .dtype = r->p.dtype};
    struct hc_fp4_list bytes = {.owned = NULL};
    r->p.x = hc_grouped_one(r->x);
    r->p.rows = hc_grouped_one(r->x_scale);
    HC_TRY(check_scales(r));
    HC_TRY(hc_grouped_product_check(&r->p));
    HC_TRY(check_outputs(r, &args));
    args.x_dtype = r->x->dtype;
    args.weight_dtype = r->weights != NULL ? r->weights->data[0]->dtype : r->weight->dtype;
    if (r->weights != NULL) HC_TRY(hc_grouped_fp4_bytes(r->p.name, r->weights, &bytes));
    if (bytes.owned != NULL) r->weights = &bytes.list;
    const aclnnStatus status = make_plan(r, &args, output_offset, workspaceSize, executor);
    hc_block_give(bytes.owned);
    return status;
}

/* An empty tensor is one that was not given. */
static const aclTensor *given(const aclTensor *t) { return t != NULL && t->numel > 0 ? t : NULL; }

/* torch_npu.npu_grouped_matmul_swiglu_quant comes here whatever the weight's layout is. */
HC_API aclnnStatus aclnnGroupedMatmulSwigluQuantWeightNZGetWorkspaceSize(
    const aclTensor *x, const aclTensor *weight, const aclTensor *bias, const aclTensor *offset,
    const aclTensor *weightScale, const aclTensor *xScale, const aclTensor *groupList, aclTensor *output,
    aclTensor *outputScale, aclTensor *outputOffset, uint64_t *workspaceSize, aclOpExecutor **executor) {
    static const char *const NAME = "aclnnGroupedMatmulSwigluQuantWeightNZ";
    HC_CHECK(given(bias) == NULL && given(offset) == NULL, ACLNN_ERR_PARAM_INVALID,
             "%s: %s is %s, wanted none: it is not supported", NAME, given(bias) ? "bias" : "offset",
             HC_SHOW(given(bias) ? bias : offset));
    struct request r = {.p = {.name = NAME,
                              .weight = hc_grouped_one(weight),
                              .scale = hc_grouped_one(weightScale),
                              .groups = groupList,
                              .dtype = ACL_FLOAT},
                        .weight = weight,
                        .weight_scale = weightScale,
                        .x = x,
                        .x_scale = xScale,
                        .output = output,
                        .output_scale = outputScale};
    return plan(&r, given(outputOffset), workspaceSize, executor);
}
HC_OP_LAUNCH(aclnnGroupedMatmulSwigluQuantWeightNZ)

/* The second version's numbers that choose. */
struct modes {
    int64_t dequant_mode, dequant_type, list_type;
};

/* The scales say which kind they are; the mode may not say another one. */
static aclnnStatus check_modes(const struct request *r, const struct modes *m, aclDataType *dtype) {
    const char *name = r->p.name;
    const aclTensor *scale =
        r->weight_scales != NULL && r->weight_scales->size > 0 ? r->weight_scales->data[0] : NULL;
    const bool blocks = scale != NULL && scale->dtype == ACL_FLOAT8_E8M0;
    const bool parts = r->assists != NULL;
    HC_CHECK(
        m->dequant_mode == 0 || (m->dequant_mode == 1 && parts) || (m->dequant_mode == 2 && blocks),
        ACLNN_ERR_PARAM_INVALID,
        "%s: dequantMode is %lld, wanted 0 (scales of columns), 1 (of groups of rows too, x of int8 with a "
        "weight of int4) or 2 (MX, with scales of float8_e8m0)",
        name, (long long)m->dequant_mode);
    HC_CHECK(m->dequant_type == ACL_FLOAT || m->dequant_type == ACL_FLOAT16 || m->dequant_type == ACL_BF16,
             ACLNN_ERR_PARAM_INVALID, "%s: dequantDtype is %lld, wanted float32, float16 or bfloat16", name,
             (long long)m->dequant_type);
    HC_CHECK(m->list_type == 0 || m->list_type == 1, ACLNN_ERR_PARAM_INVALID,
             "%s: groupListType is %lld, wanted 0 (ends of groups) or 1 (lengths)", name,
             (long long)m->list_type);
    *dtype = (aclDataType)m->dequant_type;
    return 0;
}

/* An int8 x with a weight of int4 wants what makes up for x - 8; nothing else has such a matrix. */
static aclnnStatus check_assist(struct request *r, const aclTensorList *assist, const aclTensor *bias) {
    const char *name = r->p.name;
    const aclTensor *first = assist != NULL && assist->size > 0 ? assist->data[0] : NULL,
                    *weight = r->weights != NULL && r->weights->size > 0 ? r->weights->data[0] : NULL;
    const bool wanted =
        weight != NULL && weight->dtype == ACL_INT32 && r->x != NULL && r->x->dtype == ACL_INT8;
    HC_CHECK(given(bias) == NULL, ACLNN_ERR_PARAM_INVALID, "%s: bias is %s, wanted none: it is not supported",
             name, HC_SHOW(bias));
    HC_CHECK(!wanted || given(first) != NULL, ACLNN_ERR_PARAM_NULLPTR,
             "%s: weightAssistMatrix is null, x %s with weight %s of int4 wants it", name, HC_SHOW(r->x),
             HC_SHOW(weight));
    HC_CHECK(wanted || given(first) == NULL, ACLNN_ERR_PARAM_INVALID,
             "%s: weightAssistMatrix[0] is %s, wanted none: it is of x of int8 with a weight of int4", name,
             HC_SHOW(first));
    if (!wanted) return 0;
    r->assists = assist;
    r->p.bias = hc_grouped_many(assist);
    return 0;
}

/* The hint for tuning is of no use here. */
#define DEFINE(api)                                                                                          \
    HC_API aclnnStatus api##GetWorkspaceSize(                                                                \
        const aclTensor *x, const aclTensorList *weight, const aclTensorList *weightScale,                   \
        const aclTensorList *weightAssistMatrix, const aclTensor *bias, const aclTensor *xScale,             \
        const aclTensor *smoothScale, const aclTensor *groupList, int64_t dequantMode, int64_t dequantDtype, \
        int64_t quantMode, int64_t groupListType,                                                            \
        __attribute__((unused)) const aclIntArray *tuningConfigOptional, aclTensor *output,                  \
        aclTensor *outputScale, uint64_t *workspaceSize, aclOpExecutor **executor) {                         \
        struct request r = {.p = {.name = #api,                                                              \
                                  .weight = hc_grouped_many(weight),                                         \
                                  .scale = hc_grouped_many(weightScale),                                     \
                                  .groups = groupList,                                                       \
                                  .counts = groupListType == 1},                                             \
                            .weights = weight,                                                               \
                            .weight_scales = weightScale,                                                    \
                            .x = x,                                                                          \
                            .x_scale = xScale,                                                               \
                            .smooth = given(smoothScale),                                                    \
                            .output = output,                                                                \
                            .output_scale = outputScale,                                                     \
                            .quant_mode = quantMode};                                                        \
        const struct modes modes = {dequantMode, dequantDtype, groupListType};                               \
        HC_TRY(check_assist(&r, weightAssistMatrix, bias));                                                  \
        HC_TRY(check_modes(&r, &modes, &r.p.dtype));                                                         \
        return plan(&r, NULL, workspaceSize, executor);                                                      \
    }                                                                                                        \
    HC_OP_LAUNCH(api)
DEFINE(aclnnGroupedMatmulSwigluQuantV2)
DEFINE(aclnnGroupedMatmulSwigluQuantWeightNzV2)
