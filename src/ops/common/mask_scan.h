// SPDX-License-Identifier: Apache-2.0
/* Where the true elements of a mask go when they are packed together: counted block by block in parallel,
 * summed up, and then each block knows where its own begin. */
#pragma once
#include "temporary.h"

enum { HC_MASK_BLOCK = 2048 };

struct hc_mask_scan {
    aclTensor mask; /* contiguous, any dtype */
    void *owned;
    size_t n, blocks;
    int64_t *before; /* true elements before each block; before[blocks] is their number */
};
/* `mask` broadcast to the shape; release it afterwards, also if this fails. */
aclnnStatus hc_mask_scan(const char *op, const aclTensor *mask, const int64_t *shape, int32_t rank,
                         struct hc_mask_scan *s);
void hc_mask_release(struct hc_mask_scan *s);

/* A block: its truth values (0 or 1), n of them, the first being element `first`; `at` true ones came before.
 */
typedef void hc_mask_fn(const void *ctx, const uint8_t *truth, size_t n, size_t first, int64_t at);
void hc_mask_for(const struct hc_mask_scan *s, hc_mask_fn *fn, const void *ctx);
