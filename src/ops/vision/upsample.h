// SPDX-License-Identifier: Apache-2.0
/* Interpolation of images to another size, and its gradient (private to this folder). All kinds are
 * separable:
 *
 *     y[i,j] = sum over s, t of wh[i,s] * ww[j,t] * x[ih[i,s], iw[j,t]]
 *
 * with 1, 2 or 4 taps a side. Places and weights are tables of a dimension, made once a call in double, so
 * images cost only the sums: of whole rows first, then along the row. Computed in float32 for the 16-bit
 * types. */
#pragma once
#include "temporary.h"

enum upsample_kind { UPSAMPLE_NEAREST, UPSAMPLE_LINEAR, UPSAMPLE_CUBIC };

struct upsample_call {
    const char *name;
    enum upsample_kind kind;
    bool backward;
    const aclTensor *large, *small;      /* what has outputSize, and what has the size of the input */
    const char *large_name, *small_name; /* as the operator calls them */
    const aclIntArray *output_size;
    const aclIntArray *input_size; /* of the gradient; NULL: not an argument */
    bool align_corners;
    double scales[2]; /* given by the caller; not above 0: follows from the sizes */
};
/* Checks, and plans: forward writes `large`, backward `small`. */
aclnnStatus upsample_plan(const struct upsample_call *call, uint64_t *workspaceSize,
                          aclOpExecutor **executor);
