// SPDX-License-Identifier: Apache-2.0
/* Gradients of group normalisation. With z = (x - mean) rstd, g = gradOut and h = g * gamma[c], over a group:
 *
 *   gradInput = rstd (h - mean(h) - z mean(h z)), gradGamma[c] = sum of g z, gradBeta[c] of g.
 *
 * Behind a swish, out = y sigmoid(s y) with y = z gamma + beta, and g is gradOut d out / d y. Sums over a
 * channel of one item are doubles in memory of the run, added up over items in their order. */
#include "rows.h"

HC_ROWS_KERNEL(group_norm_backward_F32)
HC_ROWS_KERNEL(group_norm_backward_F64)

struct args {
    double swish;
    bool is_swish;
    int64_t group;
    size_t channels;          /* of a group */
    const void *gamma, *beta; /* in the block's type; NULL: 1 and 0 */
    double *sums;             /* for each item and channel, of g z and of g */
    enum hc_block block;
};

enum { GRAD_INPUT, GRAD_GAMMA, GRAD_BETA, GRAD_OUT, INPUT, MEAN, RSTD, GAMMA, BETA };

#ifdef HC_ISA
#include <string.h>

#include "simd_math.h"
#include "simd_rows.h"

/* gradOut d out / d y; by is mean, rstd, gamma and beta. */
static inline void through_swish(float *g, const float *dy, const float *x, size_t n, const float *by,
                                 float swish) {
    for (size_t i = 0; i < n; i += HC_VL) {
        const size_t rest = hc_min_size(n - i, HC_VL);
        const vf y = vf_fma((vf_load_part(x + i, rest) - by[0]) * by[1], vf_set(by[2]), vf_set(by[3]));
        const vf s = vf_sigmoid(y * swish);
        vf_store_part(g + i, vf_load_part(dy + i, rest) * s * (1 + y * swish * (1 - s)), rest);
    }
}

/* A gradient behind a swish passes through the row of gradInput. */
void HC_FN(group_norm_backward_F32)(size_t n, void *const *out, const void *const *in, size_t row,
                                    const void *args) {
    float *dx = out[0];
    const float *x = in[1], mean = *(const float *)in[2], rstd = *(const float *)in[3];
    const struct args *a = args;
    const size_t step = n / a->channels, first = row % (size_t)a->group * a->channels;
    const float *gamma = a->gamma, *beta = a->beta, *g = a->is_swish ? dx : in[0];
    double *sums = a->sums + row * a->channels * 2, sum_h = 0, sum_hz = 0;
    for (size_t c = 0; c < a->channels; c++) {
        const float w = gamma ? gamma[first + c] : 1, *gc = g + c * step, *xc = x + c * step;
        const float by[] = {mean, rstd, w, beta ? beta[first + c] : 0};
        if (a->is_swish)
            through_swish(dx + c * step, (const float *)in[0] + c * step, xc, step, by, (float)a->swish);
        double of_gx = 0;
        HC_ROW_SUM(of_gx, step, vf_load(gc + at) * (vf_load(xc + at) - mean),
                   vf_load_part(gc + at, rest) * (vf_load_part(xc + at, rest) - mean));
        sums[2 * c] = of_gx * (double)rstd;
        sums[2 * c + 1] = vf_row_sum(gc, step);
        sum_hz += sums[2 * c] * (double)w;
        sum_h += sums[2 * c + 1] * (double)w;
    }
    const float mean_h = (float)(sum_h / (double)n), mean_hz = (float)(sum_hz / (double)n);
    for (size_t c = 0; dx != NULL && c < a->channels; c++) {
        const float w = gamma ? gamma[first + c] : 1, *gc = g + c * step, *xc = x + c * step;
        float *to = dx + c * step;
        for (size_t i = 0; i < step; i++)
            to[i] = (gc[i] * w - mean_h - (xc[i] - mean) * rstd * mean_hz) * rstd;
    }
}

/* As above in scalar code. */
void HC_FN(group_norm_backward_F64)(size_t n, void *const *out, const void *const *in, size_t row,
                                    const void *args) {
    double *dx = out[0], sum_h = 0, sum_hz = 0;
    const double *x = in[1], mean = *(const double *)in[2], rstd = *(const double *)in[3];
    const struct args *a = args;
    const size_t step = n / a->channels, first = row % (size_t)a->group * a->channels;
    const double *gamma = a->gamma, *beta = a->beta, *dy = in[0], *g = a->is_swish ? dx : dy;
    double *sums = a->sums + row * a->channels * 2;
    memset(sums, 0, a->channels * 2 * sizeof *sums);
    for (size_t i = 0; i < n; i++) {
        const size_t c = i / step;
        const double w = gamma ? gamma[first + c] : 1, z = (x[i] - mean) * rstd;
        const double y = z * w + (beta ? beta[first + c] : 0), s = 1 / (1 + exp(-a->swish * y));
        if (a->is_swish) dx[i] = dy[i] * s * (1 + y * a->swish * (1 - s));
        sums[2 * c] += g[i] * z;
        sums[2 * c + 1] += g[i];
        sum_hz += g[i] * z * w;
        sum_h += g[i] * w;
    }
    for (size_t i = 0; dx != NULL && i < n; i++) {
        const double w = gamma ? gamma[first + i / step] : 1, z = (x[i] - mean) * rstd;
        dx[i] = (g[i] * w - sum_h / (double)n - z * sum_hz / (double)n) * rstd;
    }
}

#else
#include "group_norm.h"

static aclnnStatus run_rows(const struct hc_call *call, const struct args *a, const aclTensor *dy,
                            const aclTensor *x, const aclTensor *dx) {
    const aclTensor rows = hc_groups_rows(x, a->group), grad = hc_groups_rows(dy, a->group);
    const aclTensor out = dx != NULL ? hc_groups_rows(dx, a->group) : (aclTensor){0};
    return hc_rows_run(
        &(const struct hc_rows){.name = call->name,
                                .shape = &rows,
                                .mask = 1u << 1,
                                .args = a,
                                .kernel = a->block == HC_F64 ? HC_DISPATCH(group_norm_backward_F64)
                                                             : HC_DISPATCH(group_norm_backward_F32),
                                .num_outs = 1,
                                .num_ins = 4,
                                .work = a->is_swish ? 10 : 3,
                                .operand = {{dx != NULL ? &out : NULL, HC_ROWS_VECTOR, a->block},
                                            {&grad, HC_ROWS_VECTOR, a->block},
                                            {&rows, HC_ROWS_VECTOR, a->block},
                                            {hc_arg(call, MEAN), HC_ROWS_ONE, a->block},
                                            {hc_arg(call, RSTD), HC_ROWS_ONE, a->block}}});
}

/* The sums of item 0 become those of all; `which` 0 is of g z, 1 of g. */
static aclnnStatus store_sums(const aclTensor *to, double *sums, size_t items, size_t channels, int which) {
    if (to == NULL) return 0;
    double *total = hc_block_take_zeroed(channels, sizeof *total);
    HC_CHECK(total != NULL, ACLNN_ERR_INNER, "out of host memory for the sums of %zu channels", channels);
    for (size_t i = 0; i < items; i++) {
        for (size_t c = 0; c < channels; c++) total[c] += sums[(i * channels + c) * 2 + (size_t)which];
    }
    const aclTensor view = hc_tensor_view(ACL_DOUBLE, to->shape, to->rank, total);
    const aclnnStatus status = hc_copy(to, &view);
    hc_block_give(total);
    return status;
}

/* Indices of views: gradOut, input, gamma, beta, gradInput. */
static aclnnStatus run_views(const struct hc_call *call, struct args *a, aclTensor *view, void **owned) {
    const aclTensor *given[] = {hc_arg(call, GRAD_OUT), hc_arg(call, INPUT), hc_arg(call, GAMMA),
                                hc_arg(call, BETA)};
    const aclTensor *x = given[1], *dx = hc_arg(call, GRAD_INPUT);
    const aclDataType type = a->block == HC_F64 ? ACL_DOUBLE : ACL_FLOAT;
    for (int i = 0; i < 4; i++) {
        if (given[i] != NULL)
            HC_TRY(hc_contiguous(given[i], i < 2 ? given[i]->dtype : type, &view[i], &owned[i]));
    }
    if (dx != NULL) HC_TRY(hc_contiguous_out(dx, dx->dtype, &view[4], &owned[4]));
    a->gamma = given[2] != NULL ? hc_data(&view[2]) : NULL;
    a->beta = given[3] != NULL ? hc_data(&view[3]) : NULL;
    HC_TRY(run_rows(call, a, &view[0], &view[1], dx != NULL ? &view[4] : NULL));
    if (owned[4] != NULL) HC_TRY(hc_copy(dx, &view[4]));
    const size_t items = (size_t)x->shape[0], channels = (size_t)x->shape[1];
    HC_TRY(store_sums(hc_arg(call, GRAD_GAMMA), a->sums, items, channels, 0));
    return store_sums(hc_arg(call, GRAD_BETA), a->sums, items, channels, 1);
}

static aclnnStatus run(const struct hc_call *call) {
    struct args a = *(const struct args *)call->args;
    const aclTensor *x = hc_arg(call, INPUT);
    aclTensor view[5];
    void *owned[5] = {NULL};
    a.sums = hc_block_take_zeroed((size_t)(x->shape[0] * x->shape[1]), 2 * sizeof *a.sums);
    HC_CHECK(a.sums != NULL, ACLNN_ERR_INNER, "%s: out of host memory for sums of channels", call->name);
    const aclnnStatus status = run_views(call, &a, view, owned);
    for (int i = 0; i < 5; i++) hc_block_give(owned[i]);
    hc_block_give(a.sums);
    return status;
}

struct operands {
    const aclTensor *dy, *x, *mean, *rstd, *gamma, *beta, *dx, *dgamma, *dbeta;
};

static aclnnStatus plan(const char *name, const struct operands *t, struct args args, uint64_t *workspaceSize,
                        aclOpExecutor **executor) {
    HC_CHECK(t->dy && t->mean && t->rstd, ACLNN_ERR_PARAM_NULLPTR, "%s: the gradient, mean or rstd is null",
             name);
    HC_TRY(hc_groups_check(name, t->x, args.group));
    const int64_t rows = t->x->shape[0] * args.group, channels = t->x->shape[1];
    HC_TRY(hc_norm_check_same(name, t->x, "the gradient", t->dy));
    if (t->dx != NULL) HC_TRY(hc_norm_check_same(name, t->x, "the gradient of the input", t->dx));
    HC_TRY(hc_groups_check_count(name, "mean", t->mean, rows));
    HC_TRY(hc_groups_check_count(name, "rstd", t->rstd, rows));
    HC_TRY(hc_groups_check_count(name, "gamma", t->gamma, channels));
    HC_TRY(hc_groups_check_count(name, "beta", t->beta, channels));
    HC_TRY(hc_groups_check_count(name, "the gradient of gamma", t->dgamma, channels));
    HC_TRY(hc_groups_check_count(name, "the gradient of beta", t->dbeta, channels));
    args.channels = (size_t)(channels / args.group);
    args.block = hc_compute_block(hc_dtype_promote(t->dy->dtype, t->x->dtype));
    return HC_PLAN(name, run, &args, HC_OUT_OPT(t->dx), HC_OUT_OPT(t->dgamma), HC_OUT_OPT(t->dbeta),
                   HC_IN(t->dy), HC_IN(t->x), HC_IN(t->mean), HC_IN(t->rstd), HC_IN_OPT(t->gamma),
                   HC_IN_OPT(t->beta));
}

/* outputMask tells which of the three gradients are wanted; the others may be null. */
HC_API aclnnStatus aclnnGroupNormBackwardGetWorkspaceSize(
    const aclTensor *gradOut, const aclTensor *input, const aclTensor *mean, const aclTensor *rstd,
    const aclTensor *gamma, int64_t N, int64_t C, int64_t HxW, int64_t group, const aclBoolArray *outputMask,
    aclTensor *gradInput, aclTensor *gradGammaOut, aclTensor *gradBetaOut, uint64_t *workspaceSize,
    aclOpExecutor **executor) {
    static const char *const NAME = "aclnnGroupNormBackward";
    HC_TRY(hc_groups_check(NAME, input, group));
    HC_TRY(hc_groups_check_sizes(NAME, input, N, C, HxW));
    HC_CHECK(outputMask != NULL && outputMask->size == 3, ACLNN_ERR_PARAM_INVALID,
             "%s: outputMask is null or has another size than 3", NAME);
    const aclTensor *outs[] = {gradInput, gradGammaOut, gradBetaOut};
    for (int i = 0; i < 3; i++) {
        if (!outputMask->data[i]) outs[i] = NULL;
        HC_CHECK(outs[i] != NULL || !outputMask->data[i], ACLNN_ERR_PARAM_NULLPTR,
                 "%s: an output that outputMask asks for is null", NAME);
    }
    const struct operands t = {gradOut, input, mean, rstd, gamma, NULL, outs[0], outs[1], outs[2]};
    return plan(NAME, &t, (struct args){.group = group}, workspaceSize, executor);
}
HC_OP_LAUNCH(aclnnGroupNormBackward)

HC_API aclnnStatus aclnnGroupNormSwishGradGetWorkspaceSize(
    const aclTensor *dy, const aclTensor *mean, const aclTensor *rstd, const aclTensor *x,
    const aclTensor *gamma, const aclTensor *beta, int64_t numGroups, char *dataFormatOptional,
    double swishScale, bool dgammaIsRequire, bool dbetaIsRequire, const aclTensor *dxOut,
    const aclTensor *dgammaOut, const aclTensor *dbetaOut, uint64_t *workspaceSize,
    aclOpExecutor **executor) {
    static const char *const NAME = "aclnnGroupNormSwishGrad";
    HC_CHECK(dxOut && (dgammaOut || !dgammaIsRequire) && (dbetaOut || !dbetaIsRequire),
             ACLNN_ERR_PARAM_NULLPTR, "%s: dxOut, or another output that is asked for, is null", NAME);
    HC_TRY(hc_groups_check_format(NAME, dataFormatOptional));
    const struct operands t = {dy,
                               x,
                               mean,
                               rstd,
                               gamma,
                               beta,
                               dxOut,
                               dgammaIsRequire ? dgammaOut : NULL,
                               dbetaIsRequire ? dbetaOut : NULL};
    const struct args args = {.group = numGroups, .is_swish = true, .swish = swishScale};
    return plan(NAME, &t, args, workspaceSize, executor);
}
HC_OP_LAUNCH(aclnnGroupNormSwishGrad)
#endif
