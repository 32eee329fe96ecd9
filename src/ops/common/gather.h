// SPDX-License-Identifier: Apache-2.0
/* dst[p] = src[p + index[p] * step] for every position p of dst. */
#pragma once
#include "index_load.h"

/* Three views of one shape. src has stride 0 along the dimensions that the index replaces, index has stride 0
 * along those it does not depend on; step is in bytes. Elements are of equal size. dst shares no memory with
 * the others. Each index is checked against `checked`, whose view it repeats, as it is read: a bad one is an
 * error, and dst is then written in part. NULL: the operator has made the index itself. */
aclnnStatus hc_gather(const aclTensor *dst, const aclTensor *src, const aclTensor *index, int64_t step,
                      struct hc_index *checked);
