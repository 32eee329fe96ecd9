// SPDX-License-Identifier: Apache-2.0
/* Indexing by a list of index tensors, as tensor[i, :, j] in Python: shapes in phase one, offsets in phase
 * two. */
#pragma once
#include "index_load.h"

/* `indices` has a member per leading dimension of self. */
struct hc_advanced {
    int32_t num_indexed;
    int32_t dims[HC_MAX_RANK];    /* of self, that are indexed */
    int32_t index_rank, index_at; /* the broadcast index shape, and where it stands in the result */
    int64_t index_shape[HC_MAX_RANK];
    int32_t rank; /* of the result */
    int64_t shape[HC_MAX_RANK];
};
/* Index dimensions replace the indexed ones in place where those are neighbours, else they come first. A
 * member that is null or an empty line of self's type stands for ":". Where self's type is one of indices,
 * `out` decides whether that is an empty index instead; without out, only the last member is (":" at the end
 * is left out by who writes tensor[i, :]). */
aclnnStatus hc_advanced_shape(const char *op, const aclTensor *self, const aclTensor *const *indices,
                              size_t count, const aclTensor *out, struct hc_advanced *a);

/* Offsets of the elements: `view` is int64 with the result's shape (stride 0 along dimensions that are not
 * indexed). */
struct hc_advanced_offsets {
    aclTensor view;
    int64_t step;  /* bytes of `target` per unit */
    int64_t range; /* they are in [0, range) */
    void *owned;
    struct hc_index index, *checked; /* one index tensor: itself; several: NULL */
};
/* Indices are checked against self's shape: here, but for a single index tensor that is not wanted `ahead`.
 * `target` is self or a copy of it, whose strides count. */
aclnnStatus hc_advanced_load(const char *op, const struct hc_advanced *a, const aclTensor *target,
                             const aclTensor *const *indices, bool ahead,
                             struct hc_advanced_offsets *offsets);
/* A view of target with the result's shape, stride 0 along the index dimensions. */
aclTensor hc_advanced_view(const struct hc_advanced *a, const aclTensor *target);
