// SPDX-License-Identifier: Apache-2.0
/* Gradients of layer normalisation. With z = (x - mean) rstd and h = gradOut * weight:
 *
 *   gradInput = rstd (h - mean(h) - z mean(h z)), gradWeight = sum over rows of gradOut z, gradBias of
 * gradOut.
 *
 * One pass over memory: the sums over rows are formed while the row is in the cache. They are added in
 * float over 32 rows and then in double (rows.h), so a batch of a million tokens costs no digits. */
#include "rows.h"

HC_ROWS_KERNEL(layer_norm_backward_F32)
HC_ROWS_KERNEL(layer_norm_backward_F64)

#ifdef HC_ISA
#include "simd_rows.h"

/* The whole weight is needed: without one, callers pass ones. */
void HC_FN(layer_norm_backward_F32)(size_t n, void *const *out, const void *const *in, size_t row,
                                    const void *args) {
    float *dx = out[0], *dw = out[1], *db = out[2];
    const float *dy = in[0], *x = in[1], *w = in[4], mean = *(const float *)in[2],
                rstd = *(const float *)in[3];
    (void)row;
    (void)args;
    double sum_h = 0, sum_hx = 0; /* of h and h (x - mean) */
    HC_ROW_SUM(sum_h, n, vf_load(dy + at) * vf_load(w + at),
               vf_load_part(dy + at, rest) * vf_load_part(w + at, rest));
    HC_ROW_SUM(sum_hx, n, (vf_load(dy + at) * vf_load(w + at)) * (vf_load(x + at) - mean),
               (vf_load_part(dy + at, rest) * vf_load_part(w + at, rest)) *
                   (vf_load_part(x + at, rest) - mean));
    const float a = (float)(sum_h / (double)n), b = (float)(sum_hx * (double)rstd / (double)n);
    size_t i = 0;
    for (; i + HC_VL <= n; i += HC_VL) {
        const vf g = vf_load(dy + i), z = (vf_load(x + i) - mean) * rstd, h = g * vf_load(w + i);
        vf_store(dw + i, vf_load(dw + i) + g * z);
        vf_store(db + i, vf_load(db + i) + g);
        if (dx != NULL) vf_store(dx + i, (h - a - z * b) * rstd);
    }
    for (; i < n; i++) {
        const float g = dy[i], z = (x[i] - mean) * rstd;
        dw[i] += g * z;
        db[i] += g;
        if (dx != NULL) dx[i] = (g * w[i] - a - z * b) * rstd;
    }
}

/* As above, all sums in double. */
void HC_FN(layer_norm_backward_F64)(size_t n, void *const *out, const void *const *in, size_t row,
                                    const void *args) {
    double *dx = out[0], *dw = out[1], *db = out[2], a = 0, b = 0;
    const double *dy = in[0], *x = in[1], *w = in[4], mean = *(const double *)in[2],
                 rstd = *(const double *)in[3];
    (void)row;
    (void)args;
    for (size_t i = 0; i < n; i++) {
        a += dy[i] * w[i];
        b += dy[i] * w[i] * ((x[i] - mean) * rstd);
    }
    a /= (double)n;
    b /= (double)n;
    for (size_t i = 0; i < n; i++) {
        const double g = dy[i], z = (x[i] - mean) * rstd;
        dw[i] += g * z;
        db[i] += g;
        if (dx != NULL) dx[i] = (g * w[i] - a - z * b) * rstd;
    }
}

#else

#include "norm.h"

/* Computed in the promoted type of gradient and input: one of them may be float32 in mixed precision. */
struct args {
    uint32_t mask;
    enum hc_block block;
    bool want[3]; /* input, weight, bias */
};

enum { GRAD_OUT, INPUT, MEAN, RSTD, WEIGHT, GRAD_INPUT, GRAD_WEIGHT, GRAD_BIAS };

/* Sums are formed whether wanted or not; those without a tensor are dropped. */
static aclnnStatus run_weighted(const struct hc_call *call, const aclTensor *weight) {
    const struct args *a = call->args;
    const enum hc_block block = a->block;
    return hc_rows_run(&(const struct hc_rows){.name = call->name,
                                               .shape = hc_arg(call, INPUT),
                                               .mask = a->mask,
                                               .kernel = block == HC_F64
                                                             ? HC_DISPATCH(layer_norm_backward_F64)
                                                             : HC_DISPATCH(layer_norm_backward_F32),
                                               .num_outs = 1,
                                               .num_ins = 5,
                                               .num_sums = 2,
                                               .work = 2,
                                               .sum_block = block,
                                               .operand = {{hc_arg(call, GRAD_INPUT), HC_ROWS_VECTOR, block},
                                                           {hc_arg(call, GRAD_OUT), HC_ROWS_VECTOR, block},
                                                           {hc_arg(call, INPUT), HC_ROWS_VECTOR, block},
                                                           {hc_arg(call, MEAN), HC_ROWS_ONE, block},
                                                           {hc_arg(call, RSTD), HC_ROWS_ONE, block},
                                                           {weight, HC_ROWS_SHARED, block}},
                                               .sum = {hc_arg(call, GRAD_WEIGHT), hc_arg(call, GRAD_BIAS)}});
}

/* Ones in place of a missing weight cost a row; a second kernel would cost a test for each element or a
 * copy of the loop. */
static aclnnStatus run(const struct hc_call *call) {
    const struct args *a = call->args;
    const aclTensor *weight = hc_arg(call, WEIGHT);
    if (weight != NULL) return run_weighted(call, weight);
    const size_t n = hc_rows_length(hc_arg(call, INPUT), a->mask);
    double one = 1, *ones = hc_block_take_array(n, sizeof *ones);
    HC_CHECK(ones != NULL, ACLNN_ERR_INNER, "%s: out of host memory for %zu weights", call->name, n);
    hc_load_for(ACL_DOUBLE, HC_F64)(n, ones, &one, 0);
    const aclTensor view = hc_tensor_view(ACL_DOUBLE, &(const int64_t){(int64_t)n}, 1, ones);
    const aclnnStatus status = run_weighted(call, &view);
    hc_block_give(ones);
    return status;
}

/* outputMask tells which of the three gradients are wanted; the others may be null. */
HC_API aclnnStatus aclnnLayerNormBackwardGetWorkspaceSize(
    const aclTensor *gradOut, const aclTensor *input, const aclIntArray *normalizedShape,
    const aclTensor *mean, const aclTensor *rstd, const aclTensor *weightOptional,
    const aclTensor *biasOptional, const aclBoolArray *outputMask, aclTensor *gradInputOut,
    aclTensor *gradWeightOut, aclTensor *gradBiasOut, uint64_t *workspaceSize, aclOpExecutor **executor) {
    static const char *const NAME = "aclnnLayerNormBackward";
    struct args args = {0};
    (void)biasOptional; /* the gradient does not depend on it */
    HC_CHECK(gradOut && input && normalizedShape && mean && rstd && outputMask, ACLNN_ERR_PARAM_NULLPTR,
             "%s: gradOut, input, normalizedShape, mean, rstd or outputMask is null", NAME);
    HC_CHECK(outputMask->size == 3, ACLNN_ERR_PARAM_INVALID, "%s: outputMask has %zu values, want 3", NAME,
             outputMask->size);
    const int64_t *shape = normalizedShape->data;
    const size_t rank = normalizedShape->size;
    const aclTensor *gradInput = outputMask->data[0] ? gradInputOut : NULL;
    const aclTensor *gradWeight = outputMask->data[1] ? gradWeightOut : NULL;
    const aclTensor *gradBias = outputMask->data[2] ? gradBiasOut : NULL;
    HC_CHECK((gradInput || !outputMask->data[0]) && (gradWeight || !outputMask->data[1]) &&
                 (gradBias || !outputMask->data[2]),
             ACLNN_ERR_PARAM_NULLPTR, "%s: an output that outputMask asks for is null", NAME);
    HC_TRY(hc_norm_mask(NAME, input, shape, rank, &args.mask));
    HC_TRY(hc_norm_check_same(NAME, input, "gradOut", gradOut));
    if (gradInput != NULL) HC_TRY(hc_norm_check_same(NAME, input, "gradInputOut", gradInput));
    HC_TRY(hc_norm_check_shared(NAME, "weight", weightOptional, shape, rank));
    HC_TRY(hc_norm_check_shared(NAME, "gradWeightOut", gradWeight, shape, rank));
    HC_TRY(hc_norm_check_shared(NAME, "gradBiasOut", gradBias, shape, rank));
    HC_TRY(hc_norm_check_rows(NAME, "mean", mean, input, args.mask));
    HC_TRY(hc_norm_check_rows(NAME, "rstd", rstd, input, args.mask));
    args.block = hc_compute_block(hc_dtype_promote(gradOut->dtype, input->dtype));
    return HC_PLAN(NAME, run, &args, HC_IN(gradOut), HC_IN(input), HC_IN(mean), HC_IN(rstd),
                   HC_IN_OPT(weightOptional), HC_OUT_OPT(gradInput), HC_OUT_OPT(gradWeight),
                   HC_OUT_OPT(gradBias));
}
HC_OP_LAUNCH(aclnnLayerNormBackward)
#endif
