// SPDX-License-Identifier: Apache-2.0
/* Maxima of windows, where they were, and the gradient that goes there (private to this folder). As in
 * PyTorch the first of equal elements counts, and a NaN above all, the last of several.
 *
 * An index is the place in the plane. A mask has, for each element of a window, a row with one bit per
 * result: set where the maximum was that element. */
#pragma once
#include "pool.h"

struct pool_max_call {
    struct pool_call pool;
    const aclTensor *indices; /* or the mask */
    bool mask;
};
/* pool.in is read, pool.out and indices are written. */
aclnnStatus pool_max_plan(const struct pool_max_call *call, uint64_t *workspaceSize,
                          aclOpExecutor **executor);
/* pool.out and indices are read; grad_in, of the shape of pool.in, is written. */
aclnnStatus pool_max_backward_plan(const struct pool_max_call *call, const aclTensor *grad_in,
                                   uint64_t *workspaceSize, aclOpExecutor **executor);
