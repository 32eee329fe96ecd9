// SPDX-License-Identifier: Apache-2.0
/* Index tensors as operators want them: contiguous int64, checked against a bound. Only run functions can
 * check values. index_read.h says why no value may be read twice; there are three ways to keep to that:
 *
 *   hc_index_open   for hc_gather, which checks as it reads, in one pass
 *   hc_index_load   for hc_scatter, which checks as it reads, too; all values are looked at beforehand, so
 * that the target keeps its values where one is out of range hc_index_copy   for an operator's own loops: a
 * checked copy, to be read as often as one likes
 *
 * A wrong index is an error that names operator, argument, position and value. */
#pragma once
#include "index_read.h"
#include "temporary.h"

struct hc_index {
    aclTensor view; /* int64, contiguous, the shape of the tensor */
    void *owned;    /* hc_block_give it; NULL where the view is the caller's memory */
    struct hc_index_range range;
    struct hc_index_bad bad; /* the first of what kernels have reported */
    const char *op;
    char arg[32];
};

/* Nothing is known of the elements. `wraps`: those down to -bound are legal too and count from the end. On
 * failure nothing is owned. */
aclnnStatus hc_index_open(const char *op, const char *arg, const aclTensor *t, int64_t bound, bool wraps,
                          struct hc_index *index);
/* Nothing is known of the elements. `wraps`: those down to -bound are legal too and count from the end. On
 * failure nothing is owned. */
aclnnStatus hc_index_open(const char *op, const char *arg, const aclTensor *t, int64_t bound, bool wraps,
                          struct hc_index *index);
/* Every element was in [0, bound) when it was looked at; those that wrap are wrapped. */
aclnnStatus hc_index_load(const char *op, const char *arg, const aclTensor *t, int64_t bound, bool wraps,
                          struct hc_index *index);
/* Every element is in [0, bound), and stays so. */
aclnnStatus hc_index_copy(const char *op, const char *arg, const aclTensor *t, int64_t bound, bool wraps,
                          struct hc_index *index);
/* Of a loop that has met a bad value; thread-safe. */
void hc_index_report(struct hc_index *index, const struct hc_index_bad *bad);
/* After the loop: an error about the first value reported, 0 if none was. */
aclnnStatus hc_index_status(const struct hc_index *index);
/* Phase one: int64 or int32 (and the smaller integers, which convert as well). */
aclnnStatus hc_index_check_dtype(const char *op, const char *arg, const aclTensor *t);
/* t with dimensions [1] if it has none. */
static inline aclTensor hc_at_least_1d(const aclTensor *t) {
    aclTensor view = *t;
    if (view.rank == 0) {
        view.rank = 1;
        view.shape[0] = view.stride[0] = 1;
    }
    return view;
}
