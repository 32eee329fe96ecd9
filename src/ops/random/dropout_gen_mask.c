// SPDX-License-Identifier: Apache-2.0
/* The keep mask of dropout: 1 bit an element (first element in the lowest bit of the first byte), padded with
 * 0 to a multiple of 128 bits. An element is kept where its word is at least prob * 2^32. */
#include <math.h>

#include "dropout_mask.h"

HC_KERNEL(hc_dropout_bits, (const uint32_t *words, size_t bytes, uint64_t threshold, uint8_t *mask))

#ifdef HC_ISA
/* 8 words make a byte of 8 comparisons. */
void HC_FN(hc_dropout_bits)(const uint32_t *words, size_t bytes, uint64_t threshold, uint8_t *mask) {
    if (threshold > UINT32_MAX) { /* nothing is kept */
        memset(mask, 0, bytes);
        return;
    }
    const uint32_t limit = (uint32_t)threshold;
    for (size_t b = 0; b < bytes; b++) {
        uint32_t byte = 0;
        for (unsigned bit = 0; bit < 8; bit++) byte |= (uint32_t)(words[8 * b + bit] >= limit) << bit;
        mask[b] = (uint8_t)byte;
    }
}
#else
#include "index_read.h"
#include "messages.h"

/* The threshold needs 33 bits: prob 1 is 2^32. */
struct mask_fill {
    struct hc_philox philox;
    uint64_t threshold;
    uint8_t *mask;
    size_t numel;
};
enum { BYTES_PER_GROUP = HC_PHILOX_GROUP / 8, BLOCK_GROUPS = 16, GRAIN_GROUPS = 64 * BLOCK_GROUPS };

/* Bits behind the last element are 0, so that a mask is a function of its inputs to the last byte. */
static void clear_tail(const struct mask_fill *f, size_t begin_byte, size_t end_byte) {
    for (size_t b = begin_byte; b < end_byte; b++) {
        const size_t first = b * 8;
        if (first + 8 <= f->numel) continue;
        const unsigned kept = first >= f->numel ? 0 : (1u << (f->numel - first)) - 1;
        f->mask[b] = (uint8_t)(f->mask[b] & kept);
    }
}

/* 16 groups at a time: their words, 4 KiB, are used while in the first-level cache. */
static void fill_groups(void *ctx, size_t begin, size_t end) {
    const struct mask_fill *f = ctx;
    uint32_t words[BLOCK_GROUPS * HC_PHILOX_GROUP];
    for (size_t at = begin; at < end; at += BLOCK_GROUPS) {
        const size_t count = hc_min_size(end - at, BLOCK_GROUPS);
        HC_DISPATCH(hc_philox_words)(&f->philox, at, count, words);
        HC_DISPATCH(hc_dropout_bits)(words, count * BYTES_PER_GROUP, f->threshold,
                                     f->mask + at * BYTES_PER_GROUP);
    }
    if (end * HC_PHILOX_GROUP > f->numel) clear_tail(f, begin * BYTES_PER_GROUP, end * BYTES_PER_GROUP);
}

/* ceil: kept are words at or above prob * 2^32, which is exact in double. */
void hc_dropout_fill_mask(struct hc_philox philox, double prob, size_t numel, void *mask) {
    struct mask_fill f = {philox, (uint64_t)ceil(prob * 0x1p32), mask, numel};
    hc_parallel_for(hc_dropout_mask_bytes(numel) / BYTES_PER_GROUP, GRAIN_GROUPS, fill_groups, &f);
}

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
    const aclTensor *seed = hc_arg(call, 1), *offset = hc_arg(call, 2);
    struct hc_philox philox = a->philox;
    if (seed != NULL) philox.seed = (uint64_t)hc_index_once(hc_data(seed));
    if (offset != NULL) philox.offset += (uint64_t)hc_index_once(hc_data(offset));
    hc_dropout_fill_mask(philox, a->prob, a->numel, hc_data(hc_arg(call, 0)));
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

/* Seed and offset on the device, which a captured graph reads anew in each replay; `offset` is added. */
aclnnStatus aclnnDropoutGenMaskV2TensorGetWorkspaceSize(const aclIntArray *shape, double prob,
                                                        const aclTensor *seedTensor,
                                                        const aclTensor *offsetTensor, int64_t offset,
                                                        aclDataType probDataType, aclTensor *out,
                                                        uint64_t *workspaceSize, aclOpExecutor **executor) {
    static const char NAME[] = "aclnnDropoutGenMaskV2Tensor";
    const aclTensor *all[] = {seedTensor, offsetTensor};
    for (int i = 0; i < 2; i++) {
        const char *what = i == 0 ? "seedTensor" : "offsetTensor";
        HC_CHECK(all[i] != NULL, ACLNN_ERR_PARAM_NULLPTR, "%s: %s is null", NAME, what);
        HC_CHECK(hc_numel(all[i]) == 1 && (all[i]->dtype == ACL_INT64 || all[i]->dtype == ACL_UINT64),
                 ACLNN_ERR_PARAM_INVALID, "%s: %s is %s, wanted one int64", NAME, what, HC_SHOW(all[i]));
    }
    const struct hc_philox philox = {.offset = (uint64_t)offset};
    (void)probDataType;
    return plan(NAME, shape, prob, philox, seedTensor, offsetTensor, out, workspaceSize, executor);
}
HC_OP_LAUNCH(aclnnDropoutGenMaskV2Tensor)
#endif
