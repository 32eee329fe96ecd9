// SPDX-License-Identifier: Apache-2.0
/* Quantisation to fp4 with scales of two levels along the last dimension: a float32 of each block of 512, and
 * MX scales of blocks of 32 of what that has left (mx.h):
 *
 *     level0 = max |x| / 6, t = x / level0 in x's type, and y, level1 are those of t
 *
 * A block of zeros has scales of 0 and 2^-127 and stays zeros. */
#include "mx.h"
#include "quant.h"

enum slot { X, Y, LEVEL0, LEVEL1 };

static const char *const NAME = "aclnnDynamicDualLevelMxQuant";

/* Of one call. */
struct args {
    struct hc_mx mx;
    size_t block; /* of the first level */
};

/* One run, everything contiguous. */
struct job {
    const struct args *a;
    size_t n, blocks;
    float *level0;
    char *t;
    size_t item;
    hc_store_fn *store;
};

/* The division is float32's; the quotient is rounded to x's type, as the definition says. */
static void divide_row(const void *ctx, size_t row, float *x, float *spare) {
    const struct job *j = ctx;
    (void)spare;
    for (size_t b = 0; b < j->blocks; b++) {
        float *part = x + b * j->a->block, *level0 = j->level0 + row * j->blocks + b;
        const size_t n = hc_min_size(j->a->block, j->n - b * j->a->block);
        struct hc_quant_range range;
        HC_DISPATCH(hc_quant_range)(n, part, NULL, &range);
        *level0 = (-range.min > range.max ? -range.min : range.max) / j->a->mx.format.largest;
        /* Of floats the division leaves zeros where the scale is 0; no value is out of range. */
        const struct hc_quant_affine by = {.scale = level0,
                                           .divide = true,
                                           .rounding = HC_QUANT_KEEP,
                                           .target = {HC_QUANT_HIF8, -__builtin_inff(), __builtin_inff()}};
        HC_DISPATCH(hc_quant_affine)(n, part, part, &by);
    }
    j->store(j->n, j->t + row * j->n * j->item, 1, x);
}

/* Both levels from a contiguous x; t is memory of its size. */
static aclnnStatus quantise(const struct hc_call *call, const aclTensor *x, float *level0, void *t) {
    const struct args *a = call->args;
    const size_t n = hc_quant_row_length(x);
    const struct job j = {
        a, n, hc_ceil_div(n, a->block), level0, t, (size_t)x->item_size, hc_store_for(x->dtype, HC_F32)};
    HC_TRY(hc_quant_rows_run(
        &(const struct hc_quant_rows){call->name, x, n, hc_quant_row_count(x), divide_row, &j}));
    const aclTensor view = hc_tensor_view(x->dtype, x->shape, x->rank, t);
    return hc_mx_quantise(call->name, &a->mx, &view, x->rank - 1, hc_arg(call, Y), hc_arg(call, LEVEL1));
}

/* x is read from a copy where level0, which is written beside it, lies in its memory. */
static aclnnStatus run(const struct hc_call *call) {
    const aclTensor *given = hc_arg(call, X), *to = hc_arg(call, LEVEL0);
    aclTensor x, level0;
    void *own_x = NULL, *own_level0 = NULL;
    HC_TRY(hc_contiguous_apart(given, given->dtype, to, &x, &own_x));
    aclnnStatus status = hc_contiguous_out(to, ACL_FLOAT, &level0, &own_level0);
    void *t = hc_block_take_array(hc_numel(&x), (size_t)x.item_size);
    if (status == 0 && t == NULL)
        status = hc_fail(ACLNN_ERR_INNER, "%s: out of host memory for a copy of x %s", NAME, HC_SHOW(given));
    if (status == 0) status = quantise(call, &x, (float *)hc_data(&level0), t);
    if (status == 0 && own_level0 != NULL) status = hc_copy(to, &level0);
    hc_block_give(own_x);
    hc_block_give(own_level0);
    hc_block_give(t);
    return status;
}

/* torch_npu.npu_dynamic_dual_level_mx_quant. */
HC_API aclnnStatus aclnnDynamicDualLevelMxQuantGetWorkspaceSize(
    const aclTensor *x, const aclTensor *smoothScaleOptional, char *roundModeOptional,
    int64_t level0BlockSize, int64_t level1BlockSize, const aclTensor *yOut, const aclTensor *level0ScaleOut,
    const aclTensor *level1ScaleOut, uint64_t *workspaceSize, aclOpExecutor **executor) {
    struct args args;
    HC_TRY(hc_quant_check_float(NAME, "x", x));
    HC_CHECK(x->rank >= 1 && x->rank < HC_MAX_RANK, ACLNN_ERR_PARAM_INVALID,
             "%s: x is %s, wanted 1 to %d dimensions", NAME, HC_SHOW(x), HC_MAX_RANK - 1);
    HC_CHECK(smoothScaleOptional == NULL, ACLNN_ERR_PARAM_INVALID,
             "%s: smoothScaleOptional is %s, wanted none: what it does is told nowhere", NAME,
             HC_SHOW(smoothScaleOptional));
    HC_CHECK(level1BlockSize == 32, ACLNN_ERR_PARAM_INVALID, "%s: level1BlockSize is %lld, wanted 32", NAME,
             (long long)level1BlockSize);
    HC_CHECK(level0BlockSize == 512, ACLNN_ERR_PARAM_INVALID, "%s: level0BlockSize is %lld, wanted 512", NAME,
             (long long)level0BlockSize);
    HC_TRY(hc_mx_check(NAME, roundModeOptional, ACL_FLOAT4_E2M1, level1BlockSize, 0, 0, &args.mx));
    args.block = (size_t)level0BlockSize;
    HC_TRY(
        hc_mx_check_outputs(NAME, &args.mx, x, x->rank - 1, "yOut", yOut, "level1ScaleOut", level1ScaleOut));
    aclTensor wanted = *x;
    wanted.shape[x->rank - 1] = (int64_t)hc_ceil_div((size_t)x->shape[x->rank - 1], args.block);
    wanted = hc_tensor_view(ACL_FLOAT, wanted.shape, x->rank, NULL);
    HC_CHECK(level0ScaleOut != NULL, ACLNN_ERR_PARAM_NULLPTR, "%s: level0ScaleOut is null", NAME);
    HC_CHECK(level0ScaleOut->dtype == ACL_FLOAT && hc_same_shape(&wanted, level0ScaleOut),
             ACLNN_ERR_PARAM_INVALID, "%s: level0ScaleOut is %s, wanted %s", NAME, HC_SHOW(level0ScaleOut),
             HC_SHOW(&wanted));
    const aclTensor bytes = hc_fp4_bytes(yOut), *const y = &bytes;
    return HC_PLAN(NAME, run, &args, HC_IN(x), HC_OUT(y), HC_OUT(level0ScaleOut), HC_OUT(level1ScaleOut));
}
HC_OP_LAUNCH(aclnnDynamicDualLevelMxQuant)
