// SPDX-License-Identifier: Apache-2.0
/* Means of windows and their gradient (private to this folder). */
#pragma once
#include "pool.h"

struct pool_average_call {
    struct pool_call pool;
    bool count_pad;
    int64_t divisor; /* 0: the number of elements */
};
/* pool.in is read, pool.out written. */
aclnnStatus pool_average_plan(const struct pool_average_call *call, uint64_t *workspaceSize,
                              aclOpExecutor **executor);
/* pool.out is read; grad_in, which has the shape of pool.in, is written. */
aclnnStatus pool_average_backward_plan(const struct pool_average_call *call, const aclTensor *grad_in,
                                       const char *grad_in_name, uint64_t *workspaceSize,
                                       aclOpExecutor **executor);
