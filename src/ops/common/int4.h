// SPDX-License-Identifier: Apache-2.0
/* int4 in memory: eight in an int32, the first in the lowest bits. The dimension along which they are packed
 * is the one whose neighbours are neighbours in memory: the last, or the last but one of a matrix that is the
 * transpose of a contiguous one. */
#pragma once
#include "temporary.h"

enum { HC_INT4_IN_INT32 = 8 };

/* n elements, an even number, from element `first` on, an even number too. */
void hc_int4_load(size_t n, int8_t *to, const char *packed, size_t first);
/* Which dimension of t is packed; t has one at least. */
int32_t hc_int4_dim(const aclTensor *t);
/* The shape of the int4 in t, an int32 tensor, as int8: for checks, it has no data. */
aclTensor hc_int4_shape(const aclTensor *t);
/* The int4 of t as int8 in memory of their own, which the caller gives back with hc_block_give. */
aclnnStatus hc_int4_unpack(const aclTensor *t, aclTensor *view, void **owned);
