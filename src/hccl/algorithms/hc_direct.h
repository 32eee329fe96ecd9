// SPDX-License-Identifier: Apache-2.0
/* Direct algorithms: every rank reads (and for reductions writes) the buffers of the others where they are.
 *
 * One post tells the others what a rank brings; small data travels in the post itself, and then one wait is
 * all. Larger buffers are mapped; then a second wait keeps a rank from using its buffers while others do. */
#pragma once
#include "hc_algo.h"
#include "hc_failure.h"
#include "hc_rank_copy.h"

struct hc_views {
    const struct hc_op *op;
    uint32_t number; /* of the posts */
    bool in_posts;   /* nobody's buffers are used by others */
};

/* Post, wait for all posts, compare what was called. HC_DECLINED, on all ranks alike, when a buffer cannot be
 * mapped. */
HcclResult hc_direct_open(struct hc_op *op, struct hc_views *views);
/* `bytes` bytes of what `rank` sends or receives into, from byte `at` of its buffer on, seen from here. NULL
 * with a text if that buffer cannot be mapped or has no such part: where it lies, and for uneven collectives
 * `at`, is what another process wrote. */
const char *hc_view_send(const struct hc_views *views, uint32_t rank, size_t at, size_t bytes);
char *hc_view_recv(const struct hc_views *views, uint32_t rank, size_t at, size_t bytes);
/* Bytes that `rank` sends in all. */
size_t hc_view_bytes(const struct hc_views *views, uint32_t rank);
/* Offset and length of the slice that `rank` has for `other`; of uneven collectives only. */
size_t hc_view_offset(const struct hc_views *views, uint32_t rank, uint32_t other);
size_t hc_view_length(const struct hc_views *views, uint32_t rank, uint32_t other);
/* This rank is done with the buffers of others; wait until they are with its own. */
HcclResult hc_direct_close(struct hc_op *op, const struct hc_views *views);

/* True where all ranks share a board. */
bool hc_direct_supports(const struct hc_op *op);
