// SPDX-License-Identifier: Apache-2.0
/* Slices by begin, end and stride, one of each for a dimension, as Python's x[b:e:s]. Bits of five masks
 * change what entry i means: the begin or the end is open, `...`, a new dimension of 1, or an index that
 * removes its dimension. The result is a view of self, negative strides too, so it is one copy. */
#include "elementwise.h"

struct entry {
    int64_t begin, end, stride;
    bool open_begin, open_end, shrink;
};

/* The slice of a dimension of `size`: its first element, and how many there are. */
static void resolve(const struct entry *e, int64_t size, int64_t *first, int64_t *count) {
    const int64_t low = e->stride > 0 ? 0 : -1, high = e->stride > 0 ? size : size - 1;
    int64_t begin = e->begin < 0 ? e->begin + size : e->begin, end = e->end < 0 ? e->end + size : e->end;
    begin = e->open_begin ? (e->stride > 0 ? low : high) : begin < low ? low : begin > high ? high : begin;
    end = e->open_end ? (e->stride > 0 ? high : low) : end < low ? low : end > high ? high : end;
    const int64_t length = e->stride > 0 ? end - begin : begin - end;
    const int64_t step = e->stride > 0 ? e->stride : e->stride == INT64_MIN ? INT64_MAX : -e->stride;
    *first = begin;
    *count = length <= 0 ? 0 : (length - 1) / step + 1;
}

static void append(aclTensor *view, int64_t size, int64_t stride) {
    view->shape[view->rank] = size;
    view->stride[view->rank++] = stride;
}

static aclnnStatus take(const char *name, const aclTensor *self, int32_t d, const struct entry *e,
                        aclTensor *view) {
    HC_CHECK(d < self->rank, ACLNN_ERR_PARAM_INVALID, "%s: begin names more dimensions than self, %s, has",
             name, HC_SHOW(self));
    const int64_t size = self->shape[d];
    int64_t first, count;
    if (e->shrink) {
        HC_CHECK(e->begin >= -size && e->begin < size, ACLNN_ERR_PARAM_INVALID,
                 "%s: index %lld is out of range for dimension %d of self, %s", name, (long long)e->begin,
                 (int)d, HC_SHOW(self));
        view->offset += (e->begin < 0 ? e->begin + size : e->begin) * self->stride[d];
        return 0;
    }
    HC_CHECK(e->stride != 0, ACLNN_ERR_PARAM_INVALID, "%s: strides has a 0, want another number", name);
    resolve(e, size, &first, &count);
    if (count > 0) view->offset += first * self->stride[d];
    append(view, count, count > 1 ? self->stride[d] * e->stride : 1);
    return 0;
}

struct masks {
    int64_t begin, end, ellipsis, new_axis, shrink;
};

static bool bit(int64_t mask, size_t i) { return i < 63 && mask >> i & 1; }

/* What `...` stands for: the dimensions that no other entry takes. */
static int32_t hidden_by_ellipsis(const aclTensor *self, size_t entries, size_t ellipsis, int64_t new_axis) {
    int32_t others = 0;
    for (size_t i = 0; i < entries; i++) others += i != ellipsis && !bit(new_axis, i) ? 1 : 0;
    return self->rank > others ? self->rank - others : 0;
}

static aclnnStatus make_view(const char *name, const aclTensor *self, const aclIntArray *const *lists,
                             const struct masks *m, aclTensor *view) {
    const size_t entries = lists[0]->size;
    const struct entry whole = {.stride = 1, .open_begin = true, .open_end = true};
    int32_t d = 0;
    bool is_hidden = false;
    *view = *self;
    view->rank = 0;
    for (size_t i = 0; i < entries; i++) {
        HC_CHECK(view->rank < HC_MAX_RANK, ACLNN_ERR_PARAM_INVALID, "%s: want at most %d dimensions", name,
                 HC_MAX_RANK);
        if (bit(m->ellipsis, i) && !is_hidden) {
            is_hidden = true;
            for (int32_t n = hidden_by_ellipsis(self, entries, i, m->new_axis); n > 0; n--)
                HC_TRY(take(name, self, d++, &whole, view));
        } else if (bit(m->new_axis, i)) {
            append(view, 1, 1);
        } else {
            const struct entry e = {lists[0]->data[i], lists[1]->data[i], lists[2]->data[i],
                                    bit(m->begin, i),  bit(m->end, i),    bit(m->shrink, i)};
            HC_TRY(take(name, self, d++, &e, view));
        }
    }
    while (d < self->rank && view->rank < HC_MAX_RANK) HC_TRY(take(name, self, d++, &whole, view));
    HC_CHECK(hc_shape_numel(view->shape, view->rank, &view->numel), ACLNN_ERR_PARAM_INVALID,
             "%s: the result has too many elements", name);
    return 0;
}

static aclnnStatus run(const struct hc_call *call) { return hc_copy(hc_arg(call, 1), hc_arg(call, 0)); }

/* Bits behind the last entry mean nothing. A second ellipsis is a slice. */
HC_API aclnnStatus aclnnStridedSliceGetWorkspaceSize(const aclTensor *self, const aclIntArray *begin,
                                                     const aclIntArray *end, const aclIntArray *strides,
                                                     int64_t beginMask, int64_t endMask, int64_t ellipsisMask,
                                                     int64_t newAxisMask, int64_t shrinkAxisMask,
                                                     aclTensor *out, uint64_t *workspaceSize,
                                                     aclOpExecutor **executor) {
    static const char *const NAME = "aclnnStridedSlice";
    HC_CHECK(self && begin && end && strides && out, ACLNN_ERR_PARAM_NULLPTR,
             "%s: self, begin, end, strides or out is null", NAME);
    HC_CHECK(begin->size == end->size && begin->size == strides->size, ACLNN_ERR_PARAM_INVALID,
             "%s: begin, end and strides have %zu, %zu and %zu values, want as many", NAME, begin->size,
             end->size, strides->size);
    const struct masks masks = {beginMask, endMask, ellipsisMask, newAxisMask, shrinkAxisMask};
    const aclIntArray *const lists[] = {begin, end, strides};
    aclTensor view;
    HC_TRY(make_view(NAME, self, lists, &masks, &view));
    HC_CHECK(hc_same_shape(&view, out) && out->dtype == self->dtype, ACLNN_ERR_PARAM_INVALID,
             "%s: out is %s, the slice is %s, want the same", NAME, HC_SHOW(out), HC_SHOW(&view));
    return HC_PLAN0(NAME, run, HC_IN(&view), HC_OUT(out));
}
HC_OP_LAUNCH(aclnnStridedSlice)
