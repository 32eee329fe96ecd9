// SPDX-License-Identifier: Apache-2.0
/* Words for the messages of skeletons, which see tensors and no names. Looked up in the interface table, and
 * so only where a message is made. */
#pragma once
#include "convert.h"

/* What the interface calls tensor (or tensor list) k of an operator, or its scalar k, counted among its
 * arguments of that kind; from the end if k is negative. */
const char *hc_tensor_name(const char *op, int k);
const char *hc_scalar_name(const char *op, int k);

/* Dimension `value`, argument `dim` of an operator, is none of t's, which the interface calls `name`. */
aclnnStatus hc_fail_dim(const char *op, const char *dim, int64_t value, const char *name, const aclTensor *t);

/* "floating point or integer": the types of which an operator's table of kernels by block type has some.
 * `buf` is returned. */
const char *hc_supported_types(const void *const *kernels, char *buf, size_t size);
enum { HC_SUPPORTED_BYTES = 64 };
#define HC_SUPPORTED(kernels)                                                                                \
    hc_supported_types((const void *const *)(kernels), (char[HC_SUPPORTED_BYTES]){0}, HC_SUPPORTED_BYTES)
