// SPDX-License-Identifier: Apache-2.0
/* A feed-forward layer: two products with an activation in between, of all rows or of groups of rows that
 * experts share among them.
 *
 *     floating point    y = act(x @ W1 + b1) @ W2 + b2
 *     int8              z = round(act((x @ W1 + b1) * d1) * scale + offset), y = (z @ W2 + b2) * d2
 *     int8 weights      the first with (W + offset) * scale of each column in the place of W
 *
 * act(z) of geglu, swiglu and reglu is act(first half) * second half. The first product is float32 in memory
 * of ours; a row of it is activated in place, and the second product reads what its beginning then holds, in
 * x's type (float32 for float16 with innerPrecise 0). The products are those of grouped.h.
 *
 * Memory of ours is the first product: rows of x times columns of weight1 in float32. Between the products
 * nothing is moved: a row of it, activated, begins where the row began, and the second product reads rows
 * with gaps between them. Experts without rows cost nothing; those with few run side by side (grouped.h).
 */
#include <string.h>

#include "activate.h"
#include "grouped.h"
#include "quant.h"

enum { MOST_EXPERTS = 256 };
enum kind { FLOATS, QUANTISED, WEIGHTS };
enum slot { X, W1, W2, TOKENS, B1, B2, SCALE, OFFSET, D1, D2, A1, A2, S1, S2, Y, SLOTS };

static const char *const NAMES[SLOTS] = {"x",
                                         "weight1",
                                         "weight2",
                                         "expertTokens",
                                         "bias1",
                                         "bias2",
                                         "scale",
                                         "offset",
                                         "deqScale1",
                                         "deqScale2",
                                         "antiquantScale1",
                                         "antiquantScale2",
                                         "antiquantOffset1",
                                         "antiquantOffset2",
                                         "y"};

struct args {
    enum kind kind;
    enum hc_activation activation;
    bool gated, ends;  /* ends: expertTokens are ends of groups, else lengths */
    aclDataType inner; /* what the second product reads */
    size_t experts;    /* 0: there are none */
    size_t listed;     /* of them in tokens; 0: in a tensor */
    int64_t tokens[MOST_EXPERTS];
};

/* ---- what both phases make of the operands ---- */

/* The operand as a list of one tensor for all groups; an optional one that was not given has none. */
static struct hc_grouped_list one(const aclTensor *t) { return (struct hc_grouped_list){NULL, t, t != NULL}; }

/* Product `i` of the two. x and z are matrices. */
static struct hc_grouped product(const char *name, const struct args *a, const aclTensor *const *t, int i,
                                 const aclTensor *x, const aclTensor *z) {
    return (struct hc_grouped){.name = name,
                               .x = one(x),
                               .weight = one(t[W1 + i]),
                               .bias = one(t[B1 + i]),
                               .y = one(z),
                               .scale = one(t[D1 + i]),
                               .antiquant = one(t[A1 + i]),
                               .shift = one(t[S1 + i]),
                               .weight_name = NAMES[W1 + i],
                               .y_name = i == 0 ? "the first product" : "y",
                               .groups = hc_max_size(a->experts, 1),
                               .listed = a->experts > 0};
}

/* t as a matrix of its last dimension, which it is contiguous for; without data in phase one. */
static aclTensor matrix_of(const aclTensor *t) {
    const int64_t n = t->shape[t->rank - 1];
    int64_t rows = 1;
    for (int32_t d = 0; d < t->rank - 1; d++) rows *= t->shape[d];
    aclTensor m = *t;
    m.rank = 2;
    m.shape[0] = rows;
    m.shape[1] = m.stride[0] = n;
    m.stride[1] = 1;
    return m;
}

/* Of every expert's matrix; the same for all of them. */
static int64_t columns(const aclTensor *weight) { return weight->shape[weight->rank - 1]; }

/* ---- phase two ---- */

/* The first product's rows on their way to the second; first[e] is expert e's first row. */
struct job {
    const struct args *a;
    const int64_t *first;
    const float *scale, *offset;
    bool scale_each; /* of a row; else one number for each expert */
    size_t n;        /* elements of an activated row */
    char *z;
    size_t pitch; /* bytes of a row of the first product */
    hc_store_fn *store;
};

/* x is a copy of the row that it replaces. */
static void activate_row(const void *ctx, size_t row, float *x, float *spare) {
    const struct job *j = ctx;
    char *to = j->z + row * j->pitch;
    size_t expert = 0;
    (void)spare;
    if (j->a->gated) HC_DISPATCH(hc_activate_gated)(j->n, x, x + j->n, j->a->activation);
    else HC_DISPATCH(hc_activate)(j->n, x, j->a->activation);
    if (j->a->kind != QUANTISED) {
        j->store(j->n, to, 1, x);
        return;
    }
    while (j->first[expert + 1] <= (int64_t)row) expert++;
    const struct hc_quant_affine affine = {.scale = j->scale + expert * (j->scale_each ? j->n : 1),
                                           .offset = j->offset != NULL ? j->offset + expert : NULL,
                                           .scale_each = j->scale_each,
                                           .target = hc_quant_target_of(HC_QUANT_I8)};
    HC_DISPATCH(hc_quant_affine)(j->n, x, x, &affine);
    hc_quant_store(&affine.target, to, 0, j->n, x);
}

/* Ends of experts' rows from the list, as it is now; they use up the rows. */
static aclnnStatus read_tokens(const struct hc_call *call, int64_t rows, int64_t *first) {
    const struct args *a = call->args;
    const int64_t n = (int64_t)a->experts;
    int64_t own[MOST_EXPERTS];
    const int64_t *values = a->tokens;
    first[0] = 0;
    if (n == 0) first[1] = rows;
    if (n > 0 && a->listed == 0) {
        const aclTensor copy = hc_tensor_view(ACL_INT64, &n, 1, own);
        HC_TRY(hc_copy(&copy, hc_arg(call, TOKENS)));
        values = own;
    }
    for (int64_t i = 0; i < n; i++) {
        const int64_t lowest = a->ends ? first[i] : 0, highest = a->ends ? rows : rows - first[i];
        const bool last = i == n - 1;
        HC_CHECK(values[i] >= (last ? highest : lowest) && values[i] <= highest, ACLNN_ERR_PARAM_INVALID,
                 "%s: expertTokens[%lld] is %lld, wanted %lld to %lld: %s, which make up %lld rows",
                 call->name, (long long)i, (long long)values[i], (long long)(last ? highest : lowest),
                 (long long)highest, a->ends ? "ends of experts' rows" : "numbers of experts' rows",
                 (long long)rows);
        first[i + 1] = a->ends ? values[i] : first[i] + values[i];
    }
    return 0;
}

/* The first product, activated where it is, and the second of it. */
static aclnnStatus multiply(const struct hc_call *call, const aclTensor *const *t, const aclTensor *x,
                            const aclTensor *y, struct job *j, void *memory) {
    const struct args *a = call->args;
    const int64_t shape[] = {x->shape[0], columns(t[W1])};
    const aclTensor z = hc_tensor_view(ACL_FLOAT, shape, 2, memory);
    aclTensor inner = hc_tensor_view(a->inner, (const int64_t[]){shape[0], (int64_t)j->n}, 2, memory);
    inner.stride[0] = shape[1] * (int64_t)sizeof(float) / inner.item_size;
    j->z = memory;
    j->pitch = (size_t)shape[1] * sizeof(float);
    j->store = a->kind != QUANTISED ? hc_store_for(a->inner, HC_F32) : NULL;
    struct hc_grouped g = product(call->name, a, t, 0, x, &z);
    HC_TRY(hc_grouped_run(&g, j->first));
    HC_TRY(hc_quant_rows_run(
        &(const struct hc_quant_rows){call->name, &z, (size_t)shape[1], (size_t)shape[0], activate_row, j}));
    g = product(call->name, a, t, 1, &inner, y);
    return hc_grouped_run(&g, j->first);
}

/* Everything read before y is written, but the second weight and its numbers, of which the products make
 * copies where they lie in y's memory. */
static aclnnStatus run(const struct hc_call *call) {
    const struct args *a = call->args;
    const aclTensor *t[SLOTS], *scale;
    int64_t first[MOST_EXPERTS + 1];
    aclTensor x, y, views[2];
    void *owned[4] = {NULL}, *own_y = NULL;
    for (int s = 0; s < SLOTS; s++) t[s] = hc_arg(call, s);
    if (t[Y]->numel == 0) return 0;
    HC_TRY(hc_contiguous(t[X], t[X]->dtype, &x, &owned[0]));
    x = matrix_of(&x);
    struct job j = {.a = a, .first = first, .n = (size_t)(columns(t[W1]) >> a->gated)};
    aclnnStatus status = read_tokens(call, x.shape[0], first);
    for (int i = 0; i < 2 && status == 0; i++)
        if (t[SCALE + i] != NULL) status = hc_contiguous(t[SCALE + i], ACL_FLOAT, &views[i], &owned[1 + i]);
    if ((scale = t[SCALE]) != NULL && status == 0) {
        j.scale = (const float *)hc_data(&views[0]);
        j.scale_each = scale->rank > 0 && scale->shape[scale->rank - 1] == (int64_t)j.n &&
                       scale->numel == (int64_t)(j.n * hc_max_size(a->experts, 1));
        if (t[OFFSET] != NULL) j.offset = (const float *)hc_data(&views[1]);
    }
    if (status == 0) status = hc_contiguous_out(t[Y], t[Y]->dtype, &y, &own_y);
    owned[3] = hc_block_take_array((size_t)x.shape[0] * (size_t)columns(t[W1]), sizeof(float));
    if (status == 0 && owned[3] == NULL)
        status = hc_fail(ACLNN_ERR_INNER, "%s: out of host memory for %lld rows of %lld", call->name,
                         (long long)x.shape[0], (long long)columns(t[W1]));
    if (status == 0) {
        const aclTensor to = matrix_of(&y);
        status = multiply(call, t, &x, &to, &j, owned[3]);
    }
    if (status == 0 && own_y != NULL) status = hc_copy(t[Y], &y);
    for (size_t i = 0; i < HC_ARRAY_SIZE(owned); i++) hc_block_give(owned[i]);
    hc_block_give(own_y);
    return status;
}

/* ---- phase one ---- */

/* By the words of the interface. */
static const struct {
    const char *word;
    enum hc_activation activation;
    bool gated;
} ACTIVATIONS[] = {{"fastgelu", HC_ACTIVATION_FAST_GELU, false}, {"gelu", HC_ACTIVATION_GELU, false},
                   {"relu", HC_ACTIVATION_RELU, false},          {"silu", HC_ACTIVATION_SILU, false},
                   {"geglu", HC_ACTIVATION_GELU, true},          {"reglu", HC_ACTIVATION_RELU, true},
                   {"swiglu", HC_ACTIVATION_SILU, true}};

/* The word says whether the first product is twice as wide, too. */
static aclnnStatus find_activation(const char *name, const char *word, struct args *args) {
    HC_CHECK(word != NULL, ACLNN_ERR_PARAM_NULLPTR, "%s: activation is null", name);
    for (size_t i = 0; i < HC_ARRAY_SIZE(ACTIVATIONS); i++) {
        if (strcmp(word, ACTIVATIONS[i].word) != 0) continue;
        args->activation = ACTIVATIONS[i].activation;
        args->gated = ACTIVATIONS[i].gated;
        return 0;
    }
    return hc_fail(ACLNN_ERR_PARAM_INVALID,
                   "%s: activation is '%.32s', wanted fastgelu, gelu, relu, silu, geglu, reglu or swiglu",
                   name, word);
}

/* x and the weights say which kind it is; what belongs to another kind is refused by its name. */
static aclnnStatus find_kind(const char *name, const aclTensor *const *t, struct args *args) {
    const bool eight = t[W1]->dtype == ACL_INT8 && t[W2]->dtype == ACL_INT8;
    const bool floats = hc_fits_f32(t[W1]->dtype) && hc_fits_f32(t[W2]->dtype);
    const bool known = t[X]->dtype == ACL_INT8 ? eight : hc_fits_f32(t[X]->dtype) && (eight || floats);
    HC_CHECK(known, ACLNN_ERR_PARAM_INVALID,
             "%s: x is %s, weight1 %s, weight2 %s: wanted all of int8, x of floating point with weights of "
             "int8, or "
             "all of floating point",
             name, HC_SHOW(t[X]), HC_SHOW(t[W1]), HC_SHOW(t[W2]));
    args->kind = t[X]->dtype == ACL_INT8 ? QUANTISED : eight ? WEIGHTS : FLOATS;
    for (int s = SCALE; s <= S2; s++) {
        const enum kind of = s <= D2 ? QUANTISED : WEIGHTS;
        const bool needed = s == SCALE || (s >= D1 && s <= A2);
        HC_CHECK(t[s] == NULL || args->kind == of, ACLNN_ERR_PARAM_INVALID,
                 "%s: %s is %s, wanted none with x %s and weight1 %s", name, NAMES[s], HC_SHOW(t[s]),
                 HC_SHOW(t[X]), HC_SHOW(t[W1]));
        HC_CHECK(t[s] != NULL || args->kind != of || !needed, ACLNN_ERR_PARAM_NULLPTR,
                 "%s: %s is null with x %s and weight1 %s", name, NAMES[s], HC_SHOW(t[X]), HC_SHOW(t[W1]));
    }
    HC_CHECK(!args->gated || args->kind == FLOATS, ACLNN_ERR_PARAM_INVALID,
             "%s: activation is geglu, reglu or swiglu with weight1 %s, wanted floating point", name,
             HC_SHOW(t[W1]));
    return 0;
}

/* Matrices, one for each expert where there are some, that follow each other. */
static aclnnStatus check_shapes(const char *name, const aclTensor *const *t, const struct args *args) {
    const int32_t rank = args->experts > 0 ? 3 : 2;
    const aclTensor *x = t[X], *w1 = t[W1], *w2 = t[W2];
    HC_CHECK(x->rank >= 2 && x->rank < HC_MAX_RANK, ACLNN_ERR_PARAM_INVALID,
             "%s: x is %s, wanted 2 to %d dimensions", name, HC_SHOW(x), HC_MAX_RANK - 1);
    for (int s = W1; s <= W2; s++)
        HC_CHECK(t[s]->rank == rank && (rank == 2 || t[s]->shape[0] == (int64_t)args->experts),
                 ACLNN_ERR_PARAM_INVALID, "%s: %s is %s, wanted %d dimensions%s for %zu experts", name,
                 NAMES[s], HC_SHOW(t[s]), (int)rank, rank == 3 ? ", a matrix for each," : "", args->experts);
    HC_CHECK(w1->shape[rank - 2] == x->shape[x->rank - 1], ACLNN_ERR_PARAM_INVALID,
             "%s: weight1 is %s, x %s: wanted as many rows as x has columns", name, HC_SHOW(w1), HC_SHOW(x));
    HC_CHECK(columns(w1) == w2->shape[rank - 2] << args->gated, ACLNN_ERR_PARAM_INVALID,
             "%s: weight1 is %s, weight2 %s: wanted %s as many columns as weight2 has rows", name,
             HC_SHOW(w1), HC_SHOW(w2), args->gated ? "twice" : "just");
    aclTensor want = *x;
    want.shape[x->rank - 1] = columns(w2);
    HC_CHECK(hc_same_shape(&want, t[Y]) && hc_fits_f32(t[Y]->dtype), ACLNN_ERR_PARAM_INVALID,
             "%s: y is %s, wanted float32, float16 or bfloat16 of x's shape %s with %lld columns", name,
             HC_SHOW(t[Y]), HC_SHOW(x), (long long)columns(w2));
    return 0;
}

/* Numbers of columns, a row of them for each expert; scale and offset may be one number for each expert. */
static aclnnStatus check_numbers(const char *name, const aclTensor *const *t, const struct args *args) {
    const int64_t experts = hc_max_i64((int64_t)args->experts, 1);
    for (int s = B1; s <= S2; s++) {
        if (t[s] == NULL) continue;
        const bool first = s == B1 || s == D1 || s == A1 || s == S1 || s == SCALE;
        const int64_t n = s == OFFSET ? 1 : columns(t[first ? W1 : W2]);
        const bool each = t[s]->numel == experts * n && (t[s]->rank == 2 || args->experts == 0 || n == 1);
        HC_CHECK(each || (s == SCALE && t[s]->numel == experts), ACLNN_ERR_PARAM_INVALID,
                 "%s: %s is %s, wanted [%lld,%lld]%s", name, NAMES[s], HC_SHOW(t[s]), (long long)experts,
                 (long long)n, s == SCALE ? " or a number for each expert" : "");
        const bool packed = (s == D1 || s == D2) && (t[s]->dtype == ACL_INT64 || t[s]->dtype == ACL_UINT64);
        const bool whole = s <= B2 && args->kind == QUANTISED && t[s]->dtype == ACL_INT32;
        HC_CHECK(packed || whole || hc_fits_f32(t[s]->dtype), ACLNN_ERR_PARAM_INVALID,
                 "%s: %s is %s, wanted floating point%s", name, NAMES[s], HC_SHOW(t[s]),
                 s == D1 || s == D2                   ? " or uint64"
                 : s <= B2 && args->kind == QUANTISED ? " or int32"
                                                      : "");
    }
    return 0;
}

/* Both products by the rules of groups, which know of strides and sizes too large. */
static aclnnStatus check_products(const char *name, const aclTensor *const *t, const struct args *args) {
    const aclTensor x = matrix_of(t[X]), y = matrix_of(t[Y]);
    const int64_t shape[] = {x.shape[0], columns(t[W1])};
    int64_t elements;
    HC_CHECK(hc_shape_numel(shape, 2, &elements), ACLNN_ERR_PARAM_INVALID,
             "%s: the first product has %lld rows of %lld, which is too large", name, (long long)shape[0],
             (long long)shape[1]);
    const aclTensor z = hc_tensor_view(ACL_FLOAT, shape, 2, NULL);
    const aclTensor inner =
        hc_tensor_view(args->inner, (const int64_t[]){shape[0], shape[1] >> args->gated}, 2, NULL);
    const struct hc_grouped products[] = {product(name, args, t, 0, &x, &z),
                                          product(name, args, t, 1, &inner, &y)};
    HC_TRY(hc_grouped_check(&products[0]));
    return hc_grouped_check(&products[1]);
}

/* What both versions have in common; the operands in the order of the slots. Shapes come after kinds, so that
 * a message about a shape is one about operands that belong there. */
static aclnnStatus plan(const char *name, const aclTensor *const *t, const char *activation, int64_t precise,
                        struct args *args, uint64_t *workspaceSize, aclOpExecutor **executor) {
    static const int needed[] = {X, W1, W2, Y};
    for (size_t i = 0; i < HC_ARRAY_SIZE(needed); i++)
        HC_CHECK(t[needed[i]] != NULL, ACLNN_ERR_PARAM_NULLPTR, "%s: %s is null", name, NAMES[needed[i]]);
    HC_CHECK(args->experts <= MOST_EXPERTS, ACLNN_ERR_PARAM_INVALID,
             "%s: expertTokens has %zu numbers, wanted %d at most", name, args->experts, MOST_EXPERTS);
    HC_CHECK(precise == 0 || precise == 1, ACLNN_ERR_PARAM_INVALID,
             "%s: innerPrecise is %lld, wanted 0 (float32 between the products) or 1", name,
             (long long)precise);
    HC_TRY(find_activation(name, activation, args));
    HC_TRY(find_kind(name, t, args));
    args->inner = t[X]->dtype == ACL_FLOAT16 && precise == 0 ? ACL_FLOAT : t[X]->dtype;
    HC_TRY(check_shapes(name, t, args));
    HC_TRY(check_numbers(name, t, args));
    HC_TRY(check_products(name, t, args));
    struct hc_operand operands[SLOTS];
    for (int s = 0; s < SLOTS; s++) {
        const bool optional = s >= TOKENS && s < Y;
        operands[s] = (struct hc_operand){
            t[s], NULL, s == Y ? HC_ROLE_OUT : HC_ROLE_IN | (optional ? HC_ROLE_OPTIONAL : 0), NAMES[s]};
    }
    const uint64_t rows = (uint64_t)(t[Y]->numel / hc_max_i64(columns(t[W2]), 1));
    const uint64_t inner = (uint64_t)columns(t[W1]) >> args->gated;
    return hc_plan(
        &(const struct hc_plan){.name = name,
                                .run = run,
                                .args = args,
                                .args_size = sizeof *args,
                                .operands = operands,
                                .num_operands = SLOTS,
                                .flops = 2 * rows *
                                         ((uint64_t)t[X]->shape[t[X]->rank - 1] * (uint64_t)columns(t[W1]) +
                                          inner * (uint64_t)columns(t[W2]))},
        workspaceSize, executor);
}

/* torch_npu.npu_ffn: rows of experts as integers. */
HC_API aclnnStatus aclnnFFNV2GetWorkspaceSize(
    const aclTensor *x, const aclTensor *weight1, const aclTensor *weight2, const aclIntArray *expertTokens,
    const aclTensor *bias1, const aclTensor *bias2, const aclTensor *scale, const aclTensor *offset,
    const aclTensor *deqScale1, const aclTensor *deqScale2, const aclTensor *antiquantScale1,
    const aclTensor *antiquantScale2, const aclTensor *antiquantOffset1, const aclTensor *antiquantOffset2,
    const char *activation, int64_t innerPrecise, bool tokensIndexFlag, const aclTensor *y,
    uint64_t *workspaceSize, aclOpExecutor **executor) {
    const aclTensor *const t[SLOTS] = {x,
                                       weight1,
                                       weight2,
                                       NULL,
                                       bias1,
                                       bias2,
                                       scale,
                                       offset,
                                       deqScale1,
                                       deqScale2,
                                       antiquantScale1,
                                       antiquantScale2,
                                       antiquantOffset1,
                                       antiquantOffset2,
                                       y};
    struct args args = {.ends = tokensIndexFlag};
    args.experts = args.listed = expertTokens != NULL ? expertTokens->size : 0;
    for (size_t i = 0; i < args.listed && i < MOST_EXPERTS; i++) args.tokens[i] = expertTokens->data[i];
    return plan("aclnnFFNV2", t, activation, innerPrecise, &args, workspaceSize, executor);
}
HC_OP_LAUNCH(aclnnFFNV2)

/* mindspeed.ops.npu_ffn of the original: as a tensor. */
HC_API aclnnStatus aclnnFFNV3GetWorkspaceSize(
    const aclTensor *x, const aclTensor *weight1, const aclTensor *weight2, const aclTensor *expertTokens,
    const aclTensor *bias1, const aclTensor *bias2, const aclTensor *scale, const aclTensor *offset,
    const aclTensor *deqScale1, const aclTensor *deqScale2, const aclTensor *antiquantScale1,
    const aclTensor *antiquantScale2, const aclTensor *antiquantOffset1, const aclTensor *antiquantOffset2,
    const char *activation, int64_t innerPrecise, bool tokensIndexFlag, const aclTensor *y,
    uint64_t *workspaceSize, aclOpExecutor **executor) {
    static const char *const NAME = "aclnnFFNV3";
    const bool given = expertTokens != NULL && expertTokens->numel > 0;
    HC_CHECK(!given || (expertTokens->rank == 1 && hc_dtype_class(expertTokens->dtype) == HC_CLASS_INT),
             ACLNN_ERR_PARAM_INVALID, "%s: expertTokens is %s, wanted int64 of one dimension", NAME,
             HC_SHOW(expertTokens));
    const aclTensor *const t[SLOTS] = {x,
                                       weight1,
                                       weight2,
                                       given ? expertTokens : NULL,
                                       bias1,
                                       bias2,
                                       scale,
                                       offset,
                                       deqScale1,
                                       deqScale2,
                                       antiquantScale1,
                                       antiquantScale2,
                                       antiquantOffset1,
                                       antiquantOffset2,
                                       y};
    struct args args = {.ends = tokensIndexFlag, .experts = given ? (size_t)expertTokens->numel : 0};
    return plan(NAME, t, activation, innerPrecise, &args, workspaceSize, executor);
}
HC_OP_LAUNCH(aclnnFFNV3)
