// SPDX-License-Identifier: Apache-2.0
/* Contiguous float32 and int64 copies of operands, made only where the operand is not that already. */
#include "plain.h"

#include <stdio.h>

/* Whether there is anything to do, and a place to note it. */
static bool ready(struct hc_plain *p, const aclTensor *t) {
    if (t == NULL || p->status != 0) return false;
    if (p->count < HC_PLAIN_MAX) return true;
    p->status = hc_fail(ACLNN_ERR_INNER, "%s: more than %d operands", p->op, HC_PLAIN_MAX);
    return false;
}

/* Nothing is copied where the tensor is contiguous float32 already. */
const float *hc_plain_in(struct hc_plain *p, const aclTensor *t) {
    if (!ready(p, t)) return NULL;
    const int i = p->count;
    p->status = hc_contiguous(t, ACL_FLOAT, &p->item[i].view, &p->item[i].owned);
    if (p->status != 0) return NULL;
    p->item[i].read = true;
    p->count++;
    return (const float *)(const void *)hc_data(&p->item[i].view);
}

/* t is memory that somebody still reads, or will write. */
static bool shares(const struct hc_plain *p, const aclTensor *t) {
    for (int i = 0; i < p->count; i++) {
        if (p->item[i].read && p->item[i].owned == NULL && hc_overlaps(&p->item[i].view, t)) return true;
        if (p->item[i].target != NULL && hc_overlaps(p->item[i].target, t)) return true;
    }
    return false;
}

/* A view to write in dtype; `keep`: with the contents of t. */
static void *writable(struct hc_plain *p, const aclTensor *t, aclDataType dtype, bool keep) {
    if (!ready(p, t)) return NULL;
    const int i = p->count;
    p->item[i].view = *t;
    if (t->dtype != dtype || !hc_is_contiguous(t) || shares(p, t)) {
        p->item[i].owned = hc_block_take_array(hc_numel(t), hc_dtype_size(dtype));
        if (p->item[i].owned == NULL) {
            p->status = hc_fail(ACLNN_ERR_INNER, "%s: out of host memory for %s", p->op, HC_SHOW(t));
            return NULL;
        }
        p->item[i].view = hc_tensor_view(dtype, t->shape, t->rank, p->item[i].owned);
        if (keep) p->status = hc_copy(&p->item[i].view, t);
    }
    p->item[i].target = t;
    p->count++;
    return p->status == 0 ? hc_data(&p->item[i].view) : NULL;
}

/* Three ways to a writable view; they differ in the type and in what it holds at first. */
float *hc_plain_out(struct hc_plain *p, const aclTensor *t) { return writable(p, t, ACL_FLOAT, false); }
float *hc_plain_inout(struct hc_plain *p, const aclTensor *t) { return writable(p, t, ACL_FLOAT, true); }
int64_t *hc_plain_out_index(struct hc_plain *p, const aclTensor *t) {
    return writable(p, t, ACL_INT64, false);
}

/* Given back with the rest; the sizes are checked by the allocation. */
void *hc_plain_take(struct hc_plain *p, size_t n, size_t size) {
    if (p->status != 0) return NULL;
    void *memory = p->count < HC_PLAIN_MAX ? hc_block_take_array(n, size) : NULL;
    if (memory == NULL) {
        p->status =
            hc_fail(ACLNN_ERR_INNER, "%s: out of host memory for %zu items of %zu bytes", p->op, n, size);
        return NULL;
    }
    p->item[p->count++].owned = memory;
    return memory;
}

/* Always a copy: it is checked, and read after that. */
const int64_t *hc_plain_index(struct hc_plain *p, const char *arg, const aclTensor *t, int64_t lowest,
                              int64_t bound) {
    if (t == NULL) return NULL;
    int64_t *own = hc_plain_take(p, hc_numel(t), sizeof *own);
    if (own == NULL) return NULL;
    const aclTensor view = hc_tensor_view(ACL_INT64, t->shape, t->rank, own);
    p->status = hc_copy(&view, t);
    for (int64_t i = 0; i < t->numel && p->status == 0; i++) {
        if (own[i] < lowest || own[i] >= bound)
            p->status =
                hc_fail(ACLNN_ERR_PARAM_INVALID, "%s: %s has %lld at %lld, wanted %lld to %lld", p->op, arg,
                        (long long)own[i], (long long)i, (long long)lowest, (long long)bound - 1);
    }
    return p->status == 0 ? own : NULL;
}

/* In the order of the calls: an output written to memory of its own is copied after all inputs have been
 * read. */
aclnnStatus hc_plain_close(struct hc_plain *p, aclnnStatus status) {
    if (p->status != 0) status = p->status;
    for (int i = 0; i < p->count; i++) {
        if (status == 0 && p->item[i].target != NULL && p->item[i].owned != NULL)
            status = hc_copy(p->item[i].target, &p->item[i].view);
        hc_block_give(p->item[i].owned);
    }
    p->count = 0;
    return status;
}

/* "[2,any,64]" */
static const char *show_shape(const int64_t *shape, int32_t rank, char *buf, size_t size) {
    size_t at = (size_t)snprintf(buf, size, "[");
    for (int32_t d = 0; d < rank && at < size; d++) {
        const char *comma = d > 0 ? "," : "";
        at += shape[d] < 0 ? (size_t)snprintf(buf + at, size - at, "%sany", comma)
                           : (size_t)snprintf(buf + at, size - at, "%s%lld", comma, (long long)shape[d]);
    }
    if (at < size) snprintf(buf + at, size - at, "]");
    return buf;
}

/* A message shows the tensor that came and the shape that was wanted, with `any` for sizes that are free. */
static aclnnStatus check(const char *op, const char *arg, const aclTensor *t, const char *kind, bool typed,
                         int32_t rank, const int64_t *shape) {
    char text[HC_DESCRIBE_BYTES];
    bool same = t->rank == rank && typed;
    for (int32_t d = 0; d < rank && same; d++) same = shape[d] < 0 || shape[d] == t->shape[d];
    HC_CHECK(same, ACLNN_ERR_PARAM_INVALID, "%s: %s is %s, wanted %s %s", op, arg, HC_SHOW(t), kind,
             show_shape(shape, rank, text, sizeof text));
    return 0;
}

aclnnStatus hc_plain_check(const char *op, const char *arg, const aclTensor *t, int32_t rank,
                           const int64_t *shape) {
    HC_CHECK(t != NULL, ACLNN_ERR_PARAM_NULLPTR, "%s: %s is null", op, arg);
    return check(op, arg, t, "float32, bfloat16 or float16", hc_fits_f32(t->dtype), rank, shape);
}

aclnnStatus hc_plain_check_index(const char *op, const char *arg, const aclTensor *t, int32_t rank,
                                 const int64_t *shape) {
    HC_CHECK(t != NULL, ACLNN_ERR_PARAM_NULLPTR, "%s: %s is null", op, arg);
    return check(op, arg, t, "int32 or int64", t->dtype == ACL_INT32 || t->dtype == ACL_INT64, rank, shape);
}
