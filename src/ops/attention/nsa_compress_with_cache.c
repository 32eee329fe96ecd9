// SPDX-License-Identifier: Apache-2.0
/* The newest block of each sequence compressed while it is decoded, for native sparse attention (arXiv
 * 2502.11089): where the length of a sequence just ends a block of W tokens (length - W is a multiple of the
 * stride), its last W tokens, from pages, become one row of the cache of compressed keys or values; else its
 * row stays.
 *
 *     outputCache[slotMapping[b], h] = sum over w of weight[w, h] * token[length - W + w, h]
 *
 * Items are sequences times heads; of several sequences with one slot the last stays, so each is looked for
 * first. */
#include <stdatomic.h>
#include <string.h>

#include "sparse_tokens.h"

static const char NAME[] = "aclnnNsaCompressWithCache";

/* Lengths travel behind the sizes: the caller's array does not outlive the call. */
struct args {
    int64_t sequences, places, stride;
    int64_t length[];
};

/* One run; slots and pages were read once. */
struct loop {
    const struct args *a;
    struct hc_keys input;
    const float *weight;
    const int64_t *slot;
    const aclTensor *cache;
    size_t heads, size;
    atomic_bool failed;
};

/* Whether sequence b has just filled a block, and no later one takes its slot. */
static bool is_due(const struct loop *l, int64_t b) {
    const struct args *a = l->a;
    const int64_t behind = a->length[b] - a->places;
    if (behind < 0 || behind % a->stride != 0) return false;
    for (int64_t c = b + 1; c < a->sequences; c++) {
        const int64_t other = a->length[c] - a->places;
        if (l->slot[c] == l->slot[b] && other >= 0 && other % a->stride == 0) return false;
    }
    return true;
}

/* One row of one head; `rows` has room for the block's tokens and the row itself. */
static void compress(const struct loop *l, int64_t b, size_t head, float *rows) {
    const struct args *a = l->a;
    const struct hc_span span = {.k_len = a->length[b]};
    struct hc_keys input = l->input;
    float *sum = rows + (size_t)a->places * l->size;
    input.head = (int64_t)head;
    memset(sum, 0, l->size * sizeof *sum);
    for (int64_t w = 0; w < a->places; w++) {
        const int64_t at = a->length[b] - a->places + w;
        hc_keys_gather(&input, b, &span, &at, 1, rows, l->size);
        const float f = l->weight[(size_t)w * l->heads + head];
        for (size_t d = 0; d < l->size; d++) sum[d] += f * rows[d];
    }
    const aclTensor *t = l->cache;
    const int64_t to = l->slot[b] * t->stride[0] + (int64_t)head * t->stride[1];
    hc_store_for(t->dtype, HC_F32)(l->size, hc_data(t) + to * t->item_size, t->stride[2], sum);
}

/* Memory of a thread serves all items of a piece. */
static void compress_items(void *ctx, size_t begin, size_t end) {
    struct loop *l = ctx;
    float *rows = hc_scratch(HC_SCRATCH_A, ((size_t)l->a->places + 1) * l->size * sizeof *rows);
    if (rows == NULL) atomic_store(&l->failed, true);
    for (size_t i = begin; i < end && rows != NULL; i++)
        if (is_due(l, (int64_t)(i / l->heads))) compress(l, (int64_t)(i / l->heads), i % l->heads, rows);
}

/* The pages of every sequence that is due are pages of the input. */
static aclnnStatus check_pages(const struct loop *l) {
    const int64_t page_size = l->input.t->shape[1];
    for (int64_t b = 0; b < l->a->sequences; b++) {
        for (int64_t i = 0; is_due(l, b) && i * page_size < l->a->length[b]; i++) {
            const int64_t page = l->input.table[b * l->input.table_width + i];
            HC_CHECK(page >= 0 && page < l->input.t->shape[0], ACLNN_ERR_PARAM_INVALID,
                     "%s: blockTableOptional has %lld for page %lld of sequence %lld, wanted 0 to %lld", NAME,
                     (long long)page, (long long)i, (long long)b, (long long)l->input.t->shape[0] - 1);
        }
    }
    return 0;
}

/* Operands input, weight, slotMapping, blockTable, outputCache. */
static aclnnStatus run(const struct hc_call *call) {
    const struct args *a = call->args;
    const aclTensor *input = hc_arg(call, 0), *table = hc_arg(call, 3), *cache = hc_arg(call, 4);
    struct hc_plain p = hc_plain_open(NAME);
    struct loop l = {.a = a,
                     .input = {input, HC_TOKENS_PAGED,
                               hc_plain_index(&p, "blockTableOptional", table, INT64_MIN, INT64_MAX),
                               table->shape[1], 0},
                     .weight = hc_plain_in(&p, hc_arg(call, 1)),
                     .slot = hc_plain_index(&p, "slotMapping", hc_arg(call, 2), 0, cache->shape[0]),
                     .cache = cache,
                     .heads = (size_t)input->shape[2],
                     .size = (size_t)input->shape[3]};
    if (p.status == 0) p.status = check_pages(&l);
    if (p.status == 0) hc_parallel_for((size_t)a->sequences * l.heads, 1, compress_items, &l);
    const bool failed = atomic_load(&l.failed);
    return hc_plain_close(&p, failed ? hc_fail(ACLNN_ERR_INNER, "%s: out of host memory", NAME) : 0);
}

/* The one form that the interface has for decoding. */
static aclnnStatus check_options(const char *layout, int64_t size, int64_t stride, int64_t type, int64_t page,
                                 const aclTensor *input) {
    HC_CHECK(layout == NULL || *layout == '\0' || strcmp(layout, "TND") == 0, ACLNN_ERR_PARAM_INVALID,
             "%s: layoutOptional is \"%s\"; TND is supported", NAME, layout);
    HC_CHECK(type == 1, ACLNN_ERR_PARAM_INVALID, "%s: actSeqLenType is %lld; 1, lengths, is supported", NAME,
             (long long)type);
    HC_CHECK(size >= 1 && stride >= 1, ACLNN_ERR_PARAM_INVALID,
             "%s: compressBlockSize is %lld, compressStride %lld, wanted 1 or more", NAME, (long long)size,
             (long long)stride);
    HC_CHECK(page == input->shape[1] && page > 0, ACLNN_ERR_PARAM_INVALID,
             "%s: pageBlockSize is %lld, input %s: wanted its second dimension", NAME, (long long)page,
             HC_SHOW(input));
    return 0;
}

/* torch_npu.npu_nsa_compress_infer. */
HC_API aclnnStatus aclnnNsaCompressWithCacheGetWorkspaceSize(
    const aclTensor *input, const aclTensor *weight, const aclTensor *slotMapping,
    const aclIntArray *actSeqLenOptional, const aclTensor *blockTableOptional, char *layoutOptional,
    int64_t compressBlockSize, int64_t compressStride, int64_t actSeqLenType, int64_t pageBlockSize,
    aclTensor *outputCache, uint64_t *workspaceSize, aclOpExecutor **executor) {
    HC_TRY(HC_PLAIN_CHECK(NAME, "input", input, -1, -1, -1, -1));
    HC_TRY(check_options(layoutOptional, compressBlockSize, compressStride, actSeqLenType, pageBlockSize,
                         input));
    HC_TRY(HC_PLAIN_CHECK(NAME, "weight", weight, compressBlockSize, input->shape[2]));
    HC_TRY(HC_PLAIN_CHECK_INDEX(NAME, "slotMapping", slotMapping, -1));
    const int64_t sequences = slotMapping->shape[0];
    HC_TRY(HC_PLAIN_CHECK_INDEX(NAME, "blockTableOptional", blockTableOptional, sequences, -1));
    HC_TRY(HC_PLAIN_CHECK(NAME, "outputCache", outputCache, -1, input->shape[2], input->shape[3]));
    HC_CHECK(actSeqLenOptional != NULL && (int64_t)actSeqLenOptional->size == sequences,
             ACLNN_ERR_PARAM_INVALID, "%s: actSeqLenOptional has %zu lengths, wanted %lld", NAME,
             actSeqLenOptional != NULL ? actSeqLenOptional->size : 0, (long long)sequences);
    const size_t bytes = sizeof(struct args) + (size_t)sequences * sizeof(int64_t);
    for (int64_t b = 0; b < sequences; b++)
        HC_CHECK(actSeqLenOptional->data[b] >= 0 &&
                     actSeqLenOptional->data[b] <= blockTableOptional->shape[1] * pageBlockSize,
                 ACLNN_ERR_PARAM_INVALID, "%s: actSeqLenOptional has %lld at %lld, wanted 0 to %lld", NAME,
                 (long long)actSeqLenOptional->data[b], (long long)b,
                 (long long)(blockTableOptional->shape[1] * pageBlockSize));
    struct args *a = hc_block_take(bytes);
    HC_CHECK(a != NULL, ACLNN_ERR_INNER, "%s: out of host memory for %lld lengths", NAME,
             (long long)sequences);
    *a = (struct args){sequences, compressBlockSize, compressStride};
    memcpy(a->length, actSeqLenOptional->data, (size_t)sequences * sizeof(int64_t));
    const struct hc_operand operands[] = {HC_IN(input), HC_IN(weight), HC_IN(slotMapping),
                                          HC_IN(blockTableOptional), HC_INOUT(outputCache)};
    const aclnnStatus status = hc_plan(&(const struct hc_plan){.name = NAME,
                                                               .run = run,
                                                               .args = a,
                                                               .args_size = bytes,
                                                               .operands = operands,
                                                               .num_operands = HC_ARRAY_SIZE(operands)},
                                       workspaceSize, executor);
    hc_block_give(a);
    return status;
}
HC_OP_LAUNCH(aclnnNsaCompressWithCache)
