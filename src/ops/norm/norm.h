// SPDX-License-Identifier: Apache-2.0
/* What the norms over the last dimensions check in phase one. Messages name the operator and the argument. */
#pragma once
#include "rows.h"

/* The mask of the last dimensions, which must be `shape`; x is a floating point tensor. */
aclnnStatus hc_norm_mask(const char *name, const aclTensor *x, const int64_t *shape, size_t rank,
                         uint32_t *mask);
/* t has x's shape and a floating point type. */
aclnnStatus hc_norm_check_same(const char *name, const aclTensor *x, const char *arg, const aclTensor *t);
/* t, if given, has exactly the normalised shape. */
aclnnStatus hc_norm_check_shared(const char *name, const char *arg, const aclTensor *t, const int64_t *shape,
                                 size_t rank);
/* t, if given, has one element per row of x. */
aclnnStatus hc_norm_check_rows(const char *name, const char *arg, const aclTensor *t, const aclTensor *x,
                               uint32_t mask);
