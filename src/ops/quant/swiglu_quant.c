// SPDX-License-Identifier: Apache-2.0
/* SwiGLU whose result is quantised, of floating point or of the sums of an int8 product, which scales bring
 * back:
 *
 *     x' = (x + bias) * weight scale * activation scale      where x is int32; a float bias is added last
 *     z  = silu(a) * b, a and b being the halves of a row
 *     static   y = round(z * smooth + offset), or round(z / scale + offset) behind an int8 product
 *     dynamic  y = round(z * smooth * highest / max |z * smooth|)
 *
 * With groups each group of rows has its own scales. Rows behind the last group have none: they are quantised
 * as they are, and are 0 where they are sums. A row is read once. */
#include <string.h>

#include "dequant.h"
#include "quant.h"
#include "swiglu.h"

enum slot { X, WEIGHT, ROWS, BIAS, SCALE, OFFSET, GROUPS, Y, SCALE_OUT, SLOTS };

struct args {
    struct hc_swiglu swiglu;
    bool dynamic, divide, counts;
    bool reciprocal; /* the scale that is told is what z was multiplied by */
    bool nibbles;    /* y are int8 that hold two int4 */
    enum hc_quant_rounding rounding;
    struct hc_quant_target target;
};

/* ---- phase two ---- */

/* Everything contiguous. Numbers are float32: one for all, one for each group, or a row for all or for each.
 */
struct job {
    const struct args *a;
    aclTensor view[SLOTS];
    const int64_t *ends;    /* of groups; NULL: there are none */
    size_t groups, n, rows; /* n: of a row of y */
};

/* The group of a row; `groups` behind the last one. */
static size_t group_of(const struct job *j, size_t row) {
    size_t g = 0;
    while (g < j->groups && j->ends[g] <= (int64_t)row) g++;
    return g;
}

/* Numbers of a group and whether there is one for each of `width` elements. NULL: there are none. */
static const char *numbers(const struct job *j, int slot, size_t group, size_t width, bool *each) {
    const aclTensor *t = &j->view[slot];
    *each = false;
    if (t->base == NULL) return NULL;
    const bool by_group = j->ends != NULL && t->shape[0] == (int64_t)j->groups && t->numel > 1;
    const size_t stride = by_group ? hc_numel(t) / j->groups : 0;
    *each = width > 1 && (by_group ? stride : hc_numel(t)) == width;
    return hc_data(t) + group * stride * (size_t)t->item_size;
}

/* Sums of row `row` as floating point. */
static void bring_back(const struct job *j, size_t row, size_t group, float *x) {
    const size_t width = 2 * j->n;
    bool each;
    struct hc_dequant by = {0};
    by.scale = (const float *)numbers(j, WEIGHT, group, width, &by.scale_each);
    const void *bias = numbers(j, BIAS, group, width, &each);
    if (bias != NULL && j->view[BIAS].dtype == ACL_INT32) by.whole_bias = bias;
    else by.bias = bias;
    by.factor = j->view[ROWS].base != NULL ? ((const float *)hc_data(&j->view[ROWS]))[row] : 1;
    HC_DISPATCH(hc_dequant)(width, x, (const int32_t *)hc_data(&j->view[X]) + row * width, &by);
}

/* Rows of two int4 in a byte need not fill an int32. */
static void store(const struct job *j, size_t row, const float *z) {
    char *y = hc_data(&j->view[Y]);
    if (!j->a->nibbles) {
        hc_quant_store(&j->a->target, y, row, j->n, z);
        return;
    }
    uint8_t *to = (uint8_t *)y + row * (j->n / 2);
    for (size_t i = 0; i < j->n / 2; i++)
        to[i] = (uint8_t)(((uint32_t)(int32_t)z[2 * i] & 15u) | ((uint32_t)(int32_t)z[2 * i + 1] & 15u) << 4);
}

/* Behind the last group there are no numbers: the scale is 1, the offset 0. */
static void quantise_row(const void *ctx, size_t row, float *x, float *spare) {
    const struct job *j = ctx;
    const size_t group = j->ends != NULL ? group_of(j, row) : 0;
    const bool behind = j->ends != NULL && group == j->groups, sums = j->view[X].dtype == ACL_INT32;
    static const float ONE = 1;
    struct hc_quant_affine by = {.scale = &ONE, .rounding = j->a->rounding, .target = j->a->target};
    float factor = 0;
    if (sums && !behind) bring_back(j, row, group, x);
    float *z = hc_swiglu_of_row(&j->a->swiglu, j->n, x, spare);
    if (behind && sums) memset(z, 0, j->n * sizeof *z);
    const float *scale = NULL;
    bool scale_each = false;
    if (!behind) {
        scale = (const float *)numbers(j, SCALE, group, j->n, &scale_each);
        by.offset = (const float *)numbers(j, OFFSET, group, j->n, &by.offset_each);
    }
    if (scale != NULL) by.scale = scale, by.scale_each = scale_each;
    by.divide = j->a->divide && !j->a->dynamic;
    if (j->a->dynamic) {
        struct hc_quant_range range;
        by.offset = NULL;
        for (size_t i = 0; i < j->n && scale != NULL; i++) z[i] *= scale_each ? scale[i] : scale[0];
        HC_DISPATCH(hc_quant_range)(j->n, z, NULL, &range);
        const float largest = -range.min > range.max ? -range.min : range.max;
        factor = j->a->target.high / largest;
        by.scale = &factor;
        by.scale_each = false;
        ((float *)hc_data(&j->view[SCALE_OUT]))[row] =
            j->a->reciprocal ? factor : largest / j->a->target.high;
    }
    HC_DISPATCH(hc_quant_affine)(j->n, z, z, &by);
    store(j, row, z);
}

/* Ends of groups from lengths or ends, read once. */
static aclnnStatus read_groups(const struct hc_call *call, struct job *j, int64_t *ends) {
    const aclTensor *index = hc_arg(call, GROUPS);
    const aclTensor copy = hc_tensor_view(ACL_INT64, &index->numel, 1, ends);
    HC_TRY(hc_copy(&copy, index));
    int64_t last = 0;
    for (int64_t g = 0; g < index->numel; g++) {
        const int64_t value = ends[g], highest = (int64_t)j->rows - (j->a->counts ? last : 0);
        HC_CHECK(value >= (j->a->counts ? 0 : last) && value <= highest, ACLNN_ERR_PARAM_INVALID,
                 "%s: groupIndexOptional[%lld] is %lld, wanted %lld to %lld: %s of %zu rows", call->name,
                 (long long)g, (long long)value, (long long)(j->a->counts ? 0 : last), (long long)highest,
                 j->a->counts ? "the length of a group" : "the end of a group", j->rows);
        last = j->a->counts ? last + value : value;
        ends[g] = last;
    }
    j->ends = ends;
    j->groups = (size_t)index->numel;
    return 0;
}

/* With the groups read, if there are any. */
static aclnnStatus quantise(const struct hc_call *call, struct job *j) {
    const aclTensor *index = hc_arg(call, GROUPS);
    int64_t *ends = NULL;
    aclnnStatus status = 0;
    if (index != NULL) {
        ends = hc_block_take_array(hc_numel(index), sizeof *ends);
        HC_CHECK(ends != NULL, ACLNN_ERR_INNER, "%s: out of host memory for groups", call->name);
        status = read_groups(call, j, ends);
    }
    if (status == 0)
        status = hc_quant_rows_run(
            &(const struct hc_quant_rows){call->name, &j->view[X], 2 * j->n, j->rows, quantise_row, j});
    hc_block_give(ends);
    return status;
}

/* Inputs as copies where they are not contiguous, or lie in y's memory. */
static aclnnStatus run(const struct hc_call *call) {
    const aclTensor *x = hc_arg(call, X), *y = hc_arg(call, Y);
    struct job j = {.a = call->args, .n = hc_quant_row_length(x) / 2, .rows = hc_quant_row_count(x)};
    void *owned[SLOTS] = {NULL};
    aclnnStatus status = 0;
    for (int s = 0; s < SLOTS && status == 0; s++) {
        const aclTensor *t = hc_arg(call, s);
        if (t == NULL || s == GROUPS) continue;
        const bool kept = s == X || s == Y || t->dtype == ACL_INT32;
        const aclDataType as = kept ? t->dtype : ACL_FLOAT;
        status = s >= Y ? hc_contiguous_out(t, as, &j.view[s], &owned[s])
                        : hc_contiguous_apart(t, as, y, &j.view[s], &owned[s]);
    }
    if (status == 0) status = quantise(call, &j);
    for (int s = Y; s < SLOTS && status == 0; s++)
        if (owned[s] != NULL) status = hc_copy(hc_arg(call, s), &j.view[s]);
    for (int s = 0; s < SLOTS; s++) hc_block_give(owned[s]);
    return status;
}

/* ---- phase one ---- */

/* What the operators have in common: tensors by slot, and their names (NULL: it has no such argument). */
struct request {
    const char *name, *mode;
    const aclTensor *in[SLOTS];
    const char *const *names;
    struct args args;
};

/* Numbers of rows of `width`: one, or as many; with groups, for each of them. */
static aclnnStatus check_numbers(const struct request *r, int slot, int64_t width, bool whole) {
    const aclTensor *t = r->in[slot], *index = r->in[GROUPS];
    if (t == NULL) return 0;
    const int64_t groups = index != NULL ? index->numel : 1;
    HC_CHECK(hc_fits_f32(t->dtype) || (whole && t->dtype == ACL_INT32), ACLNN_ERR_PARAM_INVALID,
             "%s: %s is %s, wanted floating point%s", r->name, r->names[slot], HC_SHOW(t),
             whole ? " or int32" : "");
    const bool one = t->numel == 1 || t->numel == groups,
               row = t->numel == width || t->numel == groups * width;
    HC_CHECK(t->rank >= 1 && t->rank <= 2 && (row || (one && slot >= SCALE)) &&
                 (index == NULL || t->shape[0] == groups || t->shape[0] == 1 || t->rank == 1),
             ACLNN_ERR_PARAM_INVALID, "%s: %s is %s, wanted [%lld,%lld] for %lld groups", r->name,
             r->names[slot], HC_SHOW(t), (long long)groups, (long long)width, (long long)groups);
    return 0;
}

/* Scales that sums need and floating point must not have. */
static aclnnStatus check_input(const struct request *r) {
    const aclTensor *x = r->in[X], *rows = r->in[ROWS];
    HC_CHECK(x != NULL, ACLNN_ERR_PARAM_NULLPTR, "%s: x is null", r->name);
    const bool sums = r->names[WEIGHT] != NULL && x->dtype == ACL_INT32;
    HC_CHECK(sums || hc_fits_f32(x->dtype), ACLNN_ERR_PARAM_INVALID, "%s: x is %s, wanted floating point%s",
             r->name, HC_SHOW(x), r->names[WEIGHT] != NULL ? " or int32" : "");
    HC_CHECK(x->rank >= 1 && x->shape[x->rank - 1] % 2 == 0, ACLNN_ERR_PARAM_INVALID,
             "%s: x is %s, wanted an even last dimension", r->name, HC_SHOW(x));
    HC_CHECK(!sums || r->in[WEIGHT] != NULL, ACLNN_ERR_PARAM_NULLPTR, "%s: %s is null with x of int32",
             r->name, r->names[WEIGHT]);
    HC_CHECK(sums || (!r->in[WEIGHT] && !rows && !r->in[BIAS]), ACLNN_ERR_PARAM_INVALID,
             "%s: scales or a bias of the input are given, and x is %s: wanted none, or int32", r->name,
             HC_SHOW(x));
    const int64_t width = x->shape[x->rank - 1];
    HC_TRY(check_numbers(r, WEIGHT, width, false));
    HC_TRY(check_numbers(r, BIAS, width, true));
    HC_CHECK(rows == NULL || (hc_fits_f32(rows->dtype) && width > 0 && rows->numel == x->numel / width),
             ACLNN_ERR_PARAM_INVALID, "%s: activationScaleOptional is %s, wanted float32 of the rows of x %s",
             r->name, HC_SHOW(rows), HC_SHOW(x));
    return 0;
}

/* y, of half a row; int8 that hold two int4 each, or one of the usual types. */
static aclnnStatus check_result(struct request *r, int64_t dst_type) {
    const aclTensor *x = r->in[X], *y = r->in[Y], *scale = r->in[SCALE_OUT];
    aclTensor half = hc_tensor_view(x->dtype, x->shape, x->rank, NULL);
    half.shape[x->rank - 1] /= 2;
    half = hc_tensor_view(x->dtype, half.shape, x->rank, NULL);
    HC_CHECK(y != NULL, ACLNN_ERR_PARAM_NULLPTR, "%s: yOut is null", r->name);
    if (dst_type == ACL_INT4 && y->dtype == ACL_INT8) {
        half.shape[x->rank - 1] /= 2;
        HC_CHECK(hc_same_shape(y, &half) && x->shape[x->rank - 1] % 4 == 0, ACLNN_ERR_PARAM_INVALID,
                 "%s: yOut is %s, wanted a quarter of the last dimension of x %s, a multiple of 4", r->name,
                 HC_SHOW(y), HC_SHOW(x));
        r->args.nibbles = true;
        r->args.target = hc_quant_target_of(HC_QUANT_I4);
    } else {
        HC_TRY(hc_quant_check_target(r->name, &half, "yOut", y, dst_type, &r->args.target));
    }
    if (!r->args.dynamic) {
        r->in[SCALE_OUT] = NULL;
        return 0;
    }
    HC_TRY(hc_quant_check_float(r->name, "scaleOut", scale));
    const size_t rows = hc_quant_row_count(x);
    HC_CHECK(hc_numel(scale) == rows, ACLNN_ERR_PARAM_INVALID, "%s: scaleOut is %s, wanted %zu elements",
             r->name, HC_SHOW(scale), rows);
    return 0;
}

/* Phase one of all of them. */
static aclnnStatus plan(struct request *r, int64_t dst_type, uint64_t *workspaceSize,
                        aclOpExecutor **executor) {
    const aclTensor *index = r->in[GROUPS];
    HC_CHECK(r->mode != NULL, ACLNN_ERR_PARAM_NULLPTR, "%s: quantModeOptional is null", r->name);
    r->args.dynamic = strcmp(r->mode, "dynamic") == 0;
    HC_CHECK(r->args.dynamic || strcmp(r->mode, "static") == 0, ACLNN_ERR_PARAM_INVALID,
             "%s: quantModeOptional is '%.32s', wanted static or dynamic", r->name, r->mode);
    HC_CHECK(index == NULL ||
                 (hc_dtype_class(index->dtype) == HC_CLASS_INT && index->rank == 1 && index->numel > 0),
             ACLNN_ERR_PARAM_INVALID, "%s: groupIndexOptional is %s, wanted integers of one dimension",
             r->name, HC_SHOW(index));
    HC_TRY(check_input(r));
    HC_TRY(check_result(r, dst_type));
    const int64_t n = r->in[X]->shape[r->in[X]->rank - 1] / 2;
    HC_TRY(check_numbers(r, SCALE, n, false));
    HC_TRY(check_numbers(r, OFFSET, n, false));
    struct hc_operand operands[SLOTS];
    for (int s = 0; s < SLOTS; s++) {
        const int role = (s < Y ? HC_ROLE_IN : HC_ROLE_OUT) | (s == X || s == Y ? 0 : HC_ROLE_OPTIONAL);
        operands[s] = (struct hc_operand){r->in[s], NULL, role, r->names[s] != NULL ? r->names[s] : "none"};
    }
    const struct hc_plan p = {.name = r->name,
                              .run = run,
                              .args = &r->args,
                              .args_size = sizeof r->args,
                              .operands = operands,
                              .num_operands = SLOTS};
    return hc_plan(&p, workspaceSize, executor);
}

/* torch_npu.npu_swiglu_quant: the scale that is told is the factor, not its reciprocal. */
HC_API aclnnStatus aclnnSwiGluQuantV2GetWorkspaceSize(
    const aclTensor *x, const aclTensor *smoothScalesOptional, const aclTensor *offsetsOptional,
    const aclTensor *groupIndexOptional, bool activateLeft, char *quantModeOptional, int64_t groupListType,
    int64_t dstType, const aclTensor *yOut, const aclTensor *scaleOut, uint64_t *workspaceSize,
    aclOpExecutor **executor) {
    static const char *const NAMES[SLOTS] = {
        "x",    NULL,      NULL, NULL, "smoothScalesOptional", "offsetsOptional", "groupIndexOptional",
        "yOut", "scaleOut"};
    struct request r = {
        "aclnnSwiGluQuantV2",
        quantModeOptional,
        {x, NULL, NULL, NULL, smoothScalesOptional, offsetsOptional, groupIndexOptional, yOut, scaleOut},
        NAMES,
        {.swiglu = {HC_SWIGLU_PLAIN, activateLeft, false}, .reciprocal = true, .counts = groupListType == 1}};
    HC_CHECK(groupListType == 0 || groupListType == 1, ACLNN_ERR_PARAM_INVALID,
             "%s: groupListType is %lld, wanted 0 (ends of groups) or 1 (lengths)", r.name,
             (long long)groupListType);
    return plan(&r, dstType, workspaceSize, executor);
}
HC_OP_LAUNCH(aclnnSwiGluQuantV2)

static const char *const DEQUANT_NAMES[SLOTS] = {"x",
                                                 "weightScaleOptional",
                                                 "activationScaleOptional",
                                                 "biasOptional",
                                                 "quantScaleOptional",
                                                 "quantOffsetOptional",
                                                 "groupIndexOptional",
                                                 "yOut",
                                                 "scaleOut"};

/* The first version: int8 results of halves. */
HC_API aclnnStatus aclnnDequantSwigluQuantGetWorkspaceSize(
    const aclTensor *x, const aclTensor *weightScaleOptional, const aclTensor *activationScaleOptional,
    const aclTensor *biasOptional, const aclTensor *quantScaleOptional, const aclTensor *quantOffsetOptional,
    const aclTensor *groupIndexOptional, bool activateLeft, char *quantModeOptional, const aclTensor *yOut,
    const aclTensor *scaleOut, uint64_t *workspaceSize, aclOpExecutor **executor) {
    struct request r = {"aclnnDequantSwigluQuant",
                        quantModeOptional,
                        {x, weightScaleOptional, activationScaleOptional, biasOptional, quantScaleOptional,
                         quantOffsetOptional, groupIndexOptional, yOut, scaleOut},
                        DEQUANT_NAMES,
                        {.swiglu = {HC_SWIGLU_PLAIN, activateLeft, false}, .divide = true, .counts = true}};
    return plan(&r, -1, workspaceSize, executor);
}
HC_OP_LAUNCH(aclnnDequantSwigluQuant)

/* Words for rounding: the first two are the same here. */
static aclnnStatus find_rounding(const char *name, const char *word, enum hc_quant_rounding *rounding) {
    static const struct {
        const char *word;
        enum hc_quant_rounding rounding;
    } WORDS[] = {{"rint", HC_QUANT_NEAREST},
                 {"round", HC_QUANT_NEAREST},
                 {"floor", HC_QUANT_FLOOR},
                 {"ceil", HC_QUANT_CEIL},
                 {"trunc", HC_QUANT_TRUNC}};
    for (size_t i = 0; word != NULL && i < HC_ARRAY_SIZE(WORDS); i++) {
        if (strcmp(word, WORDS[i].word) != 0) continue;
        *rounding = WORDS[i].rounding;
        return 0;
    }
    return hc_fail(ACLNN_ERR_PARAM_INVALID,
                   "%s: roundModeOptional is '%.32s', wanted rint, round, floor, ceil or trunc", name,
                   word != NULL ? word : "null");
}

/* torch_npu.npu_dequant_swiglu_quant. swigluMode 1: a limit, a factor and a shift, elements taking turns. */
HC_API aclnnStatus aclnnDequantSwigluQuantV2GetWorkspaceSize(
    const aclTensor *x, const aclTensor *weightScaleOptional, const aclTensor *activationScaleOptional,
    const aclTensor *biasOptional, const aclTensor *quantScaleOptional, const aclTensor *quantOffsetOptional,
    const aclTensor *groupIndexOptional, bool activateLeft, char *quantModeOptional, int64_t dstType,
    char *roundModeOptional, int64_t activateDim, int64_t swigluMode, double clampLimit, double gluAlpha,
    double gluBias, const aclTensor *yOut, const aclTensor *scaleOut, uint64_t *workspaceSize,
    aclOpExecutor **executor) {
    struct request r = {"aclnnDequantSwigluQuantV2",
                        quantModeOptional,
                        {x, weightScaleOptional, activationScaleOptional, biasOptional, quantScaleOptional,
                         quantOffsetOptional, groupIndexOptional, yOut, scaleOut},
                        DEQUANT_NAMES,
                        {.swiglu = {HC_SWIGLU_PLAIN, activateLeft, false}, .divide = true, .counts = true}};
    HC_CHECK(x != NULL, ACLNN_ERR_PARAM_NULLPTR, "%s: x is null", r.name);
    HC_CHECK(hc_wrap_dim(activateDim, x->rank) == x->rank - 1, ACLNN_ERR_PARAM_INVALID,
             "%s: activateDim is %lld, wanted the last of x %s", r.name, (long long)activateDim, HC_SHOW(x));
    HC_CHECK(swigluMode == 0 || swigluMode == 1, ACLNN_ERR_PARAM_INVALID,
             "%s: swigluMode is %lld, wanted 0 (halves) or 1 (pairs with a limit)", r.name,
             (long long)swigluMode);
    HC_TRY(find_rounding(r.name, roundModeOptional, &r.args.rounding));
    if (swigluMode == 1) {
        HC_CHECK(clampLimit > 0, ACLNN_ERR_PARAM_INVALID, "%s: clampLimit is %g, wanted a positive number",
                 r.name, clampLimit);
        r.args.swiglu.interleaved = true;
        r.args.swiglu.gate = (struct hc_swiglu_gate){(float)clampLimit, (float)gluAlpha, (float)gluBias};
    }
    return plan(&r, dstType, workspaceSize, executor);
}
HC_OP_LAUNCH(aclnnDequantSwigluQuantV2)
