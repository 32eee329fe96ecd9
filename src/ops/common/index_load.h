// SPDX-License-Identifier: Apache-2.0
/* Index tensors as kernels want them: contiguous int64, in range. Only run functions can check values, so
 * that an index out of range is an error of the operator, found before anything is written. */
#pragma once
#include "temporary.h"

struct hc_index {
    aclTensor view; /* int64, contiguous, the shape of the tensor; every element in [0, bound) */
    void *owned;    /* hc_block_give it; NULL where the view is the caller's memory */
};

/* `wraps`: elements down to -bound are legal and count from the end. */
aclnnStatus hc_index_load(const char *op, const char *arg, const aclTensor *t, int64_t bound, bool wraps,
                          struct hc_index *index);
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
