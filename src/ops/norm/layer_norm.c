// SPDX-License-Identifier: Apache-2.0
/* Layer normalisation: y = (x - mean) * rstd * weight + bias over the last dimensions, rstd = 1/sqrt(var
 * + eps).
 *
 * Mean and variance in two passes over a row in the cache (no cancellation, where a single pass with x^2
 * would lose all digits of a row far from zero), added up in double; mean and rstd are outputs for the
 * gradient. A third pass writes y. Cost: the memory of x and y once, as a row stays in cache. */
#include "rows.h"

HC_ROWS_KERNEL(layer_norm_F32)
HC_ROWS_KERNEL(layer_norm_F64)

/* The mask has a bit for each normalised dimension. */
struct args {
    double eps;
    uint32_t mask;
    enum hc_block block;
};

#ifdef HC_ISA
#include "simd_rows.h"

static inline vf square(vf x) { return x * x; }
static inline vf normalise(vf x, float mean, float rstd) { return (x - mean) * rstd; }

/* The four combinations of weight and bias are four loops: `v` is the normalised vector. */
#define STORE(expr_full, expr_part)                                                                          \
    do {                                                                                                     \
        size_t i = 0;                                                                                        \
        for (; i + HC_VL <= n; i += HC_VL) {                                                                 \
            const vf v = normalise(vf_load(x + i), mean, rstd);                                              \
            vf_store(y + i, expr_full);                                                                      \
        }                                                                                                    \
        if (i < n) {                                                                                         \
            const size_t rest = n - i;                                                                       \
            const vf v = normalise(vf_load_part(x + i, rest), mean, rstd);                                   \
            vf_store_part(y + i, expr_part, rest);                                                           \
        }                                                                                                    \
    } while (0)

/* Deviations are taken from the rounded mean that is stored: the gradient starts from the same number. */
void HC_FN(layer_norm_F32)(size_t n, void *const *out, const void *const *in, size_t row, const void *args) {
    float *y = out[0];
    const float *x = in[0], *w = in[1], *b = in[2];
    const struct args *a = args;
    (void)row;
    const float mean = (float)(vf_row_sum(x, n) / (double)n);
    double squares = 0;
    HC_ROW_SUM(squares, n, square(vf_load(x + at) - mean), square(vf_load_fill(x + at, rest, mean) - mean));
    const float rstd = (float)(1 / sqrt(squares / (double)n + a->eps));
    if (out[1] != NULL) *(float *)out[1] = mean;
    if (out[2] != NULL) *(float *)out[2] = rstd;
    if (w != NULL && b != NULL) {
        STORE(vf_fma(v, vf_load(w + i), vf_load(b + i)),
              vf_fma(v, vf_load_part(w + i, rest), vf_load_part(b + i, rest)));
    } else if (w != NULL) {
        STORE(v * vf_load(w + i), v * vf_load_part(w + i, rest));
    } else if (b != NULL) {
        STORE(v + vf_load(b + i), v + vf_load_part(b + i, rest));
    } else {
        STORE(v, v);
    }
}

/* As above in scalar code, as double rows are for checks and not for training. */
void HC_FN(layer_norm_F64)(size_t n, void *const *out, const void *const *in, size_t row, const void *args) {
    double *y = out[0], mean = 0, squares = 0;
    const double *x = in[0], *w = in[1], *b = in[2];
    const struct args *a = args;
    (void)row;
    for (size_t i = 0; i < n; i++) mean += x[i];
    mean /= (double)n;
    for (size_t i = 0; i < n; i++) squares += (x[i] - mean) * (x[i] - mean);
    const double rstd = 1 / sqrt(squares / (double)n + a->eps);
    if (out[1] != NULL) *(double *)out[1] = mean;
    if (out[2] != NULL) *(double *)out[2] = rstd;
    for (size_t i = 0; i < n; i++) y[i] = (x[i] - mean) * rstd * (w ? w[i] : 1) + (b ? b[i] : 0);
}

#else
#include "norm.h"

/* Three outputs a row of which callers may want one; `work` of 2 counts the passes that compute. */
static aclnnStatus run(const struct hc_call *call) {
    const struct args *a = call->args;
    const enum hc_block block = a->block;
    return hc_rows_run(&(const struct hc_rows){.name = call->name,
                                               .shape = hc_arg(call, 0),
                                               .mask = a->mask,
                                               .args = a,
                                               .kernel = block == HC_F64 ? HC_DISPATCH(layer_norm_F64)
                                                                         : HC_DISPATCH(layer_norm_F32),
                                               .num_outs = 3,
                                               .num_ins = 3,
                                               .work = 2,
                                               .operand = {{hc_arg(call, 3), HC_ROWS_VECTOR, block},
                                                           {hc_arg(call, 4), HC_ROWS_ONE, block},
                                                           {hc_arg(call, 5), HC_ROWS_ONE, block},
                                                           {hc_arg(call, 0), HC_ROWS_VECTOR, block},
                                                           {hc_arg(call, 1), HC_ROWS_SHARED, block},
                                                           {hc_arg(call, 2), HC_ROWS_SHARED, block}}});
}

/* Operands: input, weight, bias, out, mean, rstd; the last two are left out by callers without gradients.
 */
static aclnnStatus plan(const char *name, const aclTensor *input, const aclIntArray *shape,
                        const aclTensor *weight, const aclTensor *bias, double eps, const aclTensor *out,
                        const aclTensor *mean, const aclTensor *rstd, uint64_t *workspaceSize,
                        aclOpExecutor **executor) {
    struct args args = {.eps = eps};
    HC_CHECK(input && out && shape, ACLNN_ERR_PARAM_NULLPTR, "%s: %s is null", name,
             input ? out ? "normalizedShape" : "out" : "input");
    HC_TRY(hc_norm_mask(name, input, shape->data, shape->size, &args.mask));
    HC_TRY(hc_norm_check_same(name, input, "out", out));
    HC_TRY(hc_norm_check_shared(name, "weight", weight, shape->data, shape->size));
    HC_TRY(hc_norm_check_shared(name, "bias", bias, shape->data, shape->size));
    HC_TRY(hc_norm_check_rows(name, "meanOut", mean, input, args.mask));
    HC_TRY(hc_norm_check_rows(name, "rstdOut", rstd, input, args.mask));
    args.block = hc_compute_block(input->dtype);
    return HC_PLAN(name, run, &args, HC_IN(input), HC_IN_OPT(weight), HC_IN_OPT(bias), HC_OUT(out),
                   HC_OUT_OPT(mean), HC_OUT_OPT(rstd));
}

/* The fast variant allows the vendor less precision; here both are one. */
#define LAYER_NORM(api)                                                                                      \
    HC_API aclnnStatus api##GetWorkspaceSize(                                                                \
        const aclTensor *input, const aclIntArray *normalizedShape, const aclTensor *weightOptional,         \
        const aclTensor *biasOptional, double eps, aclTensor *out, aclTensor *meanOutOptional,               \
        aclTensor *rstdOutOptional, uint64_t *workspaceSize, aclOpExecutor **executor) {                     \
        return plan(#api, input, normalizedShape, weightOptional, biasOptional, eps, out, meanOutOptional,   \
                    rstdOutOptional, workspaceSize, executor);                                               \
    }                                                                                                        \
    HC_OP_LAUNCH(api)
LAYER_NORM(aclnnLayerNorm)
LAYER_NORM(aclnnFastLayerNorm)
#endif
