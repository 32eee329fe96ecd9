// SPDX-License-Identifier: Apache-2.0
/* Group normalisation: y = (x - mean) * rstd * gamma[c] + beta[c], mean and variance over the channels of a
 * group and all that lies behind them; then y * sigmoid(scale * y) for GroupNormSilu (scale 1) and
 * GroupNormSwish.
 *
 * Rows as in layer_norm.c: two passes in cache for the statistics, one that writes y channel by channel. */
#include "rows.h"

HC_ROWS_KERNEL(group_norm_F32)
HC_ROWS_KERNEL(group_norm_F64)

struct args {
    double eps, swish;
    bool is_swish;
    int64_t group;
    size_t channels;          /* of a group */
    const void *gamma, *beta; /* in the block's type; NULL: 1 and 0 */
    enum hc_block block;
};

enum { Y, MEAN, RSTD, NUM_OUTS, X = NUM_OUTS, GAMMA, BETA };

#ifdef HC_ISA
#include "simd_math.h"
#include "simd_rows.h"

static inline vf square(vf x) { return x * x; }

/* One channel: its factor and addend are numbers. */
static inline void scale_channel(float *y, const float *x, size_t n, const float *by, const struct args *a) {
    const float mean = by[0], rstd = by[1], gamma = by[2], beta = by[3], swish = (float)a->swish;
    for (size_t i = 0; i < n; i += HC_VL) {
        const size_t rest = hc_min_size(n - i, HC_VL);
        vf v = vf_fma((vf_load_part(x + i, rest) - mean) * rstd, vf_set(gamma), vf_set(beta));
        if (a->is_swish) v = v * vf_sigmoid(v * swish);
        vf_store_part(y + i, v, rest);
    }
}

void HC_FN(group_norm_F32)(size_t n, void *const *out, const void *const *in, size_t row, const void *args) {
    float *y = out[Y];
    const float *x = in[0];
    const struct args *a = args;
    const size_t first = row % (size_t)a->group * a->channels, step = n / a->channels;
    const float *gamma = a->gamma, *beta = a->beta;
    const float mean = (float)(vf_row_sum(x, n) / (double)n);
    double squares = 0;
    HC_ROW_SUM(squares, n, square(vf_load(x + at) - mean), square(vf_load_fill(x + at, rest, mean) - mean));
    const float rstd = (float)(1 / sqrt(squares / (double)n + a->eps));
    if (out[MEAN] != NULL) *(float *)out[MEAN] = mean;
    if (out[RSTD] != NULL) *(float *)out[RSTD] = rstd;
    for (size_t c = 0; c < a->channels; c++) {
        const float by[] = {mean, rstd, gamma ? gamma[first + c] : 1, beta ? beta[first + c] : 0};
        scale_channel(y + c * step, x + c * step, step, by, a);
    }
}

/* As above in scalar code. */
void HC_FN(group_norm_F64)(size_t n, void *const *out, const void *const *in, size_t row, const void *args) {
    double *y = out[Y], mean = 0, squares = 0;
    const double *x = in[0];
    const struct args *a = args;
    const size_t first = row % (size_t)a->group * a->channels, step = n / a->channels;
    const double *gamma = a->gamma, *beta = a->beta;
    for (size_t i = 0; i < n; i++) mean += x[i];
    mean /= (double)n;
    for (size_t i = 0; i < n; i++) squares += (x[i] - mean) * (x[i] - mean);
    const double rstd = 1 / sqrt(squares / (double)n + a->eps);
    if (out[MEAN] != NULL) *(double *)out[MEAN] = mean;
    if (out[RSTD] != NULL) *(double *)out[RSTD] = rstd;
    for (size_t i = 0; i < n; i++) {
        const size_t c = first + i / step;
        const double v = (x[i] - mean) * rstd * (gamma ? gamma[c] : 1) + (beta ? beta[c] : 0);
        y[i] = a->is_swish ? v / (1 + exp(-a->swish * v)) : v;
    }
}

#else
#include "group_norm.h"

static aclnnStatus run_rows(const struct hc_call *call, const struct args *a, const aclTensor *x,
                            const aclTensor *y) {
    const aclTensor rows = hc_groups_rows(x, a->group), out = hc_groups_rows(y, a->group);
    return hc_rows_run(&(const struct hc_rows){.name = call->name,
                                               .shape = &rows,
                                               .mask = 1u << 1,
                                               .args = a,
                                               .kernel = a->block == HC_F64 ? HC_DISPATCH(group_norm_F64)
                                                                            : HC_DISPATCH(group_norm_F32),
                                               .num_outs = NUM_OUTS,
                                               .num_ins = 1,
                                               .work = a->is_swish ? 8 : 2,
                                               .operand = {{&out, HC_ROWS_VECTOR, a->block},
                                                           {hc_arg(call, MEAN), HC_ROWS_ONE, a->block},
                                                           {hc_arg(call, RSTD), HC_ROWS_ONE, a->block},
                                                           {&rows, HC_ROWS_VECTOR, a->block}}});
}

/* A layout with channels behind the rest is copied, so that rows are in the order of the groups. */
static aclnnStatus run(const struct hc_call *call) {
    struct args a = *(const struct args *)call->args;
    const aclTensor *x = hc_arg(call, X), *y = hc_arg(call, Y);
    const aclDataType type = a.block == HC_F64 ? ACL_DOUBLE : ACL_FLOAT;
    const aclTensor *given[] = {x, hc_arg(call, GAMMA), hc_arg(call, BETA)};
    aclTensor view[4];
    void *owned[4] = {NULL};
    aclnnStatus status = 0;
    for (int i = 0; i < 3 && status == 0; i++) {
        if (given[i] != NULL) status = hc_contiguous(given[i], i == 0 ? x->dtype : type, &view[i], &owned[i]);
    }
    if (status == 0) status = hc_contiguous_out(y, y->dtype, &view[3], &owned[3]);
    a.gamma = given[1] != NULL ? hc_data(&view[1]) : NULL;
    a.beta = given[2] != NULL ? hc_data(&view[2]) : NULL;
    if (status == 0) status = run_rows(call, &a, &view[0], &view[3]);
    if (status == 0 && owned[3] != NULL) status = hc_copy(y, &view[3]);
    for (int i = 0; i < 4; i++) hc_block_give(owned[i]);
    return status;
}

struct operands {
    const aclTensor *x, *gamma, *beta, *y, *mean, *rstd;
};

static aclnnStatus plan(const char *name, const struct operands *t, struct args args, uint64_t *workspaceSize,
                        aclOpExecutor **executor) {
    HC_TRY(hc_groups_check(name, t->x, args.group));
    HC_TRY(hc_norm_check_same(name, t->x, "the output", t->y));
    HC_TRY(hc_groups_check_count(name, "gamma", t->gamma, t->x->shape[1]));
    HC_TRY(hc_groups_check_count(name, "beta", t->beta, t->x->shape[1]));
    HC_TRY(hc_groups_check_count(name, "meanOut", t->mean, t->x->shape[0] * args.group));
    HC_TRY(hc_groups_check_count(name, "rstdOut", t->rstd, t->x->shape[0] * args.group));
    args.channels = (size_t)(t->x->shape[1] / args.group);
    args.block = hc_compute_block(t->x->dtype);
    return HC_PLAN(name, run, &args, HC_OUT(t->y), HC_OUT_OPT(t->mean), HC_OUT_OPT(t->rstd), HC_IN(t->x),
                   HC_IN_OPT(t->gamma), HC_IN_OPT(t->beta));
}

HC_API aclnnStatus aclnnGroupNormGetWorkspaceSize(const aclTensor *self, const aclTensor *gamma,
                                                  const aclTensor *beta, int64_t N, int64_t C, int64_t HxW,
                                                  int64_t group, double eps, aclTensor *out,
                                                  aclTensor *meanOut, aclTensor *rstdOut,
                                                  uint64_t *workspaceSize, aclOpExecutor **executor) {
    static const char *const NAME = "aclnnGroupNorm";
    HC_TRY(hc_groups_check(NAME, self, group));
    HC_TRY(hc_groups_check_sizes(NAME, self, N, C, HxW));
    const struct operands t = {self, gamma, beta, out, meanOut, rstdOut};
    return plan(NAME, &t, (struct args){.eps = eps, .group = group}, workspaceSize, executor);
}
HC_OP_LAUNCH(aclnnGroupNorm)

HC_API aclnnStatus aclnnGroupNormSiluGetWorkspaceSize(const aclTensor *self, const aclTensor *gamma,
                                                      const aclTensor *beta, int64_t group, double eps,
                                                      aclTensor *out, aclTensor *meanOut, aclTensor *rstdOut,
                                                      uint64_t *workspaceSize, aclOpExecutor **executor) {
    const struct operands t = {self, gamma, beta, out, meanOut, rstdOut};
    const struct args args = {.eps = eps, .group = group, .is_swish = true, .swish = 1};
    return plan("aclnnGroupNormSilu", &t, args, workspaceSize, executor);
}
HC_OP_LAUNCH(aclnnGroupNormSilu)

HC_API aclnnStatus aclnnGroupNormSwishGetWorkspaceSize(
    const aclTensor *x, const aclTensor *gamma, const aclTensor *beta, int64_t numGroups,
    char *dataFormatOptional, double eps, bool activateSwish, double swishScale, const aclTensor *yOut,
    const aclTensor *meanOut, const aclTensor *rstdOut, uint64_t *workspaceSize, aclOpExecutor **executor) {
    static const char *const NAME = "aclnnGroupNormSwish";
    const struct operands t = {x, gamma, beta, yOut, meanOut, rstdOut};
    const struct args args = {.eps = eps, .group = numGroups, .is_swish = activateSwish, .swish = swishScale};
    HC_TRY(hc_groups_check_format(NAME, dataFormatOptional));
    return plan(NAME, &t, args, workspaceSize, executor);
}
HC_OP_LAUNCH(aclnnGroupNormSwish)
#endif
