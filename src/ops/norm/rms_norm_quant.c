// SPDX-License-Identifier: Apache-2.0
/* Root mean square normalisation whose result is quantised, alone or after a residual addition:
 *
 *     z = (x1 + x2) * rstd * gamma + beta
 *     static   y = round(z / scale + zero point), or round(z * scale + zero point)
 *     dynamic  scale = max |z * smooth| / highest of each row, y = round(z * smooth / scale)
 *
 * each for up to two sets of scales. As in AddRmsNorm the sum is rounded to the type of x first, and is an
 * output; z itself is not rounded. A row is read once. */
#include <string.h>

#include "norm.h"
#include "quant.h"
#include "rms_row.h"
#include "sum_of_two.h"

enum { SETS = 2 };
enum slot {
    X1,
    X2, /* NULL: x1 alone is normalised */
    GAMMA,
    BETA,
    SCALE,               /* static: scales; dynamic: smooth scales, which may be NULL */
    ZERO = SCALE + SETS, /* zero points */
    Y = ZERO + SETS,     /* NULL: a set that is not wanted */
    SCALE_OUT = Y + SETS,
    SUM = SCALE_OUT + SETS,
    NORM, /* z, may be NULL */
    RSTD, /* may be NULL */
    SLOTS
};

struct args {
    double epsilon;
    bool dynamic, divide;
    uint32_t mask; /* the dimensions of a row */
    struct hc_quant_target target[SETS];
};

/* ---- phase two ---- */

/* Everything contiguous; numbers and scales are float32. */
struct job {
    const struct args *a;
    aclTensor view[SLOTS]; /* base NULL: not there */
    hc_store_fn *store_norm;
    size_t n;
};

static const float *numbers(const struct job *j, int slot) {
    return j->view[slot].base != NULL ? (const float *)hc_data(&j->view[slot]) : NULL;
}

/* Set `set` of row z, which stays; `y` is for the rounded values. A static set without scales has scale 1, as
 * op-plugin's tests have it. */
static void quantise(const struct job *j, int set, size_t row, const float *z, float *y) {
    const struct hc_quant_target *target = &j->a->target[set];
    static const float ONE = 1;
    const float *scale = numbers(j, SCALE + set), *zero = numbers(j, ZERO + set);
    if (j->a->dynamic) {
        struct hc_quant_range range;
        memcpy(y, z, j->n * sizeof *y);
        HC_DISPATCH(hc_quant_range)(j->n, y, scale, &range);
        const struct hc_quant_scale by = hc_quant_scale_of(target, range, true);
        ((float *)hc_data(&j->view[SCALE_OUT + set]))[row] = by.scale;
        hc_quant_row(target, &by, j->n, y);
    } else {
        const struct hc_quant_affine affine = {.scale = scale != NULL ? scale : &ONE,
                                               .offset = zero,
                                               .scale_each = j->view[SCALE + set].numel > 1,
                                               .offset_each = j->view[ZERO + set].numel > 1,
                                               .divide = j->a->divide,
                                               .target = *target};
        HC_DISPATCH(hc_quant_affine)(j->n, y, z, &affine);
    }
    hc_quant_store(target, hc_data(&j->view[Y + set]), row, j->n, y);
}

static void normalise_row(const void *ctx, size_t row, float *x, float *spare) {
    const struct job *j = ctx;
    float rstd;
    hc_rms_row(j->n, x, numbers(j, GAMMA), numbers(j, BETA), j->a->epsilon, &rstd);
    if (j->view[RSTD].base != NULL) ((float *)hc_data(&j->view[RSTD]))[row] = rstd;
    if (j->view[NORM].base != NULL)
        j->store_norm(j->n, hc_data(&j->view[NORM]) + row * j->n * (size_t)j->view[NORM].item_size, 1, x);
    for (int set = 0; set < SETS; set++)
        if (j->view[Y + set].base != NULL) quantise(j, set, row, x, spare);
}

/* Inputs as copies where they are not contiguous float32, or lie in an output's memory; outputs in memory of
 * ours where theirs is not contiguous. */
static aclnnStatus take(const struct hc_call *call, struct job *j, int slot, void **owned) {
    const aclTensor *t = hc_arg(call, slot);
    if (t == NULL || slot == X1 || slot == X2 || slot == SUM) return 0;
    const bool as_is = slot == NORM || (slot >= Y && slot < SCALE_OUT);
    if (slot >= Y) return hc_contiguous_out(t, as_is ? t->dtype : ACL_FLOAT, &j->view[slot], owned);
    return hc_contiguous(t, ACL_FLOAT, &j->view[slot], owned);
}

static aclnnStatus run(const struct hc_call *call) {
    const struct args *a = call->args;
    const aclTensor *x = hc_arg(call, X1);
    struct job j = {.a = a, .n = hc_rows_length(x, a->mask)};
    void *owned[SLOTS] = {NULL}, *own_x = NULL;
    aclTensor plain;
    if (x->numel == 0) return 0;
    aclnnStatus status = 0;
    if (hc_arg(call, X2) != NULL) {
        status = hc_sum_of_two(call->name, hc_arg(call, SUM), x, hc_arg(call, X2));
        x = hc_arg(call, SUM);
    }
    if (status == 0) status = hc_contiguous(x, x->dtype, &plain, &own_x);
    for (int s = 0; s < SLOTS && status == 0; s++) status = take(call, &j, s, &owned[s]);
    if (status == 0) {
        if (j.view[NORM].base != NULL) j.store_norm = hc_store_for(j.view[NORM].dtype, HC_F32);
        status = hc_quant_rows_run(
            &(const struct hc_quant_rows){call->name, &plain, j.n, hc_numel(x) / j.n, normalise_row, &j});
    }
    for (int s = Y; s < SLOTS && status == 0; s++)
        if (owned[s] != NULL) status = hc_copy(hc_arg(call, s), &j.view[s]);
    hc_block_give(own_x);
    for (int s = 0; s < SLOTS; s++) hc_block_give(owned[s]);
    return status;
}

/* ---- phase one ---- */

/* What the operators have in common: tensors by slot, and their names. */
struct request {
    const char *name;
    const aclTensor *in[SLOTS];
    const char *const *names;
    struct args args;
};

/* Numbers of a row: gamma's, or one. */
static aclnnStatus check_numbers(const struct request *r, int slot, bool one) {
    const aclTensor *t = r->in[slot], *gamma = r->in[GAMMA];
    const bool zero = slot >= ZERO && slot < Y;
    if (t == NULL) return 0;
    HC_CHECK(hc_fits_f32(t->dtype) || (zero && hc_dtype_class(t->dtype) == HC_CLASS_INT),
             ACLNN_ERR_PARAM_INVALID, "%s: %s is %s, wanted floating point%s", r->name, r->names[slot],
             HC_SHOW(t), zero ? " or integers" : "");
    HC_CHECK(t->numel == gamma->numel || (one && t->numel == 1), ACLNN_ERR_PARAM_INVALID,
             "%s: %s is %s, wanted the shape of gamma %s%s", r->name, r->names[slot], HC_SHOW(t),
             HC_SHOW(gamma), one ? ", or one element" : "");
    return 0;
}

static aclnnStatus check_set(struct request *r, int set) {
    const aclTensor *x = r->in[X1], *y = r->in[Y + set];
    if (y == NULL) return 0;
    HC_TRY(hc_quant_check_target(r->name, x, r->names[Y + set], y, -1, &r->args.target[set]));
    HC_TRY(check_numbers(r, SCALE + set, !r->args.dynamic));
    HC_TRY(check_numbers(r, ZERO + set, true));
    if (!r->args.dynamic) return 0;
    HC_CHECK(r->in[SCALE_OUT + set] != NULL, ACLNN_ERR_PARAM_NULLPTR, "%s: %s is null", r->name,
             r->names[SCALE_OUT + set]);
    return hc_norm_check_rows(r->name, r->names[SCALE_OUT + set], r->in[SCALE_OUT + set], x, r->args.mask);
}

/* Without an addition gamma may be a row of a matrix, [1, n], for an x of any rows: its leading dimensions of
 * one element say nothing. */
static int32_t leading_ones(const struct request *r) {
    const aclTensor *gamma = r->in[GAMMA];
    int32_t ones = 0;
    while (r->in[X2] == NULL && ones < gamma->rank - 1 && gamma->shape[ones] == 1) ones++;
    return ones;
}

static aclnnStatus plan(struct request *r, uint64_t *workspaceSize, aclOpExecutor **executor) {
    const aclTensor *x = r->in[X1], *gamma = r->in[GAMMA];
    HC_TRY(hc_quant_check_float(r->name, r->names[X1], x));
    HC_TRY(hc_quant_check_float(r->name, "gamma", gamma));
    const int32_t ones = leading_ones(r);
    HC_TRY(hc_norm_mask(r->name, x, gamma->shape + ones, (size_t)(gamma->rank - ones), &r->args.mask));
    if (r->in[X2] != NULL) {
        HC_TRY(hc_norm_check_same(r->name, x, "x2", r->in[X2]));
        HC_TRY(hc_norm_check_same(r->name, x, "xOut", r->in[SUM]));
    }
    HC_TRY(check_numbers(r, BETA, false));
    HC_CHECK(r->in[Y] != NULL || r->in[Y + 1] != NULL, ACLNN_ERR_PARAM_NULLPTR, "%s: %s is null", r->name,
             r->names[Y]);
    for (int set = 0; set < SETS; set++) HC_TRY(check_set(r, set));
    if (r->in[NORM] != NULL) HC_TRY(hc_norm_check_same(r->name, x, r->names[NORM], r->in[NORM]));
    if (r->in[RSTD] != NULL)
        HC_TRY(hc_norm_check_rows(r->name, r->names[RSTD], r->in[RSTD], x, r->args.mask));
    struct hc_operand operands[SLOTS];
    for (int s = 0; s < SLOTS; s++) {
        const int role = (s < Y ? HC_ROLE_IN : HC_ROLE_OUT) | (s == X1 || s == GAMMA ? 0 : HC_ROLE_OPTIONAL);
        operands[s] = (struct hc_operand){r->in[s], NULL, role, r->names[s]};
    }
    const struct hc_plan p = {.name = r->name,
                              .run = run,
                              .args = &r->args,
                              .args_size = sizeof r->args,
                              .operands = operands,
                              .num_operands = SLOTS};
    return hc_plan(&p, workspaceSize, executor);
}

/* An empty tensor is one that was not given, for outputs. */
static const aclTensor *given(const aclTensor *t) { return t != NULL && t->numel > 0 ? t : NULL; }

static const char *const STATIC_NAMES[SLOTS] = {"x1",
                                                "x2",
                                                "gamma",
                                                "betaOptional",
                                                "scales1",
                                                "scales2Optional",
                                                "zeroPoints1Optional",
                                                "zeroPoints2Optional",
                                                "y1Out",
                                                "y2Out",
                                                "scale1Out",
                                                "scale2Out",
                                                "xOut",
                                                "rmsNormOut",
                                                "rstdOut"};
static const char *const DYNAMIC_NAMES[SLOTS] = {"x1",
                                                 "x2",
                                                 "gamma",
                                                 "betaOptional",
                                                 "smoothScale1Optional",
                                                 "smoothScale2Optional",
                                                 "none",
                                                 "none",
                                                 "y1Out",
                                                 "y2Out",
                                                 "scale1Out",
                                                 "scale2Out",
                                                 "xOut",
                                                 "rmsNormOut",
                                                 "rstdOut"};
static const char *const ALONE_NAMES[SLOTS] = {"x",    "x2",     "gamma", "beta", "scale",
                                               "none", "offset", "none",  "y",    "none",
                                               "none", "none",   "xOut",  "none", "rstd"};

/* Rows are the dimensions of gamma, and the last one is quantised along. */
static aclnnStatus plan_static(struct request *r, int64_t axis, uint64_t *workspaceSize,
                               aclOpExecutor **executor) {
    HC_CHECK(axis == -1, ACLNN_ERR_PARAM_INVALID, "%s: axis is %lld, wanted -1", r->name, (long long)axis);
    HC_CHECK(r->in[X2] && r->in[SUM] && r->in[SCALE], ACLNN_ERR_PARAM_NULLPTR, "%s: %s is null", r->name,
             !r->in[X2]    ? "x2"
             : !r->in[SUM] ? "xOut"
                           : "scales1");
    /* Clients may have a placeholder for what has no scales. */
    if (r->in[SCALE + 1] == NULL && r->in[Y + 1] && r->in[Y] && !hc_same_shape(r->in[Y + 1], r->in[Y]))
        r->in[Y + 1] = NULL;
    return plan(r, workspaceSize, executor);
}

HC_API aclnnStatus aclnnAddRmsNormQuantGetWorkspaceSize(
    const aclTensor *x1, const aclTensor *x2, const aclTensor *gamma, const aclTensor *scales1,
    const aclTensor *scales2Optional, const aclTensor *zeroPoints1Optional,
    const aclTensor *zeroPoints2Optional, int64_t axis, double epsilon, bool divMode, aclTensor *y1Out,
    aclTensor *y2Out, aclTensor *xOut, uint64_t *workspaceSize, aclOpExecutor **executor) {
    struct request r = {"aclnnAddRmsNormQuant",
                        {x1, x2, gamma, NULL, scales1, scales2Optional, zeroPoints1Optional,
                         zeroPoints2Optional, y1Out, y2Out, NULL, NULL, xOut, NULL, NULL},
                        STATIC_NAMES,
                        {.epsilon = epsilon, .divide = divMode}};
    return plan_static(&r, axis, workspaceSize, executor);
}
HC_OP_LAUNCH(aclnnAddRmsNormQuant)

/* With a bias, and the result as it is before it is quantised. torch_npu.npu_add_rms_norm_quant. */
HC_API aclnnStatus aclnnAddRmsNormQuantV2GetWorkspaceSize(
    const aclTensor *x1, const aclTensor *x2, const aclTensor *gamma, const aclTensor *scales1,
    const aclTensor *scales2Optional, const aclTensor *zeroPoints1Optional,
    const aclTensor *zeroPoints2Optional, const aclTensor *betaOptional, int64_t axis, double epsilon,
    bool divMode, aclTensor *y1Out, aclTensor *y2Out, aclTensor *xOut, aclTensor *rmsNormOut,
    uint64_t *workspaceSize, aclOpExecutor **executor) {
    struct request r = {"aclnnAddRmsNormQuantV2",
                        {x1, x2, gamma, betaOptional, scales1, scales2Optional, zeroPoints1Optional,
                         zeroPoints2Optional, y1Out, y2Out, NULL, NULL, xOut, given(rmsNormOut), NULL},
                        STATIC_NAMES,
                        {.epsilon = epsilon, .divide = divMode}};
    return plan_static(&r, axis, workspaceSize, executor);
}
HC_OP_LAUNCH(aclnnAddRmsNormQuantV2)

/* Without a mask the first set is wanted, and the second where both have smooth scales. */
HC_API aclnnStatus aclnnAddRmsNormDynamicQuantV2GetWorkspaceSize(
    const aclTensor *x1, const aclTensor *x2, const aclTensor *gamma, const aclTensor *smoothScale1Optional,
    const aclTensor *smoothScale2Optional, const aclTensor *betaOptional, double epsilon,
    const aclBoolArray *outputMask, aclTensor *y1Out, aclTensor *y2Out, aclTensor *xOut, aclTensor *scale1Out,
    aclTensor *scale2Out, uint64_t *workspaceSize, aclOpExecutor **executor) {
    static const char *const NAME = "aclnnAddRmsNormDynamicQuantV2";
    HC_CHECK(x2 && xOut, ACLNN_ERR_PARAM_NULLPTR, "%s: %s is null", NAME, x2 ? "xOut" : "x2");
    HC_CHECK(outputMask == NULL || outputMask->size == SETS, ACLNN_ERR_PARAM_INVALID,
             "%s: outputMask has %zu elements, wanted 2", NAME, outputMask->size);
    const bool first = outputMask == NULL || outputMask->data[0];
    const bool second =
        outputMask != NULL ? outputMask->data[1] : smoothScale1Optional && smoothScale2Optional;
    struct request r = {NAME,
                        {x1, x2, gamma, betaOptional, smoothScale1Optional, smoothScale2Optional, NULL, NULL,
                         first ? y1Out : NULL, second ? y2Out : NULL, first ? scale1Out : NULL,
                         second ? scale2Out : NULL, xOut, NULL, NULL},
                        DYNAMIC_NAMES,
                        {.epsilon = epsilon, .dynamic = true}};
    return plan(&r, workspaceSize, executor);
}
HC_OP_LAUNCH(aclnnAddRmsNormDynamicQuantV2)

/* torch_npu.npu_rms_norm_quant: the scale divides. */
HC_API aclnnStatus aclnnRmsNormQuantGetWorkspaceSize(const aclTensor *x, const aclTensor *gamma,
                                                     const aclTensor *beta, const aclTensor *scale,
                                                     const aclTensor *offset, double epsilon, aclTensor *y,
                                                     uint64_t *workspaceSize, aclOpExecutor **executor) {
    struct request r = {"aclnnRmsNormQuant",
                        {x, NULL, gamma, beta, scale, NULL, offset, NULL, y},
                        ALONE_NAMES,
                        {.epsilon = epsilon, .divide = true}};
    HC_CHECK(scale != NULL, ACLNN_ERR_PARAM_NULLPTR, "%s: scale is null", r.name);
    return plan(&r, workspaceSize, executor);
}
HC_OP_LAUNCH(aclnnRmsNormQuant)

HC_API aclnnStatus aclnnRmsNormQuantV3GetWorkspaceSize(const aclTensor *x, const aclTensor *gamma,
                                                       const aclTensor *scale, const aclTensor *offset,
                                                       const aclTensor *beta, double epsilon, bool divMode,
                                                       bool outputRstd, aclTensor *y, aclTensor *rstd,
                                                       uint64_t *workspaceSize, aclOpExecutor **executor) {
    struct request r = {"aclnnRmsNormQuantV3",
                        {x, NULL, gamma, beta, scale, NULL, offset, NULL, y, NULL, NULL, NULL, NULL, NULL,
                         outputRstd ? rstd : NULL},
                        ALONE_NAMES,
                        {.epsilon = epsilon, .divide = divMode}};
    HC_CHECK(scale != NULL, ACLNN_ERR_PARAM_NULLPTR, "%s: scale is null", r.name);
    return plan(&r, workspaceSize, executor);
}
HC_OP_LAUNCH(aclnnRmsNormQuantV3)
