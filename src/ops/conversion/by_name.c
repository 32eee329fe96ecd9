// SPDX-License-Identifier: Apache-2.0
/* Views and casts by name. torch_npu copies between devices with them whatever is not contiguous or changes
 * the element type. Each is hc_copy between two views; what differs is how the views are described. */
#include "by_name.h"
#include "elementwise.h"

static aclnnStatus run(const struct hc_call *call) { return hc_copy(hc_arg(call, 0), hc_arg(call, 1)); }

/* Elements are moved as bits, so any type of that width will do: 8-bit floats have none of their own here. */
static aclTensor as_bits(const aclTensor *t) {
    static const aclDataType BITS[] = {
        [1] = ACL_UINT8, [2] = ACL_UINT16, [4] = ACL_UINT32, [8] = ACL_UINT64, [16] = ACL_COMPLEX128};
    aclTensor bits = *t;
    bits.dtype = BITS[t->item_size];
    return bits;
}

/* Whether the shapes are equal but for dimensions of size 1. */
static bool same_but_ones(const aclTensor *a, const aclTensor *b) {
    int32_t i = 0, k = 0;
    for (;;) {
        while (i < a->rank && a->shape[i] == 1) i++;
        while (k < b->rank && b->shape[k] == 1) k++;
        if (i == a->rank || k == b->rank) return i == a->rank && k == b->rank;
        if (a->shape[i++] != b->shape[k++]) return false;
    }
}

static int64_t count_elements(const aclTensor *t) {
    int64_t numel = 1;
    for (int32_t i = 0; i < t->rank; i++) numel *= t->shape[i];
    return numel;
}

/* dst = src, which has dst's shape. */
static aclnnStatus plan_move(const struct hc_by_name_call *call, const aclTensor *dst, const aclTensor *src,
                             uint64_t *workspaceSize, aclOpExecutor **executor) {
    HC_CHECK(dst->dtype == src->dtype, ACL_ERROR_INVALID_PARAM, "%s is %s, must have the type of %s",
             call->op->outputs[0], HC_SHOW(dst), HC_SHOW(src));
    const aclTensor to = as_bits(dst), from = as_bits(src);
    return HC_PLAN0(call->op->type, run, HC_OUT(&to), HC_IN(&from));
}

/* What a view gives is the output, but for dimensions of size 1: torch_npu describes a slice of one column as
 * [n, 1] for an output [n]. The output is contiguous, so it may be seen in the view's shape. */
static aclnnStatus plan_view(const struct hc_by_name_call *call, const aclTensor *view,
                             uint64_t *workspaceSize, aclOpExecutor **executor) {
    const aclTensor *y = &call->out[0];
    HC_CHECK(same_but_ones(y, view), ACL_ERROR_INVALID_PARAM, "y is %s, must be %s", HC_SHOW(y),
             HC_SHOW(view));
    const aclTensor dst = hc_by_name_shaped(y, view->shape, view->rank);
    return plan_move(call, &dst, view, workspaceSize, executor);
}

/* y and x in one shape: the same but for dimensions of size 1, or x repeated as a copy_ would, which
 * torch_npu leaves to the operator. */
static aclnnStatus fit(const struct hc_by_name_call *call, const aclTensor *x, aclTensor *dst,
                       aclTensor *src) {
    const aclTensor *y = &call->out[0];
    *dst = same_but_ones(y, x) ? hc_by_name_shaped(y, x->shape, x->rank) : *y;
    HC_CHECK(hc_broadcast_to(x, dst->shape, dst->rank, src), ACL_ERROR_INVALID_PARAM,
             "%s does not broadcast to y, which is %s", HC_SHOW(x), HC_SHOW(y));
    return 0;
}

/* A view of the storage of t, all of it inside the buffer. The three lists are the inputs from `first` on. */
static aclnnStatus view_of(const struct hc_by_name_call *call, const aclTensor *t, const char *name,
                           int first, aclTensor *view) {
    const struct hc_by_name_list *size = &call->list[first], *stride = &call->list[first + 1],
                                 *offset = &call->list[first + 2];
    const struct hc_by_name_input *in = &call->op->inputs[first];
    HC_CHECK(size->count == stride->count, ACL_ERROR_INVALID_PARAM, "%s has %zu values, %s has %zu",
             in[0].name, size->count, in[1].name, stride->count);
    HC_CHECK(offset->count == 1 && offset->values[0] >= 0, ACL_ERROR_INVALID_PARAM,
             "%s has %zu values, the first is %lld: must be one number, not negative", in[2].name,
             offset->count, (long long)offset->values[0]);
    *view = *t;
    view->rank = (int32_t)size->count;
    view->offset = offset->values[0];
    int64_t last = offset->values[0], reach, many = 1;
    bool fits = true;
    for (size_t i = 0; i < size->count; i++) {
        const int64_t n = size->values[i], step = stride->values[i];
        HC_CHECK(n >= 0 && step >= 0, ACL_ERROR_INVALID_PARAM,
                 "%s[%zu] is %lld, %s[%zu] is %lld: must not be negative", in[0].name, i, (long long)n,
                 in[1].name, i, (long long)step);
        view->shape[i] = n;
        view->stride[i] = step;
        fits = fits && hc_mul_i64_fits(many, hc_max_i64(n, 1), &many) &&
               hc_mul_i64_fits(hc_max_i64(n - 1, 0), step, &reach) && hc_add_i64_fits(last, reach, &last);
    }
    view->numel = fits ? count_elements(view) : 0;
    HC_CHECK(fits && (view->numel == 0 || last < t->storage_numel), ACL_ERROR_INVALID_PARAM,
             "%s, %s and %s describe a view that ends beyond the %lld elements of %s's buffer%s", in[0].name,
             in[1].name, in[2].name, (long long)t->storage_numel, name, fits ? "" : " (by more than 2^63)");
    if (view->numel == 0) view->offset = 0;
    return 0;
}

/* x.as_strided(size, stride, storage_offset) */
static aclnnStatus as_strided(const struct hc_by_name_call *call, uint64_t *workspaceSize,
                              aclOpExecutor **executor) {
    aclTensor view, dst, src;
    HC_TRY(view_of(call, &call->in[0], "x", 1, &view));
    HC_TRY(fit(call, &view, &dst, &src));
    return plan_move(call, &dst, &src, workspaceSize, executor);
}

/* A view of src into a view of dst. The output stands for dst itself. */
static aclnnStatus view_copy(const struct hc_by_name_call *call, uint64_t *workspaceSize,
                             aclOpExecutor **executor) {
    aclTensor dst, src, whole;
    HC_TRY(view_of(call, &call->in[0], "dst", 1, &dst));
    HC_TRY(view_of(call, &call->in[4], "src", 5, &src));
    HC_CHECK(call->out[0].base == call->in[0].base, ACL_ERROR_INVALID_PARAM,
             "the output is at %p, must be the memory of dst, %p", (void *)call->out[0].base,
             (void *)call->in[0].base);
    for (int32_t i = 0; i < dst.rank; i++) {
        HC_CHECK(dst.stride[i] > 0 || dst.shape[i] == 1 || dst.numel == 0, ACL_ERROR_INVALID_PARAM,
                 "dst_stride[%d] is 0 and dst_size[%d] is %lld: one element would be written more than once",
                 i, i, (long long)dst.shape[i]);
    }
    HC_CHECK(hc_broadcast_to(&src, dst.shape, dst.rank, &whole), ACL_ERROR_INVALID_PARAM,
             "the view of src %s does not broadcast to the view of dst %s", HC_SHOW(&src), HC_SHOW(&dst));
    return plan_move(call, &dst, &whole, workspaceSize, executor);
}

static aclnnStatus transpose(const struct hc_by_name_call *call, uint64_t *workspaceSize,
                             aclOpExecutor **executor) {
    const aclTensor *x = &call->in[0];
    const struct hc_by_name_list *perm = &call->list[1];
    HC_CHECK(perm->count == (size_t)x->rank, ACL_ERROR_INVALID_PARAM, "perm has %zu values, x is %s",
             perm->count, HC_SHOW(x));
    aclTensor view = *x;
    unsigned seen = 0;
    for (int32_t i = 0; i < x->rank; i++) {
        const int64_t d = hc_wrap_dim(perm->values[i], x->rank);
        HC_CHECK(d >= 0 && (seen >> d & 1) == 0, ACL_ERROR_INVALID_PARAM, "perm[%d] is %lld%s, x is %s", i,
                 (long long)perm->values[i], d >= 0 ? " again" : "", HC_SHOW(x));
        seen |= 1U << d;
        view.shape[i] = x->shape[d];
        view.stride[i] = x->stride[d];
    }
    return plan_view(call, &view, workspaceSize, executor);
}

/* x[offsets : offsets + size]; a size of -1 goes to the end. */
static aclnnStatus slice(const struct hc_by_name_call *call, uint64_t *workspaceSize,
                         aclOpExecutor **executor) {
    const aclTensor *x = &call->in[0];
    const struct hc_by_name_list *offsets = &call->list[1], *size = &call->list[2];
    HC_CHECK(offsets->count == (size_t)x->rank && size->count == (size_t)x->rank, ACL_ERROR_INVALID_PARAM,
             "offsets has %zu values and size %zu, x is %s", offsets->count, size->count, HC_SHOW(x));
    aclTensor view = *x;
    for (int32_t i = 0; i < x->rank; i++) {
        const int64_t from = offsets->values[i],
                      n = size->values[i] == -1 ? x->shape[i] - from : size->values[i];
        HC_CHECK(from >= 0 && from <= x->shape[i] && n >= 0 && n <= x->shape[i] - from,
                 ACL_ERROR_INVALID_PARAM, "offsets[%d] is %lld and size[%d] is %lld, x is %s", i,
                 (long long)from, i, (long long)size->values[i], HC_SHOW(x));
        view.shape[i] = n;
        view.offset += from * x->stride[i];
    }
    view.numel = count_elements(&view);
    return plan_view(call, &view, workspaceSize, executor);
}

/* x.expand(shape); -1 keeps the dimension. */
static aclnnStatus broadcast_to(const struct hc_by_name_call *call, uint64_t *workspaceSize,
                                aclOpExecutor **executor) {
    const aclTensor *x = &call->in[0];
    const struct hc_by_name_list *shape = &call->list[1];
    aclTensor wanted = {.dtype = x->dtype, .rank = (int32_t)shape->count}, view;
    const int32_t added = wanted.rank - x->rank;
    for (int32_t i = 0; i < wanted.rank; i++) {
        wanted.shape[i] =
            shape->values[i] == -1 && i >= added && added >= 0 ? x->shape[i - added] : shape->values[i];
        HC_CHECK(wanted.shape[i] >= 0, ACL_ERROR_INVALID_PARAM, "shape[%d] is %lld, x is %s", i,
                 (long long)shape->values[i], HC_SHOW(x));
    }
    /* Before anything is multiplied: y is known to exist. */
    HC_CHECK(same_but_ones(&call->out[0], &wanted), ACL_ERROR_INVALID_PARAM, "y is %s, shape asks for %s",
             HC_SHOW(&call->out[0]), HC_SHOW(&wanted));
    HC_CHECK(hc_broadcast_to(x, wanted.shape, wanted.rank, &view), ACL_ERROR_INVALID_PARAM,
             "x is %s, which does not broadcast to %s", HC_SHOW(x), HC_SHOW(&wanted));
    return plan_view(call, &view, workspaceSize, executor);
}

/* Attributes of StridedSlice: bit i is about entry i of the lists. */
struct masks {
    int64_t begin, end, ellipsis, new_axis, shrink_axis;
};

static aclnnStatus read_masks(const aclopAttr *attr, struct masks *m) {
    *m = (struct masks){0};
    HC_TRY(hc_attr_int(attr, "begin_mask", &m->begin));
    HC_TRY(hc_attr_int(attr, "end_mask", &m->end));
    HC_TRY(hc_attr_int(attr, "ellipsis_mask", &m->ellipsis));
    HC_TRY(hc_attr_int(attr, "new_axis_mask", &m->new_axis));
    HC_TRY(hc_attr_int(attr, "shrink_axis_mask", &m->shrink_axis));
    HC_CHECK((m->ellipsis & (m->ellipsis - 1)) == 0, ACL_ERROR_INVALID_PARAM,
             "ellipsis_mask is %lld: at most one bit may be set", (long long)m->ellipsis);
    return 0;
}

static bool bit(int64_t mask, size_t i) { return (mask >> i & 1) != 0; }

/* Negative positions count from the end; what lies outside is cut off. */
static int64_t clamp_position(int64_t at, int64_t n, bool forward) {
    if (at < 0) at = at < -n ? -1 : at + n;
    return forward ? hc_min_i64(hc_max_i64(at, 0), n) : hc_min_i64(hc_max_i64(at, -1), n - 1);
}

/* Entry i of the lists on dimension d of x, appended to the view. */
static aclnnStatus slice_dimension(const struct hc_by_name_call *call, const struct masks *m, size_t i,
                                   int32_t d, aclTensor *view) {
    const aclTensor *x = &call->in[0];
    const int64_t n = x->shape[d], step = call->list[3].values[i], first = call->list[1].values[i];
    HC_CHECK(step != 0 && step != INT64_MIN, ACL_ERROR_INVALID_PARAM, "strides[%zu] is %lld", i,
             (long long)step);
    const bool forward = step > 0;
    if (bit(m->shrink_axis, i)) {
        HC_CHECK(first >= -n && first < n && forward, ACL_ERROR_INVALID_PARAM,
                 "begin[%zu] is %lld and strides[%zu] is %lld for one element of a dimension of %lld", i,
                 (long long)first, i, (long long)step, (long long)n);
        view->offset += (first < 0 ? first + n : first) * x->stride[d];
        return 0;
    }
    const int64_t begin = bit(m->begin, i) ? (forward ? 0 : n - 1) : clamp_position(first, n, forward);
    const int64_t end =
        bit(m->end, i) ? (forward ? n : -1) : clamp_position(call->list[2].values[i], n, forward);
    const int64_t span = forward ? end - begin : begin - end, size = step > 0 ? step : -step;
    const int64_t count = span > 0 ? (span - 1) / size + 1 : 0;
    view->shape[view->rank] = count;
    /* A step beyond the dimension is taken once at most, so it need not be multiplied. */
    view->stride[view->rank++] = count > 1 ? step * x->stride[d] : x->stride[d];
    view->offset += count > 0 ? begin * x->stride[d] : 0;
    return 0;
}

/* Whole dimensions d to last - 1. */
static void keep_dimensions(const aclTensor *x, int32_t d, int32_t last, aclTensor *view) {
    for (; d < last; d++) {
        view->shape[view->rank] = x->shape[d];
        view->stride[view->rank++] = x->stride[d];
    }
}

/* x[begin : end : strides] as Python indexes: an ellipsis stands for the dimensions that are not named, a new
 * axis for none, and a shrunk one is gone. */
static aclnnStatus strided_slice(const struct hc_by_name_call *call, uint64_t *workspaceSize,
                                 aclOpExecutor **executor) {
    const aclTensor *x = &call->in[0];
    const size_t count = call->list[1].count;
    HC_CHECK(call->list[2].count == count && call->list[3].count == count, ACL_ERROR_INVALID_PARAM,
             "begin has %zu values, end %zu and strides %zu", count, call->list[2].count,
             call->list[3].count);
    struct masks m;
    HC_TRY(read_masks(call->attr, &m));
    int32_t named = 0, added = 0;
    for (size_t i = 0; i < count; i++) {
        if (bit(m.ellipsis, i)) continue;
        if (bit(m.new_axis, i)) added++;
        else named++;
    }
    HC_CHECK(named <= x->rank && x->rank + added <= HC_MAX_RANK, ACL_ERROR_INVALID_PARAM,
             "begin names %d dimensions and adds %d, x is %s", named, added, HC_SHOW(x));
    aclTensor view = *x;
    view.rank = 0;
    int32_t d = 0;
    for (size_t i = 0; i < count; i++) {
        if (bit(m.ellipsis, i)) {
            keep_dimensions(x, d, d + x->rank - named, &view);
            d += x->rank - named;
        } else if (bit(m.new_axis, i)) {
            view.shape[view.rank] = 1;
            view.stride[view.rank++] = 1;
        } else {
            HC_TRY(slice_dimension(call, &m, i, d++, &view));
        }
    }
    keep_dimensions(x, d, x->rank, &view);
    view.numel = count_elements(&view);
    return plan_view(call, &view, workspaceSize, executor);
}

/* x.to(dst_type) */
static aclnnStatus cast(const struct hc_by_name_call *call, uint64_t *workspaceSize,
                        aclOpExecutor **executor) {
    const aclTensor *x = &call->in[0], *y = &call->out[0];
    int64_t dst_type = y->dtype;
    HC_TRY(hc_attr_int(call->attr, "dst_type", &dst_type));
    HC_CHECK(dst_type == y->dtype, ACL_ERROR_INVALID_PARAM, "dst_type is %lld (%s), y is %s",
             (long long)dst_type, hc_dtype_name((aclDataType)dst_type), HC_SHOW(y));
    HC_CHECK(hc_dtype_size(x->dtype) > 0 && hc_dtype_size(y->dtype) > 0, ACL_ERROR_INVALID_PARAM,
             "x is %s, y is %s: there is no conversion between these types", HC_SHOW(x), HC_SHOW(y));
    aclTensor dst, src;
    HC_TRY(fit(call, x, &dst, &src));
    return HC_PLAN0(call->op->type, run, HC_OUT(&dst), HC_IN(&src));
}

#define TENSOR HC_BY_NAME_TENSOR
#define LIST HC_BY_NAME_LIST
static const struct hc_by_name OPERATORS[] = {
    {.type = "AsStrided",
     .meaning = "a view of x by sizes, strides and offset",
     .plan = as_strided,
     .inputs = {TENSOR("x"), LIST("size"), LIST("stride"), LIST("storage_offset")},
     .outputs = {"y"}},
    {.type = "BroadcastTo",
     .meaning = "x repeated along dimensions of size 1",
     .plan = broadcast_to,
     .inputs = {TENSOR("x"), LIST("shape")},
     .outputs = {"y"}},
    {.type = "Cast",
     .meaning = "x in another element type",
     .plan = cast,
     .inputs = {TENSOR("x")},
     .outputs = {"y"},
     .attrs = {"dst_type"},
     .no_events = true},
    {.type = "Slice",
     .meaning = "a part of x",
     .plan = slice,
     .inputs = {TENSOR("x"), LIST("offsets"), LIST("size")},
     .outputs = {"y"}},
    {.type = "StridedSlice",
     .meaning = "x indexed as in Python: begin:end:strides, ellipsis, new axes, single elements",
     .plan = strided_slice,
     .inputs = {TENSOR("x"), LIST("begin"), LIST("end"), LIST("strides")},
     .outputs = {"y"},
     .attrs = {"begin_mask", "end_mask", "ellipsis_mask", "new_axis_mask", "shrink_axis_mask"}},
    {.type = "Transpose",
     .meaning = "x with its dimensions in another order",
     .plan = transpose,
     .inputs = {TENSOR("x"), LIST("perm")},
     .outputs = {"y"}},
    {.type = "ViewCopy",
     .meaning = "a view of src copied into a view of dst",
     .plan = view_copy,
     .inputs = {TENSOR("dst"), LIST("dst_size"), LIST("dst_stride"), LIST("dst_storage_offset"),
                TENSOR("src"), LIST("src_size"), LIST("src_stride"), LIST("src_storage_offset")},
     .outputs = {"dst"}},
};
HC_BY_NAME_TABLE("conversion", OPERATORS)
