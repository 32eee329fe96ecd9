// SPDX-License-Identifier: Apache-2.0
/* A part of a tensor as a view of it. */
#pragma once
#include "op.h"

/* [first, first + length) along dim, which the caller has checked to lie inside. */
static inline aclTensor hc_slice_view(const aclTensor *t, int64_t dim, int64_t first, int64_t length) {
    aclTensor view = *t;
    view.offset += first * t->stride[dim];
    view.numel = t->shape[dim] > 0 ? t->numel / t->shape[dim] * length : 0;
    view.shape[dim] = length;
    return view;
}
