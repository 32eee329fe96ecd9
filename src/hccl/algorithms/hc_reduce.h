// SPDX-License-Identifier: Apache-2.0
/* Element by element over the buffers of several ranks. */
#pragma once
#include "hc_util.h"
#include "hccl/hccl.h"

/* Whether a type can be reduced; the others can only be moved. */
bool hc_can_reduce(HcclDataType type, HcclReduceOp op);

/* dst[d][i] = src[0][i] op src[1][i] op ... for `count` elements and all `num_dst` destinations. Sums and
 * products of 16-bit floats are accumulated in float, in the order of src, and rounded once; maximum and
 * minimum give NaN where any source is NaN; integers wrap. A destination may be the same memory as a source.
 * Runs on the threads of operators where that pays. */
void hc_reduce(HcclDataType type, HcclReduceOp op, char *const *dst, size_t num_dst, const char *const *src,
               size_t num_src, size_t count);
