// SPDX-License-Identifier: Apache-2.0
/* Direct algorithms: every rank reads (and for reductions writes) the buffers of the others where they are.
 *
 * One post tells the others what a rank brings; small data travels in the post itself, and then one wait is
 * all. Larger buffers are mapped; then a second wait keeps a rank from using its buffers while others do. */
#pragma once
#include "hc_algo.h"
#include "hc_failure.h"

struct hc_views {
    const struct hc_op *op;
    uint32_t number; /* of the posts */
    bool in_posts;   /* nobody's buffers are used by others */
};

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

/* What an algorithm does between the two waits. */
typedef HcclResult hc_direct_work(struct hc_op *op, const struct hc_views *views);
/* Post, wait for all posts, compare what was called; `work`; wait until others are done with this rank's
 * buffers. HC_DECLINED, on all ranks alike, when a buffer cannot be mapped. */
HcclResult hc_direct_run(struct hc_op *op, hc_direct_work *work);

/* What `rank` has for this one, in what it sends. */
struct hc_stretch {
    size_t at, bytes;
};
typedef struct hc_stretch hc_direct_slice(const struct hc_views *views, uint32_t rank);
/* Copies it from every rank to where its slice belongs, beginning with the next one, so that they do not all
 * read one. An error if it is not as long as this rank expects. */
HcclResult hc_direct_pull(const struct hc_views *views, hc_direct_slice *slice);
/* Reduces into the buffers of ranks `first` to `last`. Small data: each of these combines what is in the
 * posts. Large: every rank combines one slice and writes it to all of these. */
HcclResult hc_direct_combine(const struct hc_views *views, uint32_t first, uint32_t last);

/* True where all ranks share a board. */
bool hc_direct_supports(const struct hc_op *op);
