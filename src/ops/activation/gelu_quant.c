// SPDX-License-Identifier: Apache-2.0
/* GELU, exact or by tanh, and then quantisation of its float32 result:
 *
 *     static    y = round(gelu(x) * scale + offset)          one number of each for all, or for each of a row
 *     dynamic   z = gelu(x) * scale (or without), y = round(z / (max |z| / highest)) of each row
 */
#include <string.h>

#include "activate.h"
#include "quant.h"

enum slot { SELF, SCALE, OFFSET, Y, OUT_SCALE, SLOTS };

struct args {
    struct hc_quant_target target;
    struct hc_quant_axis scale, offset;
    bool by_tanh, dynamic;
};

/* One run, everything contiguous; NULL: not given. */
struct job {
    const struct args *a;
    const float *scale, *offset;
    float *out_scale;
    char *y;
    size_t n;
};

/* The scale multiplies, as in aclnnAscendQuant. */
static void static_row(const struct job *j, float *x) {
    const struct hc_quant_affine affine = {.scale = j->scale,
                                           .offset = j->offset,
                                           .scale_each = j->a->scale.along_row,
                                           .offset_each = j->a->offset.along_row,
                                           .target = j->a->target};
    HC_DISPATCH(hc_quant_affine)(j->n, x, x, &affine);
}

/* One factor for all would change the scale alone: it is multiplied like the others. */
static void dynamic_row(const struct job *j, size_t row, float *x) {
    struct hc_quant_range range;
    if (j->scale != NULL && !j->a->scale.along_row)
        for (size_t i = 0; i < j->n; i++) x[i] *= j->scale[0];
    HC_DISPATCH(hc_quant_range)(j->n, x, j->a->scale.along_row ? j->scale : NULL, &range);
    const struct hc_quant_scale s = hc_quant_scale_of(&j->a->target, range, true);
    j->out_scale[row] = s.scale;
    hc_quant_row(&j->a->target, &s, j->n, x);
}

/* GELU is not rounded to the type of x before: what the two operators in turn would do. */
static void quantise_row(const void *ctx, size_t row, float *x, float *spare) {
    const struct job *j = ctx;
    (void)spare;
    HC_DISPATCH(hc_activate)(j->n, x, j->a->by_tanh ? HC_ACTIVATION_GELU_TANH : HC_ACTIVATION_GELU);
    if (j->a->dynamic) dynamic_row(j, row, x);
    else static_row(j, x);
    hc_quant_store(&j->a->target, j->y, row, j->n, x);
}

/* What is not contiguous, or shares memory with y, is read from a copy. */
static aclnnStatus run(const struct hc_call *call) {
    const struct args *a = call->args;
    const aclTensor *y = hc_arg(call, Y);
    aclTensor views[SLOTS] = {{0}};
    void *owned[SLOTS] = {NULL};
    aclnnStatus status = 0;
    for (int s = 0; s < SLOTS && status == 0; s++) {
        const aclTensor *t = hc_arg(call, s);
        if (t == NULL) continue;
        if (s < Y) status = hc_contiguous_apart(t, s == SELF ? t->dtype : ACL_FLOAT, y, &views[s], &owned[s]);
        else status = hc_contiguous_out(t, s == Y ? t->dtype : ACL_FLOAT, &views[s], &owned[s]);
    }
    const aclTensor *x = &views[SELF];
    const struct job j = {a,
                          views[SCALE].base != NULL ? (const float *)hc_data(&views[SCALE]) : NULL,
                          views[OFFSET].base != NULL ? (const float *)hc_data(&views[OFFSET]) : NULL,
                          views[OUT_SCALE].base != NULL ? (float *)hc_data(&views[OUT_SCALE]) : NULL,
                          hc_data(&views[Y]),
                          hc_quant_row_length(x)};
    if (status == 0)
        status = hc_quant_rows_run(
            &(const struct hc_quant_rows){call->name, x, j.n, hc_quant_row_count(x), quantise_row, &j});
    for (int s = Y; s < SLOTS && status == 0; s++)
        if (owned[s] != NULL) status = hc_copy(hc_arg(call, s), &views[s]);
    for (int s = 0; s < SLOTS; s++) hc_block_give(owned[s]);
    return status;
}

/* ---- phase one ---- */

/* There is one version. */
static const char *const NAME = "aclnnGeluQuant";

/* Which of two words; the second is true. */
static aclnnStatus find_word(const char *arg, const char *word, const char *no, const char *yes,
                             bool *which) {
    HC_CHECK(word != NULL, ACLNN_ERR_PARAM_NULLPTR, "%s: %s is null", NAME, arg);
    *which = strcmp(word, yes) == 0;
    HC_CHECK(*which || strcmp(word, no) == 0, ACLNN_ERR_PARAM_INVALID, "%s: %s is '%.32s', wanted %s or %s",
             NAME, arg, word, no, yes);
    return 0;
}

/* The scale is needed where it is the only one; an offset belongs to it. */
static aclnnStatus check_numbers(const aclTensor *x, const aclTensor *scale, const aclTensor *offset,
                                 struct args *args) {
    HC_CHECK(args->dynamic || scale != NULL, ACLNN_ERR_PARAM_NULLPTR,
             "%s: inputScaleOptional is null, wanted a scale with quantMode static", NAME);
    if (scale != NULL) {
        HC_TRY(hc_quant_check_float(NAME, "inputScaleOptional", scale));
        HC_TRY(hc_quant_check_axis(NAME, "inputScaleOptional", scale, x, x->rank - 1, &args->scale));
    }
    if (offset == NULL || args->dynamic) return 0;
    HC_TRY(hc_quant_check_float(NAME, "inputOffsetOptional", offset));
    return hc_quant_check_axis(NAME, "inputOffsetOptional", offset, x, x->rank - 1, &args->offset);
}

/* A number for each row. */
static aclnnStatus check_out_scale(const aclTensor *x, const aclTensor *out_scale) {
    const int64_t rows = x->numel / hc_max_i64(x->shape[x->rank - 1], 1);
    HC_CHECK(out_scale != NULL, ACLNN_ERR_PARAM_NULLPTR,
             "%s: outScaleOptional is null with quantMode dynamic", NAME);
    HC_CHECK(out_scale->dtype == ACL_FLOAT && out_scale->numel == rows, ACLNN_ERR_PARAM_INVALID,
             "%s: outScaleOptional is %s, wanted %lld elements of float32", NAME, HC_SHOW(out_scale),
             (long long)rows);
    return 0;
}

/* torch_npu.npu_gelu_quant. Clients give an offset with dynamic quantisation too, which has none: it does not
 * count. */
HC_API aclnnStatus aclnnGeluQuantGetWorkspaceSize(const aclTensor *self, const aclTensor *inputScaleOptional,
                                                  const aclTensor *inputOffsetOptional,
                                                  const char *approximate, const char *quantMode,
                                                  const char *roundMode, int64_t dstType, const aclTensor *y,
                                                  const aclTensor *outScaleOptional, uint64_t *workspaceSize,
                                                  aclOpExecutor **executor) {
    struct args args = {.by_tanh = false};
    bool away;
    HC_TRY(hc_quant_check_float(NAME, "self", self));
    HC_CHECK(self->rank >= 1, ACLNN_ERR_PARAM_INVALID, "%s: self is %s, wanted a dimension at least", NAME,
             HC_SHOW(self));
    HC_TRY(find_word("approximate", approximate, "none", "tanh", &args.by_tanh));
    HC_TRY(find_word("quantMode", quantMode, "static", "dynamic", &args.dynamic));
    HC_TRY(hc_quant_check_target(NAME, self, "y", y, dstType, &args.target));
    /* Each type rounds in one way: the word must be that one. */
    HC_TRY(find_word("roundMode", roundMode, "rint", "round", &away));
    HC_CHECK(args.target.kind != HC_QUANT_I4 && away == (args.target.kind == HC_QUANT_HIF8),
             ACLNN_ERR_PARAM_INVALID,
             "%s: y is %s, roundMode %s: wanted int8 or fp8 with rint, or hifloat8 with round", NAME,
             HC_SHOW(y), roundMode);
    HC_TRY(check_numbers(self, inputScaleOptional, inputOffsetOptional, &args));
    if (args.dynamic) HC_TRY(check_out_scale(self, outScaleOptional));
    if (args.dynamic) inputOffsetOptional = NULL;
    else outScaleOptional = NULL;
    return HC_PLAN(NAME, run, &args, HC_IN(self), HC_IN_OPT(inputScaleOptional),
                   HC_IN_OPT(inputOffsetOptional), HC_OUT(y), HC_OUT_OPT(outScaleOptional));
}
HC_OP_LAUNCH(aclnnGeluQuant)
