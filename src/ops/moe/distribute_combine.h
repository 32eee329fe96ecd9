// SPDX-License-Identifier: Apache-2.0
/* The way back of experts' results, as the operators that combine and those that go on with a norm plan it
 * (distribute_combine.c). */
#pragma once
#include "distribute.h"
#include "rms_norm_rows.h"

/* One call. `places` is expandIdx, or assistInfoForCombine. With a gamma the sum is normalised into y, and
 * `residual` is added before. */
struct hc_combine {
    struct hc_distribute shared;
    const aclTensor *expand_x, *places, *counts, *weights, *shared_x, *out;
    const char *out_name;
    const aclTensor *activation_scale, *weight_scale, *group_list; /* of int32 results: refused */
    const aclTensor *original, *alpha1, *alpha2, *constant_row;    /* of experts that compute nothing */
    int64_t out_dtype, comm_quant, group_list_type;
    bool with_places;
    const aclTensor *residual, *gamma, *y, *rstd; /* all or none */
    double epsilon;
};

/* What the versions after the first name alike. */
#define HC_COMBINE_LATER                                                                                     \
    .expand_x = expandX, .places = assistInfoForCombine, .counts = epSendCounts, .weights = expertScales,    \
    .activation_scale = activationScaleOptional, .weight_scale = weightScaleOptional,                        \
    .group_list = groupListOptional, .shared_x = sharedExpertXOptional, .out_dtype = outDtype,               \
    .comm_quant = commQuantMode, .group_list_type = groupListType, .with_places = true

/* Phase one, and the steps of phase two. */
aclnnStatus hc_combine_plan(const struct hc_combine *c, uint64_t *workspaceSize, aclOpExecutor **executor);
