// SPDX-License-Identifier: Apache-2.0
/* What the dropout operators share: the bit mask, how it is made and how it is applied. */
#pragma once
#include "philox.h"

/* Bytes of a mask: a multiple of 16. */
static inline size_t hc_dropout_mask_bytes(size_t numel) { return hc_ceil_div(numel, 128) * 16; }
/* prob is in [0, 1] and mask, tensor k among the arguments of the operator, holds enough contiguous bytes. */
aclnnStatus hc_dropout_check(const char *name, double prob, const aclTensor *mask, int k, size_t numel);
/* Keep (bit 1) with probability 1 - prob. */
void hc_dropout_fill_mask(struct hc_philox philox, double prob, size_t numel, void *mask);
/* out = kept ? self * scale : 0, elements in row-major order. Same shapes. */
aclnnStatus hc_dropout_apply(const aclTensor *out, const aclTensor *self, const void *mask, double scale);
