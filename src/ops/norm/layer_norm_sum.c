// SPDX-License-Identifier: Apache-2.0
/* Layer normalisation of a sum: y = (s - mean) * rstd * gamma + beta over the last dimensions, with s = x1 +
 * x2
 * (+ bias) for AddLayerNorm and s = alpha * x + gx for DeepNorm.
 *
 * The sum is formed in the row of y, which stays in the cache for the two passes of the statistics and the
 * one that normalises it in place; it is not rounded to the inputs' type before. */
#include "rows.h"

HC_ROWS_KERNEL(layer_norm_sum_F32)
HC_ROWS_KERNEL(layer_norm_sum_F64)

/* The mask has a bit for each normalised dimension. */
struct args {
    double eps, alpha;
    uint32_t mask;
    enum hc_block block;
};

enum { Y, MEAN, RSTD, SUM, NUM_OUTS };
enum { X1, X2, GAMMA, BETA, BIAS, NUM_INS };

#ifdef HC_ISA
#include <string.h>

#include "simd_rows.h"

static inline vf square(vf x) { return x * x; }

static inline void add_up(float *s, const float *x1, const float *x2, const float *bias, float alpha,
                          size_t n) {
    size_t i = 0;
    for (; i + HC_VL <= n; i += HC_VL) {
        const vf sum = vf_fma(vf_set(alpha), vf_load(x1 + i), vf_load(x2 + i));
        vf_store(s + i, bias != NULL ? sum + vf_load(bias + i) : sum);
    }
    for (; i < n; i++) s[i] = alpha * x1[i] + x2[i] + (bias != NULL ? bias[i] : 0);
}

void HC_FN(layer_norm_sum_F32)(size_t n, void *const *out, const void *const *in, size_t row,
                               const void *args) {
    float *y = out[Y];
    const float *gamma = in[GAMMA], *beta = in[BETA];
    const struct args *a = args;
    (void)row;
    add_up(y, in[X1], in[X2], in[BIAS], (float)a->alpha, n);
    if (out[SUM] != NULL) memcpy(out[SUM], y, n * sizeof *y);
    const float mean = (float)(vf_row_sum(y, n) / (double)n);
    double squares = 0;
    HC_ROW_SUM(squares, n, square(vf_load(y + at) - mean), square(vf_load_fill(y + at, rest, mean) - mean));
    const float rstd = (float)(1 / sqrt(squares / (double)n + a->eps));
    *(float *)out[MEAN] = mean;
    *(float *)out[RSTD] = rstd;
    size_t i = 0;
    for (; i + HC_VL <= n; i += HC_VL) {
        vf_store(y + i, vf_fma((vf_load(y + i) - mean) * rstd, vf_load(gamma + i), vf_load(beta + i)));
    }
    for (; i < n; i++) y[i] = (y[i] - mean) * rstd * gamma[i] + beta[i];
}

/* As above in scalar code. */
void HC_FN(layer_norm_sum_F64)(size_t n, void *const *out, const void *const *in, size_t row,
                               const void *args) {
    double *y = out[Y], mean = 0, squares = 0;
    const double *x1 = in[X1], *x2 = in[X2], *gamma = in[GAMMA], *beta = in[BETA], *bias = in[BIAS];
    const struct args *a = args;
    (void)row;
    for (size_t i = 0; i < n; i++) y[i] = a->alpha * x1[i] + x2[i] + (bias != NULL ? bias[i] : 0);
    if (out[SUM] != NULL) memcpy(out[SUM], y, n * sizeof *y);
    for (size_t i = 0; i < n; i++) mean += y[i];
    mean /= (double)n;
    for (size_t i = 0; i < n; i++) squares += (y[i] - mean) * (y[i] - mean);
    const double rstd = 1 / sqrt(squares / (double)n + a->eps);
    *(double *)out[MEAN] = mean;
    *(double *)out[RSTD] = rstd;
    for (size_t i = 0; i < n; i++) y[i] = (y[i] - mean) * rstd * gamma[i] + beta[i];
}

#else
#include "norm.h"

/* A bias is one row for all, or has a row for each. */
static aclnnStatus run(const struct hc_call *call) {
    const struct args *a = call->args;
    const enum hc_block block = a->block;
    const aclTensor *bias = hc_arg(call, NUM_OUTS + BIAS), *x1 = hc_arg(call, NUM_OUTS + X1);
    const bool is_full = bias != NULL && hc_same_shape(bias, x1);
    return hc_rows_run(&(const struct hc_rows){
        .name = call->name,
        .shape = x1,
        .mask = a->mask,
        .args = a,
        .kernel = block == HC_F64 ? HC_DISPATCH(layer_norm_sum_F64) : HC_DISPATCH(layer_norm_sum_F32),
        .num_outs = NUM_OUTS,
        .num_ins = NUM_INS,
        .work = 3,
        .operand = {{hc_arg(call, Y), HC_ROWS_VECTOR, block},
                    {hc_arg(call, MEAN), HC_ROWS_ONE, block},
                    {hc_arg(call, RSTD), HC_ROWS_ONE, block},
                    {hc_arg(call, SUM), HC_ROWS_VECTOR, block},
                    {x1, HC_ROWS_VECTOR, block},
                    {hc_arg(call, NUM_OUTS + X2), HC_ROWS_VECTOR, block},
                    {hc_arg(call, NUM_OUTS + GAMMA), HC_ROWS_SHARED, block},
                    {hc_arg(call, NUM_OUTS + BETA), HC_ROWS_SHARED, block},
                    {bias, is_full ? HC_ROWS_VECTOR : HC_ROWS_SHARED, block}}});
}

struct operands {
    const char *names; /* of those that are not optional, for the error */
    const aclTensor *x1, *x2, *gamma, *beta, *bias, *y, *mean, *rstd, *sum;
};

static aclnnStatus plan(const char *name, const struct operands *t, double alpha, double eps,
                        uint64_t *workspaceSize, aclOpExecutor **executor) {
    struct args args = {.eps = eps, .alpha = alpha};
    HC_CHECK(t->x1 && t->x2 && t->gamma && t->beta && t->y && t->mean && t->rstd, ACLNN_ERR_PARAM_NULLPTR,
             "%s: %s is null", name, t->names);
    const int64_t *shape = t->gamma->shape;
    const size_t rank = (size_t)t->gamma->rank;
    HC_TRY(hc_norm_mask(name, t->x1, shape, rank, &args.mask));
    HC_TRY(hc_norm_check_same(name, t->x1, "the second input", t->x2));
    HC_TRY(hc_norm_check_same(name, t->x1, "yOut", t->y));
    if (t->sum != NULL) HC_TRY(hc_norm_check_same(name, t->x1, "xOut", t->sum));
    HC_TRY(hc_norm_check_shared(name, "gamma", t->gamma, shape, rank));
    HC_TRY(hc_norm_check_shared(name, "beta", t->beta, shape, rank));
    if (t->bias != NULL && !hc_same_shape(t->bias, t->x1)) {
        HC_TRY(hc_norm_check_shared(name, "biasOptional", t->bias, shape, rank));
    }
    HC_TRY(hc_norm_check_rows(name, "meanOut", t->mean, t->x1, args.mask));
    HC_TRY(hc_norm_check_rows(name, "rstdOut", t->rstd, t->x1, args.mask));
    args.block = hc_compute_block(hc_dtype_promote(t->x1->dtype, t->x2->dtype));
    return HC_PLAN(name, run, &args, HC_OUT(t->y), HC_OUT(t->mean), HC_OUT(t->rstd), HC_OUT_OPT(t->sum),
                   HC_IN(t->x1), HC_IN(t->x2), HC_IN(t->gamma), HC_IN(t->beta), HC_IN_OPT(t->bias));
}

/* The sum is an output where additionalOutput asks for it. */
HC_API aclnnStatus aclnnAddLayerNormGetWorkspaceSize(const aclTensor *x1, const aclTensor *x2,
                                                     const aclTensor *gamma, const aclTensor *beta,
                                                     const aclTensor *biasOptional, double epsilon,
                                                     bool additionalOutput, const aclTensor *yOut,
                                                     const aclTensor *meanOut, const aclTensor *rstdOut,
                                                     const aclTensor *xOut, uint64_t *workspaceSize,
                                                     aclOpExecutor **executor) {
    HC_CHECK(!additionalOutput || xOut != NULL, ACLNN_ERR_PARAM_NULLPTR,
             "aclnnAddLayerNorm: xOut is null, which additionalOutput asks for");
    const struct operands t = {"x1, x2, gamma, beta, yOut, meanOut or rstdOut",
                               x1,
                               x2,
                               gamma,
                               beta,
                               biasOptional,
                               yOut,
                               meanOut,
                               rstdOut,
                               additionalOutput ? xOut : NULL};
    return plan("aclnnAddLayerNorm", &t, 1, epsilon, workspaceSize, executor);
}
HC_OP_LAUNCH(aclnnAddLayerNorm)

HC_API aclnnStatus aclnnDeepNormGetWorkspaceSize(const aclTensor *x, const aclTensor *gx,
                                                 const aclTensor *beta, const aclTensor *gamma, double alpha,
                                                 double epsilon, const aclTensor *meanOut,
                                                 const aclTensor *rstdOut, const aclTensor *yOut,
                                                 uint64_t *workspaceSize, aclOpExecutor **executor) {
    const struct operands t = {"x, gx, gamma, beta, yOut, meanOut or rstdOut",
                               x,
                               gx,
                               gamma,
                               beta,
                               NULL,
                               yOut,
                               meanOut,
                               rstdOut,
                               NULL};
    return plan("aclnnDeepNorm", &t, alpha, epsilon, workspaceSize, executor);
}
HC_OP_LAUNCH(aclnnDeepNorm)
#endif
