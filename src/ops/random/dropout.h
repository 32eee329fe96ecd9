// SPDX-License-Identifier: Apache-2.0
/* What the dropout operators share: whether a mask is one, and how it is applied. */
#pragma once
#include "dropout_mask.h"

/* prob is in [0, 1] and mask, tensor k among the arguments of the operator, holds enough contiguous bytes. */
aclnnStatus hc_dropout_check(const char *name, double prob, const aclTensor *mask, int k, size_t numel);
/* out = kept ? self * scale : 0, elements in row-major order. Same shapes. */
aclnnStatus hc_dropout_apply(const aclTensor *out, const aclTensor *self, const void *mask, double scale);
