// SPDX-License-Identifier: Apache-2.0
/* y = kept ? x / (1 - prob) : 0, with the bit mask of dropout_mask.h. */

#include "dropout.h"
#include "temporary.h"

HC_KERNEL(hc_dropout_scale_F32, (size_t n, float *x, const uint8_t *mask, float scale))
HC_KERNEL(hc_dropout_scale_F64, (size_t n, double *x, const uint8_t *mask, double scale))

#ifdef HC_ISA
/* In place; n may end inside a byte. A dropped NaN or infinity becomes 0, so the mask selects, it does not
 * multiply. */
#define SCALE(block, type)                                                                                   \
    void HC_FN(hc_dropout_scale_##block)(size_t n, type *x, const uint8_t *mask, type scale) {               \
        for (size_t i = 0; i < n; i++) x[i] = (mask[i >> 3] >> (i & 7) & 1) ? x[i] * scale : 0;              \
    }
SCALE(F32, float)
SCALE(F64, double)
#else
/* Both tensors contiguous, of one type. */
struct apply {
    const uint8_t *mask;
    const char *in;
    char *out;
    size_t item_size;
    double scale;
    bool wide;
    hc_load_fn *load;
    hc_store_fn *store;
};
enum { BLOCK = 1024, GRAIN = 16 * BLOCK };

/* Blocks begin at multiples of 1024, so at whole bytes of the mask. */
static void apply_range(void *ctx, size_t begin, size_t end) {
    const struct apply *a = ctx;
    _Alignas(64) char block[BLOCK * sizeof(double)];
    for (; begin < end; begin += BLOCK) {
        const size_t n = hc_min_size(end - begin, BLOCK);
        a->load(n, block, a->in + begin * a->item_size, 1);
        if (a->wide) HC_DISPATCH(hc_dropout_scale_F64)(n, (double *)block, a->mask + begin / 8, a->scale);
        else HC_DISPATCH(hc_dropout_scale_F32)(n, (float *)block, a->mask + begin / 8, (float)a->scale);
        a->store(n, a->out + begin * a->item_size, 1, block);
    }
}

/* out may be self: a block is read before it is written. */
aclnnStatus hc_dropout_apply(const aclTensor *out, const aclTensor *self, const void *mask, double scale) {
    aclTensor in, to;
    void *owned_in = NULL, *owned_out = NULL;
    const enum hc_block block = out->dtype == ACL_DOUBLE ? HC_F64 : HC_F32;
    HC_TRY(hc_contiguous(self, out->dtype, &in, &owned_in));
    aclnnStatus status = hc_contiguous_out(out, out->dtype, &to, &owned_out);
    if (status == 0) {
        struct apply a = {mask,
                          hc_data(&in),
                          hc_data(&to),
                          (size_t)to.item_size,
                          scale,
                          block == HC_F64,
                          hc_load_for(out->dtype, block),
                          hc_store_for(out->dtype, block)};
        hc_parallel_for(hc_numel(&in), GRAIN, apply_range, &a);
        if (owned_out) status = hc_copy(out, &to);
    }
    hc_block_give(owned_in);
    hc_block_give(owned_out);
    return status;
}

/* The probability that the mask was made with: the factor is not stored with it. */
struct do_mask {
    double prob;
};

/* prob 1 drops everything: the factor is never used, and must not be infinite. */
static aclnnStatus do_mask_run(const struct hc_call *call) {
    const double prob = ((const struct do_mask *)call->args)->prob;
    const double scale = prob < 1 ? 1 / (1 - prob) : 0;
    return hc_dropout_apply(hc_arg(call, 2), hc_arg(call, 0), hc_data(hc_arg(call, 1)), scale);
}

/* Forward and backward of dropout are this same operator: the gradient is masked and scaled as the input
 * was. */
aclnnStatus aclnnDropoutDoMaskGetWorkspaceSize(const aclTensor *self, const aclTensor *mask, double prob,
                                               aclTensor *out, uint64_t *workspaceSize,
                                               aclOpExecutor **executor) {
    HC_CHECK(self != NULL && out != NULL, ACLNN_ERR_PARAM_NULLPTR, "aclnnDropoutDoMask: %s is null",
             self ? "out" : "self");
    HC_CHECK(hc_dtype_is_float(self->dtype) && self->dtype == out->dtype && hc_same_shape(self, out),
             ACLNN_ERR_PARAM_INVALID,
             "aclnnDropoutDoMask: self %s and out %s must be the same floating-point type and shape",
             HC_SHOW(self), HC_SHOW(out));
    HC_TRY(hc_dropout_check("aclnnDropoutDoMask", prob, mask, 1, hc_numel(self)));
    const struct do_mask args = {prob};
    return HC_PLAN("aclnnDropoutDoMask", do_mask_run, &args, HC_IN(self), HC_IN(mask), HC_OUT(out));
}
HC_OP_LAUNCH(aclnnDropoutDoMask)
#endif
