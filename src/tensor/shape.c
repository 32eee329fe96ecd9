// SPDX-License-Identifier: Apache-2.0
/* Questions about shapes and views. All cost O(rank) and touch no data. */
#include <stdio.h>
#include <string.h>

#include "hc_checked.h"
#include "hc_tensor.h"

/* Strides of dimensions of size 1 do not matter, nor any of an empty tensor. */
bool hc_is_contiguous(const aclTensor *t) {
    int64_t running = 1;
    if (t->numel == 0) return true;
    for (int32_t i = t->rank - 1; i >= 0; i--) {
        if (t->shape[i] == 1) continue;
        if (t->stride[i] != running) return false;
        running *= t->shape[i];
    }
    return true;
}

/* Rank counts: [1, 3] is not [3]. Dtype and strides do not. */
bool hc_same_shape(const aclTensor *a, const aclTensor *b) {
    return a->rank == b->rank && memcmp(a->shape, b->shape, (size_t)a->rank * sizeof a->shape[0]) == 0;
}

/* "float32[2,3]". Ends where the buffer does; a message that is cut is better than none. */
const char *hc_describe(const aclTensor *t, char *buf, size_t size) {
    if (t == NULL) {
        snprintf(buf, size, "null");
        return buf;
    }
    int used = snprintf(buf, size, "%s[", hc_dtype_name(t->dtype));
    for (int32_t i = 0; i < t->rank && used > 0 && (size_t)used < size; i++) {
        used += snprintf(buf + used, size - (size_t)used, i ? ",%lld" : "%lld", (long long)t->shape[i]);
    }
    if (used > 0 && (size_t)used < size) snprintf(buf + used, size - (size_t)used, "]");
    return buf;
}

bool hc_shape_numel(const int64_t *shape, int32_t rank, int64_t *numel) {
    int64_t total = 1, product = 1; /* with dimensions of size 0 as 1, and as they are */
    for (int32_t i = 0; i < rank; i++) {
        if (shape[i] < 0 || !hc_mul_i64_fits(total, hc_max_i64(shape[i], 1), &total) || total > HC_MAX_NUMEL)
            return false;
        product *= shape[i];
    }
    *numel = product;
    return true;
}

/* The same memory; `a` and `b` may be equal. */
aclTensor hc_transpose_view(const aclTensor *t, int32_t a, int32_t b) {
    aclTensor view = *t;
    view.shape[a] = t->shape[b];
    view.shape[b] = t->shape[a];
    view.stride[a] = t->stride[b];
    view.stride[b] = t->stride[a];
    return view;
}

/* Row-major, without gaps. No data is touched, so `data` may be NULL in descriptions. */
aclTensor hc_tensor_view(aclDataType dtype, const int64_t *shape, int32_t rank, void *data) {
    aclTensor t = {.base = data, .dtype = dtype, .format = ACL_FORMAT_ND, .rank = rank, .numel = 1};
    t.item_size = (int32_t)hc_dtype_size(dtype);
    for (int32_t i = rank - 1; i >= 0; i--) {
        t.shape[i] = shape[i];
        t.stride[i] = t.numel;
        t.numel *= shape[i];
    }
    t.storage_numel = t.numel;
    return t;
}

/* Negative strides reach below the first element; a range of bytes has holes where strides skip, so it is
 * an outer bound. */
bool hc_byte_range(const aclTensor *t, const char **begin, const char **end) {
    if (t->numel == 0) return false;
    int64_t low = 0, high = 0;
    for (int32_t i = 0; i < t->rank; i++) {
        const int64_t reach = t->stride[i] * (t->shape[i] - 1);
        if (reach < 0) low += reach;
        else high += reach;
    }
    const char *first = hc_data(t);
    *begin = first + low * t->item_size;
    *end = first + (high + 1) * t->item_size;
    return true;
}

/* The same elements in the same order: such an output may be written while the input is read, element by
 * element. Dimensions of size 1 may differ in stride, as they are never stepped over. */
static bool same_view(const aclTensor *a, const aclTensor *b) {
    if (hc_data(a) != hc_data(b) || a->item_size != b->item_size || !hc_same_shape(a, b)) return false;
    for (int32_t i = 0; i < a->rank; i++) {
        if (a->shape[i] > 1 && a->stride[i] != b->stride[i]) return false;
    }
    return true;
}

/* Ranges are compared, not element sets: two interleaved views (even and odd columns) count as overlapping,
 * which costs a copy and is never wrong. */
bool hc_overlaps_partly(const aclTensor *a, const aclTensor *b) {
    const char *begin_a, *end_a, *begin_b, *end_b;
    if (!hc_byte_range(a, &begin_a, &end_a) || !hc_byte_range(b, &begin_b, &end_b)) return false;
    if (end_a <= begin_b || end_b <= begin_a) return false;
    return !same_view(a, b);
}
