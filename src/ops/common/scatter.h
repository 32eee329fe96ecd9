// SPDX-License-Identifier: Apache-2.0
/* dst[p + index[p] * step] op= src[p] for every position p of src, in row-major order of the indexed
 * dimensions: the last of several writes to one element wins, and sums are added in that order, for any
 * thread count. */
#pragma once
#include "index_load.h"

enum hc_scatter_op {
    HC_SCATTER_SET,
    HC_SCATTER_ADD,
    HC_SCATTER_MUL,
    HC_SCATTER_MAX,
    HC_SCATTER_MIN,
    HC_SCATTER_OP_COUNT
};

/* Views of one shape. dst has stride 0 along the dimensions that the index replaces; index is int64,
 * contiguous in memory or repeated by strides of 0. src and dst have the dtype of hc_scatter_dtype. */
struct hc_scatter {
    enum hc_scatter_op op;
    aclTensor dst, src, index;
    int64_t step;              /* bytes of the destination per unit of the index */
    int64_t range;             /* indices are below it */
    struct hc_ew_scalar alpha; /* HC_SCATTER_ADD adds alpha * src */
    struct hc_index *checked;  /* what `index` repeats; NULL: the operator has made the index itself */
};
/* Each index is checked as it is read. One that is bad then, though hc_index_load has just looked at it, is
 * an error, and nothing is written for it. */
aclnnStatus hc_scatter(const struct hc_scatter *s);

/* out = self, then hc_scatter into it, in a wider type than out's, from which it is rounded once; a part at a
 * time, so that what is wider stays in the cache. `s` says op, src (of any type), index, range, alpha and
 * checked. */
aclnnStatus hc_scatter_wide(const struct hc_scatter *s, const aclTensor *out, const aclTensor *self,
                            int64_t dim);

/* The dtype to scatter in: the elements' own for HC_SCATTER_SET, else one that kernels compute in (float for
 * 16-bit floats, so that sums are rounded once). */
aclDataType hc_scatter_dtype(enum hc_scatter_op op, aclDataType dtype);

static inline struct hc_ew_scalar hc_scatter_one(void) { return (struct hc_ew_scalar){1, 1, 1, {1, 0}}; }
