// SPDX-License-Identifier: Apache-2.0
/* Keys and values of whole sequences out of a paged cache: sequence i has seqLens[i] tokens, whose blocks are
 * blockTables[i], from the block on that holds seqOffset[i]. The sequences lie one after the other in the
 * result; a token whose block is outside of the table or the cache is zero. What the result has no room for
 * is left out, and what the sequences do not fill keeps its bits.
 *
 * Tables are read once, into memory of the run: another thread may write them meanwhile. */
#include "index_load.h"
#include "long_loop.h"
#include "paged_cache.h"

enum { GRAIN = 16 }; /* tokens */

struct args {
    bool in_runs, cumulative;
};

struct gather {
    struct paged_cache cache;
    const aclTensor *tokens;
    const int64_t *tables, *starts, *offsets; /* [sequences][columns], [sequences + 1], [sequences] or NULL */
    int64_t sequences, columns;
};

/* Of a token: the sequence that holds it, by bisection over where they begin. */
static int64_t sequence_of(const struct gather *g, int64_t token) {
    int64_t low = 0, high = g->sequences;
    while (high - low > 1) {
        const int64_t middle = low + (high - low) / 2;
        if (g->starts[middle] <= token) low = middle;
        else high = middle;
    }
    return low;
}

/* Block of a place in a sequence; -1 behind the end of the table. */
static int64_t block_of(const struct gather *g, int64_t sequence, int64_t place, int64_t size) {
    const int64_t first = g->offsets != NULL ? g->offsets[sequence] / size : 0, column = first + place / size;
    return column < g->columns ? g->tables[sequence * g->columns + column] : -1;
}

static void gather_tokens(void *ctx, size_t begin, size_t end) {
    const struct gather *g = ctx;
    const int64_t size = paged_block_size(&g->cache), elements = g->tokens->shape[1] * g->tokens->shape[2];
    for (int64_t token = (int64_t)begin; token < (int64_t)end && !hc_results_unwanted(); token++) {
        const int64_t sequence = sequence_of(g, token), place = token - g->starts[sequence];
        const int64_t block = size > 0 ? block_of(g, sequence, place, size) : -1;
        const struct paged_token to = paged_outside(g->tokens, token);
        if (block < 0 || block >= g->cache.tensor->shape[0]) paged_clear(to, elements, g->tokens->item_size);
        else paged_copy(to, paged_at(&g->cache, block, place % size), 0, elements, g->tokens->item_size);
    }
}

/* `starts` from lengths, or from sums of lengths, that were read into it. */
static aclnnStatus set_starts(const char *name, bool cumulative, int64_t sequences, int64_t *starts) {
    int64_t before = cumulative ? starts[0] : 0, total = 0;
    for (int64_t i = 0; i < sequences; i++) {
        int64_t length;
        const bool fits = hc_sub_i64_fits(starts[i + 1], before, &length);
        HC_CHECK(fits && length >= 0 && hc_add_i64_fits(total, length, &length), ACLNN_ERR_PARAM_INVALID,
                 "%s: seqLens gives sequence %lld a length below 0, or too many tokens", name, (long long)i);
        if (cumulative) before = starts[i + 1];
        starts[i] = total;
        total = length;
    }
    starts[sequences] = total;
    return 0;
}

/* Memory of a run: block tables, starts, offsets. */
struct tables {
    int64_t *blocks, *starts, *offsets;
};

static void give_tables(struct tables *t) {
    hc_block_give(t->blocks);
    hc_block_give(t->starts);
    hc_block_give(t->offsets);
}

/* Operands: keyCache, valueCache, blockTables, seqLens, key, value, seqOffset. */
static aclnnStatus read_tables(const struct hc_call *call, struct tables *t) {
    const struct args *a = call->args;
    const aclTensor *blocks = hc_arg(call, 2), *lengths = hc_arg(call, 3), *offsets = hc_arg(call, 6);
    const int64_t sequences = blocks->shape[0];
    t->blocks = hc_block_take_array((size_t)blocks->numel, sizeof(int64_t));
    t->starts = hc_block_take_array((size_t)sequences + 1, sizeof(int64_t));
    t->offsets = hc_block_take_array((size_t)sequences, sizeof(int64_t));
    HC_CHECK(t->blocks && t->starts && t->offsets, ACLNN_ERR_INNER,
             "%s: out of host memory for blockTables %s", call->name, HC_SHOW(blocks));
    const aclTensor own = hc_tensor_view(ACL_INT64, blocks->shape, 2, t->blocks);
    const aclTensor sums = hc_tensor_view(ACL_INT64, lengths->shape, 1, t->starts + (a->cumulative ? 0 : 1));
    HC_TRY(hc_copy(&own, blocks));
    HC_TRY(hc_copy(&sums, lengths));
    HC_TRY(set_starts(call->name, a->cumulative, sequences, t->starts));
    if (offsets == NULL) return 0;
    const aclTensor first = hc_tensor_view(ACL_INT64, offsets->shape, 1, t->offsets);
    HC_TRY(hc_copy(&first, offsets));
    for (int64_t i = 0; i < sequences; i++)
        HC_CHECK(t->offsets[i] >= 0, ACLNN_ERR_PARAM_INVALID, "%s: seqOffset is %lld at position [%lld]",
                 call->name, (long long)t->offsets[i], (long long)i);
    return 0;
}

static void gather_all(const struct hc_call *call, const struct tables *t) {
    const struct args *a = call->args;
    const aclTensor *blocks = hc_arg(call, 2);
    for (int i = 0; i < 2; i++) {
        struct gather g = {.cache = {hc_arg(call, i), a->in_runs},
                           .tokens = hc_arg(call, 4 + i),
                           .tables = t->blocks,
                           .starts = t->starts,
                           .offsets = hc_arg(call, 6) != NULL ? t->offsets : NULL,
                           .sequences = blocks->shape[0],
                           .columns = blocks->shape[1]};
        const int64_t filled = hc_min_i64(t->starts[g.sequences], g.tokens->shape[0]);
        hc_parallel_for((size_t)filled, GRAIN, gather_tokens, &g);
    }
}

static aclnnStatus run(const struct hc_call *call) {
    struct tables t = {0};
    const aclnnStatus status = read_tables(call, &t);
    if (status == 0) gather_all(call, &t);
    give_tables(&t);
    return status;
}

static const char NAME[] = "aclnnGatherPaKvCache";

static aclnnStatus check_tables(const aclTensor *blocks, const aclTensor *lengths, const aclTensor *offsets,
                                bool cumulative) {
    HC_TRY(hc_index_check_dtype(NAME, "blockTables", blocks));
    HC_TRY(hc_index_check_dtype(NAME, "seqLens", lengths));
    HC_CHECK(blocks->rank == 2, ACLNN_ERR_PARAM_INVALID, "%s: blockTables is %s, wanted 2 dimensions", NAME,
             HC_SHOW(blocks));
    const int64_t sequences = blocks->shape[0], want = sequences + (cumulative ? 1 : 0);
    HC_CHECK(lengths->rank == 1 && lengths->shape[0] == want, ACLNN_ERR_PARAM_INVALID,
             "%s: seqLens is %s, blockTables %s: wanted %lld numbers", NAME, HC_SHOW(lengths),
             HC_SHOW(blocks), (long long)want);
    if (offsets == NULL) return 0;
    HC_TRY(hc_index_check_dtype(NAME, "seqOffsetOptional", offsets));
    HC_CHECK(offsets->rank == 1 && offsets->shape[0] == sequences, ACLNN_ERR_PARAM_INVALID,
             "%s: seqOffsetOptional is %s, blockTables %s: wanted %lld numbers", NAME, HC_SHOW(offsets),
             HC_SHOW(blocks), (long long)sequences);
    return 0;
}

/* torch_npu.npu_gather_pa_kv_cache(key_cache, value_cache, block_tables, seq_lens, key, value, seq_offset=).
 */
HC_API aclnnStatus aclnnGatherPaKvCacheGetWorkspaceSize(
    const aclTensor *keyCache, const aclTensor *valueCache, const aclTensor *blockTables,
    const aclTensor *seqLens, aclTensor *keyRef, aclTensor *valueRef, const aclTensor *seqOffsetOptional,
    char *cacheMode, bool isSeqLensCumsum, uint64_t *workspaceSize, aclOpExecutor **executor) {
    const struct {
        const aclTensor *t;
        const char *name;
    } all[] = {{keyCache, "keyCache"}, {valueCache, "valueCache"}, {blockTables, "blockTables"},
               {seqLens, "seqLens"},   {keyRef, "keyRef"},         {valueRef, "valueRef"}};
    for (size_t i = 0; i < HC_ARRAY_SIZE(all); i++)
        HC_CHECK(all[i].t != NULL, ACLNN_ERR_PARAM_NULLPTR, "%s: %s is null", NAME, all[i].name);
    struct args args = {.cumulative = isSeqLensCumsum};
    HC_TRY(paged_mode(NAME, cacheMode, &args.in_runs));
    HC_TRY(paged_check(NAME, "keyRef", keyRef, &(struct paged_cache){keyCache, args.in_runs}));
    HC_TRY(paged_check(NAME, "valueRef", valueRef, &(struct paged_cache){valueCache, args.in_runs}));
    HC_TRY(check_tables(blockTables, seqLens, seqOffsetOptional, isSeqLensCumsum));
    return HC_PLAN(NAME, run, &args, HC_IN(keyCache), HC_IN(valueCache), HC_IN(blockTables), HC_IN(seqLens),
                   HC_INOUT(keyRef), HC_INOUT(valueRef), HC_IN_OPT(seqOffsetOptional));
}
HC_OP_LAUNCH(aclnnGatherPaKvCache)
