// SPDX-License-Identifier: Apache-2.0
/* Products of fp8, hifloat8 and fp4 for the operators that multiply quantised matrices. */
#pragma once
#include "narrow.h"

/* One call; the tensors are the caller's, optional ones may be NULL. Scales: of x2 one number, one for each
 * column, numbers of blocks or MX scales; of x1 none, one, one for each row, of blocks or MX. */
struct hc_quant_narrow {
    const char *name;
    const aclTensor *x1, *x2, *x1_scale, *x2_scale, *bias, *out;
    bool turned[2];  /* the last two dimensions of x1 and x2, and of their scales, are exchanged first */
    bool accumulate; /* into out */
};
/* Phase one: checks and plan. */
aclnnStatus hc_quant_narrow_plan(const struct hc_quant_narrow *q, uint64_t *workspaceSize,
                                 aclOpExecutor **executor);
