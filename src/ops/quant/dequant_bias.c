// SPDX-License-Identifier: Apache-2.0
/* Sums of a quantised product back to floating point, row by row of x [M, N]:
 *
 *     out = (x + bias) * weightScale * activateScale     with a bias of int32
 *     out = x * weightScale * activateScale + bias       with one of floating point
 *
 * weightScale and the bias have N elements, activateScale M. */
#include "quant.h"
#include "dequant.h"

#ifndef HC_ISA
enum { GRAIN = 16384, RUN = 1024 };

/* Of operands that are contiguous. */
struct job {
    const int32_t *x;
    struct hc_dequant by;
    const float *rows; /* activateScale; NULL: 1 */
    char *out;
    hc_store_fn *store;
    size_t n, item;
};

/* A run of a row at a time, in the first-level cache. */
static void run_rows(void *ctx, size_t begin, size_t end) {
    const struct job *j = ctx;
    float y[RUN];
    for (size_t row = begin; row < end; row++) {
        for (size_t i = 0; i < j->n; i += RUN) {
            const size_t n = hc_min_size(RUN, j->n - i), at = row * j->n + i;
            const struct hc_dequant by = hc_dequant_from(&j->by, i, j->rows != NULL ? j->rows[row] : 1);
            HC_DISPATCH(hc_dequant)(n, y, j->x + at, &by);
            j->store(n, j->out + at * j->item, 1, y);
        }
    }
}

/* Operands x, weightScale, activateScaleOptional, biasOptional, out. */
static aclnnStatus run(const struct hc_call *call) {
    enum { X, WEIGHT, ROWS, BIAS, OUT, SLOTS };
    const aclTensor *out = hc_arg(call, OUT), *bias = hc_arg(call, BIAS);
    const bool whole = bias != NULL && bias->dtype == ACL_INT32;
    aclTensor view[SLOTS] = {0};
    void *owned[SLOTS] = {NULL};
    aclnnStatus status = hc_contiguous_out(out, out->dtype, &view[OUT], &owned[OUT]);
    for (int s = X; s < OUT && status == 0; s++) {
        const aclDataType as = s == X || (s == BIAS && whole) ? ACL_INT32 : ACL_FLOAT;
        if (hc_arg(call, s) != NULL)
            status = hc_contiguous_apart(hc_arg(call, s), as, out, &view[s], &owned[s]);
    }
    if (status == 0) {
        struct job j = {.x = (const int32_t *)hc_data(&view[X]),
                        .by = {.scale = (const float *)hc_data(&view[WEIGHT]),
                               .scale_each = view[WEIGHT].numel > 1,
                               .whole_bias = whole ? (const int32_t *)hc_data(&view[BIAS]) : NULL,
                               .bias = bias != NULL && !whole ? (const float *)hc_data(&view[BIAS]) : NULL},
                        .rows = view[ROWS].base != NULL ? (const float *)hc_data(&view[ROWS]) : NULL,
                        .out = hc_data(&view[OUT]),
                        .store = hc_store_for(out->dtype, HC_F32),
                        .n = hc_quant_row_length(out),
                        .item = (size_t)out->item_size};
        hc_parallel_for(hc_quant_row_count(out), hc_max_size(GRAIN / hc_max_size(j.n, 1), 1), run_rows, &j);
        if (owned[OUT] != NULL) status = hc_copy(out, &view[OUT]);
    }
    for (int s = 0; s < SLOTS; s++) hc_block_give(owned[s]);
    return status;
}

/* By count: [1, N] is as good as [N]. */
static aclnnStatus check_vector(const char *arg, const aclTensor *t, int64_t count, bool whole) {
    HC_CHECK(t->numel == count && (hc_fits_f32(t->dtype) || (whole && t->dtype == ACL_INT32)),
             ACLNN_ERR_PARAM_INVALID, "aclnnDequantBias: %s is %s, wanted %lld elements of floating point%s",
             arg, HC_SHOW(t), (long long)count, whole ? " or int32" : "");
    return 0;
}

HC_API aclnnStatus aclnnDequantBiasGetWorkspaceSize(const aclTensor *x, const aclTensor *weightScale,
                                                    const aclTensor *activateScaleOptional,
                                                    const aclTensor *biasOptional, int64_t outputDtype,
                                                    const aclTensor *out, uint64_t *workspaceSize,
                                                    aclOpExecutor **executor) {
    static const char *const NAME = "aclnnDequantBias";
    HC_CHECK(x && weightScale, ACLNN_ERR_PARAM_NULLPTR, "%s: %s is null", NAME, x ? "weightScale" : "x");
    HC_CHECK(x->dtype == ACL_INT32 && x->rank == 2, ACLNN_ERR_PARAM_INVALID,
             "%s: x is %s, wanted int32 of two dimensions", NAME, HC_SHOW(x));
    HC_TRY(hc_quant_check_float(NAME, "out", out));
    HC_CHECK(hc_same_shape(x, out) && outputDtype == (int64_t)out->dtype, ACLNN_ERR_PARAM_INVALID,
             "%s: out is %s, wanted the shape of x %s and the type outputDtype %lld", NAME, HC_SHOW(out),
             HC_SHOW(x), (long long)outputDtype);
    HC_TRY(check_vector("weightScale", weightScale, x->shape[1], false));
    if (activateScaleOptional != NULL)
        HC_TRY(check_vector("activateScaleOptional", activateScaleOptional, x->shape[0], false));
    if (biasOptional != NULL) HC_TRY(check_vector("biasOptional", biasOptional, x->shape[1], true));
    return HC_PLAN0(NAME, run, HC_IN(x), HC_IN(weightScale), HC_IN_OPT(activateScaleOptional),
                    HC_IN_OPT(biasOptional), HC_OUT(out));
}
HC_OP_LAUNCH(aclnnDequantBias)
#endif
