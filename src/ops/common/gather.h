// SPDX-License-Identifier: Apache-2.0
/* dst[p] = src[p + index[p] * step] for every position p of dst. */
#pragma once
#include "op.h"

/* Three views of one shape. src has stride 0 along the dimensions that the index replaces, index has stride 0
 * along those it does not depend on; index is int64 and checked; step is in bytes. Elements are of equal
 * size. dst shares no memory with the others. */
void hc_gather(const aclTensor *dst, const aclTensor *src, const aclTensor *index, int64_t step);
