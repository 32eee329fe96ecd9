// SPDX-License-Identifier: Apache-2.0
/* Copies that an operator makes of awkward operands, and scalars as bytes. */
#pragma once
#include "elementwise.h"

/* `view` describes t's elements contiguously in dtype: t itself where it is that, else a copy in *owned,
 * which the caller gives back with hc_block_give (NULL where nothing was copied). */
aclnnStatus hc_contiguous(const aclTensor *t, aclDataType dtype, aclTensor *view, void **owned);
/* The same, but a copy also where t overlaps `other` in any way: for operands that are read while other is
 * written. */
aclnnStatus hc_contiguous_apart(const aclTensor *t, aclDataType dtype, const aclTensor *other,
                                aclTensor *view, void **owned);
/* t itself, whatever its strides, where it has the dtype and no byte of `other`; else a contiguous copy. */
aclnnStatus hc_apart(const aclTensor *t, aclDataType dtype, const aclTensor *other, aclTensor *view,
                     void **owned);
/* Where the output is contiguous in dtype, itself; else memory to fill and then hc_copy into the output. */
aclnnStatus hc_contiguous_out(const aclTensor *out, aclDataType dtype, aclTensor *view, void **owned);
/* Whether the two share any byte. */
bool hc_overlaps(const aclTensor *a, const aclTensor *b);

/* An element of any dtype. */
struct hc_element {
    _Alignas(16) char bytes[16];
};
/* The scalar converted to dtype as PyTorch does. */
struct hc_element hc_scalar_element(const aclScalar *s, aclDataType dtype);
/* Set every element. */
aclnnStatus hc_fill(const aclTensor *dst, const struct hc_element *value);
