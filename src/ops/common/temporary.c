// SPDX-License-Identifier: Apache-2.0
/* Copies for operators that want their operands plain. Blocks and not slots of scratch: an operator may hold
 * several. */
#include "temporary.h"

#include <string.h>

static aclnnStatus allocate(const aclTensor *t, aclDataType dtype, aclTensor *view, void **owned) {
    *owned = hc_block_take_array(hc_numel(t), hc_dtype_size(dtype));
    HC_CHECK(*owned != NULL, ACLNN_ERR_INNER, "out of host memory for a copy of %s as %s", HC_SHOW(t),
             hc_dtype_name(dtype));
    *view = hc_tensor_view(dtype, t->shape, t->rank, *owned);
    return 0;
}

/* On failure nothing is owned. */
static aclnnStatus copy_of(const aclTensor *t, aclDataType dtype, aclTensor *view, void **owned) {
    HC_TRY(allocate(t, dtype, view, owned));
    const aclnnStatus status = hc_copy(view, t);
    if (status == 0) return 0;
    hc_block_give(*owned);
    *owned = NULL;
    return status;
}

/* By the range of bytes: views that interleave without sharing any count as overlapping, which costs a
 * copy and no more. */
bool hc_overlaps(const aclTensor *a, const aclTensor *b) {
    const char *begin_a, *end_a, *begin_b, *end_b;
    if (!hc_byte_range(a, &begin_a, &end_a) || !hc_byte_range(b, &begin_b, &end_b)) return false;
    return end_a > begin_b && end_b > begin_a;
}

aclnnStatus hc_contiguous(const aclTensor *t, aclDataType dtype, aclTensor *view, void **owned) {
    *owned = NULL;
    *view = *t;
    if (t->dtype == dtype && hc_is_contiguous(t)) return 0;
    return copy_of(t, dtype, view, owned);
}

aclnnStatus hc_contiguous_apart(const aclTensor *t, aclDataType dtype, const aclTensor *other,
                                aclTensor *view, void **owned) {
    if (hc_overlaps(t, other)) return copy_of(t, dtype, view, owned);
    return hc_contiguous(t, dtype, view, owned);
}

aclnnStatus hc_apart(const aclTensor *t, aclDataType dtype, const aclTensor *other, aclTensor *view,
                     void **owned) {
    *owned = NULL;
    *view = *t;
    if (t->dtype == dtype && !hc_overlaps(t, other)) return 0;
    return copy_of(t, dtype, view, owned);
}

aclnnStatus hc_contiguous_out(const aclTensor *out, aclDataType dtype, aclTensor *view, void **owned) {
    *owned = NULL;
    *view = *out;
    if (out->dtype == dtype && hc_is_contiguous(out)) return 0;
    return allocate(out, dtype, view, owned);
}

/* By way of the block type of the scalar's own class, so that a large integer is not rounded by a double.
 */
struct hc_element hc_scalar_element(const aclScalar *s, aclDataType dtype) {
    struct hc_element element = {{0}};
    const enum hc_dtype_class kind = hc_dtype_class(s->dtype);
    if (kind == HC_CLASS_COMPLEX) hc_store_for(dtype, HC_C128)(1, element.bytes, 1, &s->value.c);
    else if (kind == HC_CLASS_FLOAT || kind == HC_CLASS_NARROW)
        hc_store_for(dtype, HC_F64)(1, element.bytes, 1, &s->value.f);
    else hc_store_for(dtype, HC_I64)(1, element.bytes, 1, &s->value.i);
    return element;
}

aclnnStatus hc_fill(const aclTensor *dst, const struct hc_element *value) {
    const aclTensor one = hc_tensor_view(dst->dtype, NULL, 0, (void *)value->bytes);
    return hc_copy(dst, &one);
}
