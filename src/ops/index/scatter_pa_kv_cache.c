// SPDX-License-Identifier: Apache-2.0
/* Keys and values of new tokens into a paged cache: token i goes to slot slotMapping[i]; a negative slot
 * (padding) is left out, and of several tokens with one slot the last stays.
 *
 * Work is handed out by elements of a token, not by tokens: every piece passes all tokens in order, so that
 * no two threads write one place. */
#include "index_load.h"
#include "long_loop.h"
#include "paged_cache.h"

enum { PIECE = 512 }; /* elements of a token */

struct args {
    bool in_runs;
    int operands; /* 3, with values 5 */
};

struct scatter {
    const aclTensor *tokens;
    struct paged_cache cache;
    const int64_t *slots;
};

static void scatter_elements(void *ctx, size_t begin, size_t end) {
    const struct scatter *s = ctx;
    const int64_t size = paged_block_size(&s->cache), tokens = s->tokens->shape[0];
    for (int64_t i = 0; i < tokens && !hc_results_unwanted(); i++) {
        const int64_t slot = s->slots[i];
        if (slot < 0) continue;
        paged_copy(paged_at(&s->cache, slot / size, slot % size), paged_outside(s->tokens, i), (int64_t)begin,
                   (int64_t)end, s->tokens->item_size);
    }
}

/* A copy, as it is read several times. Slots below 0 are legal, whatever they are. */
static aclnnStatus copy_slots(const struct hc_call *call, const aclTensor *slots, int64_t bound,
                              int64_t *copy) {
    const aclTensor own = hc_tensor_view(ACL_INT64, slots->shape, slots->rank, copy);
    HC_TRY(hc_copy(&own, slots));
    for (int64_t i = 0; i < slots->numel; i++)
        HC_CHECK(copy[i] < bound, ACLNN_ERR_PARAM_INVALID,
                 "%s: index %lld at position [%lld] of slotMapping is out of range: the cache has %lld slots",
                 call->name, (long long)copy[i], (long long)i, (long long)bound);
    return 0;
}

static int64_t slots_of(const struct paged_cache *cache) {
    return cache->tensor->shape[0] * paged_block_size(cache);
}

/* Operands: slotMapping, then tokens and cache of the keys and, with values, of those. Nothing is written
 * where a slot is outside of either cache. */
static aclnnStatus run(const struct hc_call *call) {
    const struct args *a = call->args;
    const aclTensor *slots = hc_arg(call, 0);
    int64_t *copy = hc_block_take_array((size_t)slots->numel, sizeof *copy);
    HC_CHECK(copy != NULL, ACLNN_ERR_INNER, "%s: out of host memory for slotMapping %s", call->name,
             HC_SHOW(slots));
    int64_t bound = INT64_MAX;
    for (int i = 2; i < a->operands; i += 2)
        bound = hc_min_i64(bound, slots_of(&(struct paged_cache){hc_arg(call, i), a->in_runs}));
    const aclnnStatus status = copy_slots(call, slots, bound, copy);
    for (int i = 1; i < a->operands && status == 0; i += 2) {
        const aclTensor *tokens = hc_arg(call, i);
        struct scatter s = {tokens, {hc_arg(call, i + 1), a->in_runs}, copy};
        hc_parallel_for((size_t)(tokens->shape[1] * tokens->shape[2]), PIECE, scatter_elements, &s);
    }
    hc_block_give(copy);
    return status;
}

struct inputs {
    const char *name;
    const aclTensor *key, *slots, *value;
    aclTensor *key_cache, *value_cache;
    const aclTensor *compress_lens, *compress_offset, *lengths;
    const char *cache_mode, *scatter_mode;
};

/* Modes that drop or compress tokens of a head on the way. */
static aclnnStatus check_modes(const struct inputs *in) {
    const struct {
        const aclTensor *t;
        const char *name;
    } all[] = {{in->compress_lens, "compressLensOptional"},
               {in->compress_offset, "compressSeqOffsetOptional"},
               {in->lengths, "seqLensOptional"}};
    for (size_t i = 0; i < HC_ARRAY_SIZE(all); i++)
        HC_CHECK(all[i].t == NULL, ACLNN_ERR_PARAM_INVALID,
                 "%s: %s is %s: caches that compress their heads are not supported, pass null", in->name,
                 all[i].name, HC_SHOW(all[i].t));
    const char *mode = in->scatter_mode;
    HC_CHECK(mode == NULL || *mode == '\0' || strcmp(mode, "None") == 0, ACLNN_ERR_PARAM_INVALID,
             "%s: scatterModeOptional is \"%s\"; None is supported", in->name, mode);
    return 0;
}

static aclnnStatus plan(const struct inputs *in, uint64_t *workspaceSize, aclOpExecutor **executor) {
    HC_CHECK(in->key && in->key_cache && in->slots, ACLNN_ERR_PARAM_NULLPTR, "%s: %s is null", in->name,
             !in->key         ? "key"
             : !in->key_cache ? "keyCacheRef"
                              : "slotMapping");
    HC_CHECK((in->value == NULL) == (in->value_cache == NULL), ACLNN_ERR_PARAM_NULLPTR, "%s: %s is null",
             in->name, in->value == NULL ? "value" : "valueCacheRef");
    struct args args = {.operands = in->value != NULL ? 5 : 3};
    HC_TRY(paged_mode(in->name, in->cache_mode, &args.in_runs));
    HC_TRY(check_modes(in));
    HC_TRY(hc_index_check_dtype(in->name, "slotMapping", in->slots));
    HC_TRY(paged_check(in->name, "key", in->key, &(struct paged_cache){in->key_cache, args.in_runs}));
    HC_CHECK(in->slots->rank == 1 && in->slots->shape[0] == in->key->shape[0], ACLNN_ERR_PARAM_INVALID,
             "%s: slotMapping is %s, key %s: wanted a slot for each token", in->name, HC_SHOW(in->slots),
             HC_SHOW(in->key));
    if (in->value != NULL) {
        HC_TRY(
            paged_check(in->name, "value", in->value, &(struct paged_cache){in->value_cache, args.in_runs}));
        HC_CHECK(in->value->shape[0] == in->key->shape[0], ACLNN_ERR_PARAM_INVALID,
                 "%s: value is %s, key %s: wanted as many tokens", in->name, HC_SHOW(in->value),
                 HC_SHOW(in->key));
    }
    const struct hc_operand operands[] = {HC_IN(in->slots), HC_IN(in->key), HC_INOUT(in->key_cache),
                                          HC_IN(in->value), HC_INOUT(in->value_cache)};
    return hc_plan(&(const struct hc_plan){.name = in->name,
                                           .run = run,
                                           .args = &args,
                                           .args_size = sizeof args,
                                           .operands = operands,
                                           .num_operands = args.operands},
                   workspaceSize, executor);
}

/* torch_npu.npu_scatter_pa_kv_cache(key, value, key_cache, value_cache, slot_mapping). */
HC_API aclnnStatus aclnnScatterPaKvCacheGetWorkspaceSize(
    const aclTensor *key, aclTensor *keyCacheRef, const aclTensor *slotMapping, const aclTensor *value,
    aclTensor *valueCacheRef, const aclTensor *compressLensOptional,
    const aclTensor *compressSeqOffsetOptional, const aclTensor *seqLensOptional, char *cacheModeOptional,
    char *scatterModeOptional, const aclIntArray *stridesOptional, const aclIntArray *offsetsOptional,
    uint64_t *workspaceSize, aclOpExecutor **executor) {
    (void)stridesOptional, (void)offsetsOptional; /* of other scatter modes */
    static const char NAME[] = "aclnnScatterPaKvCache";
    HC_CHECK(value != NULL && valueCacheRef != NULL, ACLNN_ERR_PARAM_NULLPTR, "%s: %s is null", NAME,
             value == NULL ? "value" : "valueCacheRef");
    return plan(&(const struct inputs){NAME, key, slotMapping, value, keyCacheRef, valueCacheRef,
                                       compressLensOptional, compressSeqOffsetOptional, seqLensOptional,
                                       cacheModeOptional, scatterModeOptional},
                workspaceSize, executor);
}
HC_OP_LAUNCH(aclnnScatterPaKvCache)

/* Keys alone. */
HC_API aclnnStatus aclnnScatterPaCacheGetWorkspaceSize(const aclTensor *key, aclTensor *keyCacheRef,
                                                       const aclTensor *slotMapping,
                                                       const aclTensor *compressLensOptional,
                                                       const aclTensor *compressSeqOffsetOptional,
                                                       const aclTensor *seqLensOptional, char *cacheMode,
                                                       uint64_t *workspaceSize, aclOpExecutor **executor) {
    return plan(&(const struct inputs){"aclnnScatterPaCache", key, slotMapping, NULL, keyCacheRef, NULL,
                                       compressLensOptional, compressSeqOffsetOptional, seqLensOptional,
                                       cacheMode, NULL},
                workspaceSize, executor);
}
HC_OP_LAUNCH(aclnnScatterPaCache)
