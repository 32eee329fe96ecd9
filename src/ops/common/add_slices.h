// SPDX-License-Identifier: Apache-2.0
/* Slices of a tensor, each the sum of what it was and of those slices of a source whose index names it. */
#pragma once
#include "index_load.h"

/* Whether hc_add_slices can do it: float32 or bfloat16, whole rows without gaps in both tensors, indexed
 * along the outermost dimension that has more than one element, and rows that are not too many for their
 * number. */
bool hc_add_slices_fits(const aclTensor *out, const aclTensor *source, int64_t dim);
/* out[index[i]] += alpha * source[i] for all i in order, added up in float and rounded once. The source has
 * no byte of `out`. Bits do not depend on threads. */
aclnnStatus hc_add_slices(const aclTensor *out, const aclTensor *source, int64_t dim, float alpha,
                          struct hc_index *index);
