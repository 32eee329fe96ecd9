// SPDX-License-Identifier: Apache-2.0
/* Direct algorithms: every rank reads (and for reductions writes) the buffers of the others where they are.
 *
 * One post tells the others what a rank brings; small data travels in the post itself, and then one wait is
 * all. Larger buffers are mapped; then a second wait keeps a rank from using its buffers while others do. */
#pragma once
#include "hc_op.h"

struct hc_views {
    const struct hc_op *op;
    uint32_t number; /* of the posts */
    bool in_posts;   /* nobody's buffers are used by others */
};

/* Post, wait for all posts, compare what was called. HC_DECLINED, on all ranks alike, when a buffer cannot be
 * mapped. */
HcclResult hc_direct_open(struct hc_op *op, struct hc_views *views);
/* What `rank` sends or receives into, seen from here: a base for the offsets of that rank. NULL if it cannot
 * be mapped (text set). */
const char *hc_view_send(const struct hc_views *views, uint32_t rank);
char *hc_view_recv(const struct hc_views *views, uint32_t rank);
/* Bytes that `rank` sends in all. */
size_t hc_view_bytes(const struct hc_views *views, uint32_t rank);
/* Offset and length of the slice that `rank` has for `other`; of uneven collectives only. */
size_t hc_view_offset(const struct hc_views *views, uint32_t rank, uint32_t other);
size_t hc_view_length(const struct hc_views *views, uint32_t rank, uint32_t other);
/* This rank is done with the buffers of others; wait until they are with its own. */
HcclResult hc_direct_close(struct hc_op *op, const struct hc_views *views);

/* True where all ranks share a board. */
bool hc_direct_supports(const struct hc_op *op);
