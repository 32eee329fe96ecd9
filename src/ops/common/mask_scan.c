// SPDX-License-Identifier: Apache-2.0
/* Counting and visiting the true elements of a mask. Two passes over the mask, both parallel; the sum
 * over blocks between them is short (one number for 2048 elements). */
#include "mask_scan.h"

HC_KERNEL(hc_count_true, (size_t n, const uint8_t *truth, int64_t *count))

#ifdef HC_ISA
void HC_FN(hc_count_true)(size_t n, const uint8_t *truth, int64_t *count) {
    uint32_t sum = 0;
    for (size_t i = 0; i < n; i++) sum += truth[i];
    *count = sum;
}
#else
enum { GRAIN_BLOCKS = 16 }; /* 32 Ki elements */

/* One walk over the blocks; load turns any type into 0 and 1. */
struct job {
    const struct hc_mask_scan *scan;
    hc_mask_fn *fn;
    const void *ctx;
    hc_load_fn *load;
};

/* The block's truth values; returns how many there are. */
static size_t load_block(const struct job *j, size_t block, uint8_t *truth) {
    const size_t first = block * HC_MASK_BLOCK, n = hc_min_size(HC_MASK_BLOCK, j->scan->n - first);
    j->load(n, truth, hc_data(&j->scan->mask) + first * (size_t)j->scan->mask.item_size, 1);
    return n;
}

/* At [block + 1], where the running sum will be wanted. */
static void count_blocks(void *ctx, size_t begin, size_t end) {
    const struct job *j = ctx;
    uint8_t truth[HC_MASK_BLOCK];
    for (size_t block = begin; block < end; block++) {
        const size_t n = load_block(j, block, truth);
        HC_DISPATCH(hc_count_true)(n, truth, &j->scan->before[block + 1]);
    }
}

/* Make `have` true elements of a block `want`: by leaving out the last ones, or taking false ones from the
 * end.
 */
static void settle(uint8_t *truth, size_t n, int64_t have, int64_t want) {
    for (size_t i = n; i > 0 && have != want; i--) {
        if ((truth[i - 1] != 0) != (have > want)) continue;
        truth[i - 1] = have < want;
        have += have < want ? 1 : -1;
    }
}

/* Blocks without a true element are not even loaded. The mask is the caller's memory and is read a second
 * time here: where another thread has written it meanwhile, a block has as many true elements as were
 * counted, as others' places depend on that, and which they are is as undefined as the mask is. */
static void visit_blocks(void *ctx, size_t begin, size_t end) {
    const struct job *j = ctx;
    uint8_t truth[HC_MASK_BLOCK];
    for (size_t block = begin; block < end; block++) {
        const int64_t at = j->scan->before[block], want = j->scan->before[block + 1] - at;
        int64_t have;
        if (want == 0) continue;
        const size_t n = load_block(j, block, truth);
        HC_DISPATCH(hc_count_true)(n, truth, &have);
        if (HC_UNLIKELY(have != want)) settle(truth, n, have, want);
        j->fn(j->ctx, truth, n, block * HC_MASK_BLOCK, at);
    }
}

/* A running sum over blocks, not elements: 2048 times shorter than the mask, so one thread does it. */
aclnnStatus hc_mask_scan(const char *op, const aclTensor *mask, const int64_t *shape, int32_t rank,
                         struct hc_mask_scan *s) {
    aclTensor view;
    *s = (struct hc_mask_scan){0};
    HC_CHECK(hc_broadcast_to(mask, shape, rank, &view), ACLNN_ERR_PARAM_INVALID,
             "%s: mask %s does not broadcast", op, HC_SHOW(mask));
    HC_TRY(hc_contiguous(&view, view.dtype, &s->mask, &s->owned));
    s->n = hc_numel(&view);
    s->blocks = hc_ceil_div(s->n, HC_MASK_BLOCK);
    s->before = hc_block_take_zeroed(s->blocks + 1, sizeof *s->before);
    HC_CHECK(s->before != NULL, ACLNN_ERR_INNER, "%s: out of host memory for %zu blocks", op, s->blocks);
    struct job job = {.scan = s, .load = hc_load_for(s->mask.dtype, HC_B8)};
    hc_parallel_for(s->blocks, GRAIN_BLOCKS, count_blocks, &job);
    for (size_t i = 0; i < s->blocks; i++) s->before[i + 1] += s->before[i];
    return 0;
}

void hc_mask_release(struct hc_mask_scan *s) {
    hc_block_give(s->owned);
    hc_block_give(s->before);
}

void hc_mask_for(const struct hc_mask_scan *s, hc_mask_fn *fn, const void *ctx) {
    struct job job = {s, fn, ctx, hc_load_for(s->mask.dtype, HC_B8)};
    hc_parallel_for(s->blocks, GRAIN_BLOCKS, visit_blocks, &job);
}
#endif
