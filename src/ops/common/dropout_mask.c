// SPDX-License-Identifier: Apache-2.0
/* The keep mask of dropout, whoever asks for it: an element is kept where its word is at least prob * 2^32.
 */
#include "dropout_mask.h"

#include <math.h>
#include <string.h>

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
#endif
