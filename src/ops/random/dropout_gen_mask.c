// SPDX-License-Identifier: Apache-2.0
/* The keep mask of dropout as an operator (dropout_mask.h). */
#include <string.h>

#include "dropout.h"
#include "messages.h"

/* The mask is written and read as whole bytes from its first element, hence contiguous. */
aclnnStatus hc_dropout_check(const char *name, double prob, const aclTensor *mask, int k, size_t numel) {
    HC_CHECK(prob >= 0 && prob <= 1, ACLNN_ERR_PARAM_INVALID, "%s: probability %g is outside [0, 1]", name,
             prob);
    HC_CHECK(mask != NULL, ACLNN_ERR_PARAM_NULLPTR, "%s: %s is null", name, hc_tensor_name(name, k));
    HC_CHECK(mask->item_size == 1 && hc_is_contiguous(mask) && hc_numel(mask) >= hc_dropout_mask_bytes(numel),
             ACLNN_ERR_PARAM_INVALID, "%s: mask %s, %zu contiguous bytes are needed for %zu elements", name,
             HC_SHOW(mask), hc_dropout_mask_bytes(numel), numel);
    return 0;
}

/* numel: of the tensor that the mask is for; the shape itself does not matter. */
struct gen_mask {
    struct hc_philox philox;
    double prob;
    size_t numel;
};

/* Operands: mask, and where they are on the device seed and offset. */
static aclnnStatus gen_mask_run(const struct hc_call *call) {
    const struct gen_mask *a = call->args;
    hc_dropout_fill_mask(hc_philox_of(call, a->philox, 1), a->prob, a->numel, hc_data(hc_arg(call, 0)));
    return 0;
}

static aclnnStatus plan(const char *name, const aclIntArray *shape, double prob, struct hc_philox philox,
                        const aclTensor *seed, const aclTensor *offset, aclTensor *out,
                        uint64_t *workspaceSize, aclOpExecutor **executor) {
    HC_CHECK(shape != NULL, ACLNN_ERR_PARAM_NULLPTR, "%s: shape is null", name);
    int64_t numel;
    HC_CHECK(shape->size <= HC_MAX_RANK, ACLNN_ERR_PARAM_INVALID,
             "%s: shape has %zu dimensions, at most %d are supported", name, shape->size, HC_MAX_RANK);
    aclTensor want = {.dtype = ACL_BOOL, .rank = (int32_t)shape->size};
    if (shape->size > 0) memcpy(want.shape, shape->data, shape->size * sizeof shape->data[0]);
    HC_CHECK(hc_shape_numel(shape->data, (int32_t)shape->size, &numel), ACLNN_ERR_PARAM_INVALID,
             "%s: shape is %s: negative, or more than 2^48 elements", name, HC_SHOW(&want));
    const struct gen_mask args = {philox, prob, (size_t)numel};
    HC_TRY(hc_dropout_check(name, prob, out, -1, args.numel));
    return HC_PLAN(name, gen_mask_run, &args, HC_OUT(out), HC_IN_OPT(seed), HC_IN_OPT(offset));
}

/* prob is that of dropping, as in F.dropout. */
aclnnStatus aclnnDropoutGenMaskGetWorkspaceSize(const aclIntArray *shape, double prob, int64_t seed,
                                                int64_t offset, aclTensor *out, uint64_t *workspaceSize,
                                                aclOpExecutor **executor) {
    const struct hc_philox philox = {(uint64_t)seed, (uint64_t)offset};
    return plan("aclnnDropoutGenMask", shape, prob, philox, NULL, NULL, out, workspaceSize, executor);
}
HC_OP_LAUNCH(aclnnDropoutGenMask)

/* probDataType is the dtype that prob came from; prob itself is a double here. */
aclnnStatus aclnnDropoutGenMaskV2GetWorkspaceSize(const aclIntArray *shape, double prob, int64_t seed,
                                                  int64_t offset, aclDataType probDataType, aclTensor *out,
                                                  uint64_t *workspaceSize, aclOpExecutor **executor) {
    const struct hc_philox philox = {(uint64_t)seed, (uint64_t)offset};
    (void)probDataType;
    return plan("aclnnDropoutGenMaskV2", shape, prob, philox, NULL, NULL, out, workspaceSize, executor);
}
HC_OP_LAUNCH(aclnnDropoutGenMaskV2)

/* Seed and offset on the device. */
aclnnStatus aclnnDropoutGenMaskV2TensorGetWorkspaceSize(const aclIntArray *shape, double prob,
                                                        const aclTensor *seedTensor,
                                                        const aclTensor *offsetTensor, int64_t offset,
                                                        aclDataType probDataType, aclTensor *out,
                                                        uint64_t *workspaceSize, aclOpExecutor **executor) {
    static const char NAME[] = "aclnnDropoutGenMaskV2Tensor";
    HC_TRY(hc_philox_check(NAME, seedTensor, offsetTensor));
    const struct hc_philox philox = {.offset = (uint64_t)offset};
    (void)probDataType;
    return plan(NAME, shape, prob, philox, seedTensor, offsetTensor, out, workspaceSize, executor);
}
HC_OP_LAUNCH(aclnnDropoutGenMaskV2Tensor)
