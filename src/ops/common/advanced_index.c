// SPDX-License-Identifier: Apache-2.0
/* Shapes and offsets of indexing by tensors. One index tensor is used as it is; several are added up to
 * one tensor of element offsets, O(index elements) for each, so that gather and scatter need know one
 * index only. */
#include "advanced_index.h"

#include <stdio.h>
#include <string.h>

/* Where the index dimensions go in the result: in place of the indexed ones if those are neighbours, else
 * first, as in NumPy. */
static void set_shape(struct hc_advanced *a, const aclTensor *self) {
    bool neighbours = true, indexed[HC_MAX_RANK] = {false};
    for (int32_t i = 0; i < a->num_indexed; i++) {
        indexed[a->dims[i]] = true;
        neighbours = neighbours && (i == 0 || a->dims[i] == a->dims[i - 1] + 1);
    }
    a->index_at = neighbours && a->num_indexed > 0 ? a->dims[0] : 0;
    a->rank = 0;
    for (int32_t d = 0; d <= self->rank; d++) {
        if (a->rank == a->index_at) {
            memcpy(a->shape + a->rank, a->index_shape, (size_t)a->index_rank * sizeof a->shape[0]);
            a->rank += a->index_rank;
            a->index_at = a->rank - a->index_rank;
            break;
        }
        a->shape[a->rank++] = self->shape[d];
    }
    for (int32_t d = a->index_at; d < self->rank; d++) {
        if (!indexed[d]) a->shape[a->rank++] = self->shape[d];
    }
}

/* ":" is passed as an empty tensor of self's type. Where that is a type of indices too, it may as well be an
 * index without elements (a mask that is false everywhere): `ambiguous` then. */
enum reading { INDEX, ALL, AMBIGUOUS };

/* An empty line of self's type is how the client writes ":"; only an integer self can mean an empty index
 * by it. */
static enum reading read_index(const aclTensor *self, const aclTensor *index) {
    if (index == NULL) return ALL;
    if (index->numel > 0 || index->rank != 1 || index->dtype != self->dtype) return INDEX;
    return self->dtype == ACL_INT32 || self->dtype == ACL_INT64 ? AMBIGUOUS : ALL;
}

/* all[i]: member i is ":". Index tensors broadcast with one another, in the order of the list. */
static aclnnStatus shape_of(const char *op, const aclTensor *self, const aclTensor *const *indices,
                            const bool *all, size_t count, struct hc_advanced *a) {
    *a = (struct hc_advanced){0};
    aclTensor joined = {.rank = 0, .numel = 1};
    for (size_t i = 0; i < count; i++) {
        if (all[i]) continue;
        HC_TRY(hc_index_check_dtype(op, "a tensor of indices", indices[i]));
        aclTensor next = {.numel = 1};
        HC_CHECK(hc_broadcast_shape(&joined, indices[i], next.shape, &next.rank), ACLNN_ERR_PARAM_INVALID,
                 "%s: index tensor %zu %s does not broadcast with those before it", op, i,
                 HC_SHOW(indices[i]));
        joined = next;
        a->dims[a->num_indexed++] = (int32_t)i;
    }
    HC_CHECK(a->num_indexed > 0, ACLNN_ERR_PARAM_INVALID, "%s: there is no index tensor", op);
    a->index_rank = joined.rank;
    memcpy(a->index_shape, joined.shape, sizeof a->index_shape);
    HC_CHECK(self->rank - a->num_indexed + a->index_rank <= HC_MAX_RANK, ACLNN_ERR_PARAM_INVALID,
             "%s: self %s with indices of rank %d has more than %d dimensions", op, HC_SHOW(self),
             a->index_rank, HC_MAX_RANK);
    set_shape(a, self);
    int64_t numel;
    HC_CHECK(hc_shape_numel(a->shape, a->rank, &numel), ACLNN_ERR_PARAM_INVALID,
             "%s: self %s with indices that broadcast to %s has more than 2^48 elements", op, HC_SHOW(self),
             HC_SHOW(&joined));
    return 0;
}

/* Ambiguous members are tried as ":" first; where out's shape then does not fit, they are empty indices. */
aclnnStatus hc_advanced_shape(const char *op, const aclTensor *self, const aclTensor *const *indices,
                              size_t count, const aclTensor *out, struct hc_advanced *a) {
    HC_CHECK(count > 0 && count <= (size_t)self->rank, ACLNN_ERR_PARAM_INVALID,
             "%s: %zu tensors of indices for self %s, wanted 1 to as many as self has dimensions", op, count,
             HC_SHOW(self));
    bool all[HC_MAX_RANK], ambiguous = false;
    for (size_t i = 0; i < count; i++) {
        const enum reading reading = read_index(self, indices[i]);
        ambiguous = ambiguous || reading == AMBIGUOUS;
        all[i] = reading == ALL || (reading == AMBIGUOUS && i + 1 < count);
    }
    const aclnnStatus status = shape_of(op, self, indices, all, count, a);
    if (!ambiguous) return status;
    if (status == 0) {
        const aclTensor want = hc_advanced_view(a, self);
        if (out == NULL || hc_same_shape(&want, out)) return 0;
    }
    for (size_t i = 0; i < count; i++) all[i] = read_index(self, indices[i]) == ALL;
    return shape_of(op, self, indices, all, count, a);
}

aclTensor hc_advanced_view(const struct hc_advanced *a, const aclTensor *target) {
    aclTensor view = *target;
    bool indexed[HC_MAX_RANK] = {false};
    for (int32_t i = 0; i < a->num_indexed; i++) indexed[a->dims[i]] = true;
    int32_t from = 0;
    view.rank = a->rank;
    view.numel = 1;
    for (int32_t d = 0; d < a->rank; d++) {
        view.shape[d] = a->shape[d];
        view.numel *= a->shape[d];
        view.stride[d] = 0;
        if (d >= a->index_at && d < a->index_at + a->index_rank) continue;
        while (indexed[from]) from++;
        view.stride[d] = target->stride[from++];
    }
    return view;
}

/* sum[i] += index[i] * stride over the broadcast shape. Offsets of several dimensions add up, because a
 * stride is what a step along its dimension costs in the storage. The index is a copy, or `whole` one of it.
 */
static aclnnStatus add_index(const char *op, const struct hc_advanced *a, const aclTensor *index, int32_t dim,
                             int64_t size, int64_t stride, int64_t *sum, size_t n) {
    struct hc_index loaded;
    aclTensor view, whole;
    void *owned;
    char name[32];
    snprintf(name, sizeof name, "index tensor %d", dim);
    HC_TRY(hc_index_copy(op, name, index, size, true, &loaded));
    hc_broadcast_to(&loaded.view, a->index_shape, a->index_rank, &view);
    aclnnStatus status = hc_contiguous(&view, ACL_INT64, &whole, &owned);
    if (status == 0) {
        const int64_t *data = (const int64_t *)hc_data(&whole);
        for (size_t i = 0; i < n; i++) sum[i] += data[i] * stride;
        hc_block_give(owned);
    }
    hc_block_give(loaded.owned);
    return status;
}

/* Give the offsets, which have the index shape, the shape of the result. */
static void spread(const struct hc_advanced *a, aclTensor *view) {
    const aclTensor own = *view;
    view->rank = a->rank;
    view->numel = 1;
    for (int32_t d = 0; d < a->rank; d++) {
        const int32_t i = d - a->index_at;
        view->shape[d] = a->shape[d];
        view->numel *= a->shape[d];
        view->stride[d] = i >= 0 && i < a->index_rank ? own.stride[i] : 0;
    }
}

/* One index is used as it is: its step is the dimension's stride. Several are summed to one offset in
 * elements per position, so that the gather does one addition and not one for each of them. */
aclnnStatus hc_advanced_load(const char *op, const struct hc_advanced *a, const aclTensor *target,
                             const aclTensor *const *indices, bool ahead,
                             struct hc_advanced_offsets *offsets) {
    *offsets = (struct hc_advanced_offsets){0};
    if (a->num_indexed == 1) { /* the index itself, in steps of the dimension's stride */
        const int32_t dim = a->dims[0];
        struct hc_index *own = &offsets->index;
        char name[32];
        snprintf(name, sizeof name, "index tensor %d", dim);
        HC_TRY(
            (ahead ? hc_index_load : hc_index_open)(op, name, indices[dim], target->shape[dim], true, own));
        offsets->view = own->view;
        offsets->step = target->stride[dim] * target->item_size;
        offsets->range = target->shape[dim];
        offsets->owned = own->owned;
        offsets->checked = own;
        spread(a, &offsets->view);
        return 0;
    }
    size_t n = 1;
    for (int32_t d = 0; d < a->index_rank; d++) n *= (size_t)a->index_shape[d];
    int64_t *sum = hc_block_take_zeroed(n, sizeof *sum);
    HC_CHECK(sum != NULL, ACLNN_ERR_INNER, "%s: out of host memory: %zu offsets", op, n);
    offsets->range = 1;
    for (int32_t i = 0; i < a->num_indexed; i++) {
        const int32_t dim = a->dims[i];
        const int64_t size = target->shape[dim], stride = target->stride[dim];
        const aclnnStatus status = add_index(op, a, indices[dim], dim, size, stride, sum, n);
        if (status != 0) {
            hc_block_give(sum);
            return status;
        }
        offsets->range += (size - 1) * stride;
    }
    offsets->view = hc_tensor_view(ACL_INT64, a->index_shape, a->index_rank, sum);
    offsets->step = target->item_size;
    offsets->owned = sum;
    spread(a, &offsets->view);
    return 0;
}
