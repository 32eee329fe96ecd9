// SPDX-License-Identifier: Apache-2.0
/* Attention of inference: no gradient, hence no statistics; keys and values of every batch may be longer than
 * its queries and lie in pages. What the operators of this kind pass, for one check and plan. */
#pragma once
#include "attention.h"

struct attn_infer {
    struct attn_inputs in; /* key and value are set by the plan where there are lists of them */
    const aclTensorList *keys, *values;
    int64_t kv_heads; /* 0: as many as of queries */
    int64_t page_size;
    bool wants_lse;
};

/* Phase one. The layout is that of the query, with that of the output behind "_" where it is another. */
aclnnStatus attn_infer_plan(struct attn_infer *x, uint64_t *workspaceSize, aclOpExecutor **executor);
#define INFER_ABSENT(name, tensor)                                                                           \
    HC_TRY(attn_check_absent((name), (tensor), #tensor,                                                      \
                             "quantised operands, shared prefixes and padding on the left"))
