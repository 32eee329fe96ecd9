// SPDX-License-Identifier: Apache-2.0
/* From the arguments of a pooling operator to its windows; every check that they share. */
#include "pool.h"

struct lists {
    int64_t value[4][POOL_DIMS]; /* kernel, stride, pad, dilation */
};

/* One number per dimension, at least `least`; a list of one counts for all. */
static aclnnStatus read_list(const struct pool_call *call, const aclIntArray *list, const char *name,
                             int64_t least, int64_t *to) {
    const int shift = POOL_DIMS - call->dims;
    HC_CHECK(list != NULL, ACLNN_ERR_PARAM_NULLPTR, "%s: %s is null", call->name, name);
    HC_CHECK(list->size == 1 || list->size == (size_t)call->dims, ACLNN_ERR_PARAM_INVALID,
             "%s: %s has %zu values, wanted 1 or %d", call->name, name, list->size, call->dims);
    for (int d = shift; d < POOL_DIMS; d++) {
        to[d] = list->data[list->size == 1 ? 0 : d - shift];
        HC_CHECK(to[d] >= least && to[d] <= HC_MAX_NUMEL, ACLNN_ERR_PARAM_INVALID,
                 "%s: %s[%d] is %lld, wanted at least %lld", call->name, name, d - shift, (long long)to[d],
                 (long long)least);
    }
    return 0;
}

/* No stride means windows side by side. */
static aclnnStatus read_lists(const struct pool_call *call, struct lists *l) {
    const aclIntArray *lists[] = {call->kernel, call->stride, call->pad, call->dilation};
    const char *names[] = {"kernelSize", call->stride_name, call->pad_name, "dilation"};
    for (int d = 0; d < POOL_DIMS; d++) {
        for (int k = 0; k < 4; k++) l->value[k][d] = k == 2 ? 0 : 1;
    }
    for (int k = 0; k < 4; k++) {
        if (k == 3 && call->dilation == NULL) continue;
        const aclIntArray *list = k == 1 && lists[k] != NULL && lists[k]->size == 0 ? call->kernel : lists[k];
        HC_TRY(read_list(call, list, names[k], k == 2 ? 0 : 1, l->value[k]));
    }
    return 0;
}

/* Windows along one dimension, as many as PyTorch counts: those that fit into the padded input; with ceilMode
 * also a last one that reaches over its end, unless it would begin in the padding there. At most half of the
 * kernel may be padding, so that a window without dilation always meets the input. */
static aclnnStatus size_axis(const struct pool_call *call, struct pool_axis *a, int dim) {
    int64_t reach;
    HC_CHECK(hc_mul_i64_fits(a->kernel - 1, a->dilation, &reach) && reach <= HC_MAX_NUMEL,
             ACLNN_ERR_PARAM_INVALID, "%s: kernelSize[%d] is %lld with dilation %lld: too large", call->name,
             dim, (long long)a->kernel, (long long)a->dilation);
    HC_CHECK(a->pad <= (reach + 1) / 2, ACLNN_ERR_PARAM_INVALID,
             "%s: %s[%d] is %lld, wanted at most half of the kernel, which reaches over %lld elements",
             call->name, call->pad_name, dim, (long long)a->pad, (long long)(reach + 1));
    const int64_t room = a->in + 2 * a->pad - reach - 1 + (call->ceil_mode ? a->stride - 1 : 0);
    a->out = room < 0 ? 0 : room / a->stride + 1;
    if (call->ceil_mode && a->out > 0 && (a->out - 1) * a->stride >= a->in + a->pad) a->out--;
    HC_CHECK(a->out > 0, ACLNN_ERR_PARAM_INVALID,
             "%s: %s is %s: no window of %lld elements, %s %lld, fits into dimension %d", call->name,
             call->in_name, HC_SHOW(call->in), (long long)(reach + 1), call->pad_name, (long long)a->pad,
             call->in->rank - call->dims + dim);
    return 0;
}

/* What needs no list: presence, ranks, types, and that there is something to pool. */
static aclnnStatus check_tensors(const struct pool_call *call) {
    const aclTensor *in = call->in, *out = call->out;
    HC_CHECK(in != NULL && out != NULL, ACLNN_ERR_PARAM_NULLPTR, "%s: %s is null", call->name,
             in == NULL ? call->in_name : call->out_name);
    HC_CHECK(in->rank == call->dims + 1 || in->rank == call->dims + 2, ACLNN_ERR_PARAM_INVALID,
             "%s: %s is %s, wanted %d or %d dimensions", call->name, call->in_name, HC_SHOW(in),
             call->dims + 1, call->dims + 2);
    for (int d = in->rank - call->dims; d < in->rank; d++) {
        HC_CHECK(in->shape[d] > 0, ACLNN_ERR_PARAM_INVALID, "%s: %s is %s, wanted 1 or more in dimension %d",
                 call->name, call->in_name, HC_SHOW(in), d);
    }
    HC_CHECK(in->dtype == out->dtype, ACLNN_ERR_PARAM_INVALID, "%s: %s is %s, %s %s: wanted one type",
             call->name, call->in_name, HC_SHOW(in), call->out_name, HC_SHOW(out));
    return 0;
}

/* The sizes that adaptive pooling is asked for: those of the list, or of the tensor. */
/* (A size of 0 is fine: then there are no windows.) */
static aclnnStatus read_sizes(const struct pool_call *call, struct pool_shape *s) {
    const int shift = POOL_DIMS - call->dims;
    const aclIntArray *list = call->output_size;
    HC_CHECK(list == NULL || list->size == (size_t)call->dims, ACLNN_ERR_PARAM_INVALID,
             "%s: outputSize has %zu values, wanted %d", call->name, list->size, call->dims);
    HC_CHECK(call->out->rank == call->in->rank, ACLNN_ERR_PARAM_INVALID,
             "%s: %s is %s, %s %s: wanted as many dimensions", call->name, call->out_name, HC_SHOW(call->out),
             call->in_name, HC_SHOW(call->in));
    for (int d = shift; d < POOL_DIMS; d++) {
        const int64_t size = call->out->shape[call->out->rank - POOL_DIMS + d];
        s->axis[d].out = list != NULL ? list->data[d - shift] : size;
    }
    return 0;
}

/* Tensors are converted to it as a whole: next to the reads of a window that is little. */
aclDataType pool_type(enum hc_block block) {
    return block == HC_F32 ? ACL_FLOAT : block == HC_F64 ? ACL_DOUBLE : ACL_INT64;
}

aclnnStatus pool_describe(const struct pool_call *call, struct pool_shape *s, enum hc_block *block) {
    const int shift = POOL_DIMS - call->dims;
    HC_TRY(check_tensors(call));
    *block = hc_compute_block(call->in->dtype);
    HC_CHECK(*block == HC_F32 || *block == HC_F64 || (*block == HC_I64 && call->in->dtype != ACL_BOOL),
             ACLNN_ERR_PARAM_INVALID, "%s: %s is %s, wanted a type of real numbers", call->name,
             call->in_name, HC_SHOW(call->in));
    struct lists l;
    if (!call->adaptive) HC_TRY(read_lists(call, &l));
    const int lead = call->in->rank - call->dims;
    int64_t shape[POOL_DIMS + 1], numel;
    for (int d = 0; d < lead; d++) shape[d] = call->in->shape[d];
    for (int d = 0; d < POOL_DIMS; d++) {
        struct pool_axis *a = &s->axis[d];
        *a = (struct pool_axis){1, 1, 1, 1, 0, 1, call->adaptive};
        if (d < shift) continue;
        a->in = call->in->shape[lead + d - shift];
        if (call->adaptive) continue;
        a->kernel = l.value[0][d], a->stride = l.value[1][d];
        a->pad = l.value[2][d], a->dilation = l.value[3][d];
        HC_TRY(size_axis(call, a, d - shift));
    }
    if (call->adaptive) HC_TRY(read_sizes(call, s));
    for (int d = shift; d < POOL_DIMS; d++) shape[lead + d - shift] = s->axis[d].out;
    HC_CHECK(hc_shape_numel(shape, call->in->rank, &numel), ACLNN_ERR_PARAM_INVALID,
             "%s: %s would have more elements than a tensor can, or less than none", call->name,
             call->out_name);
    const aclTensor wanted = hc_tensor_view(call->out->dtype, shape, call->in->rank, NULL);
    HC_CHECK(hc_same_shape(call->out, &wanted), ACLNN_ERR_PARAM_INVALID, "%s: %s is %s, wanted %s for %s %s",
             call->name, call->out_name, HC_SHOW(call->out), HC_SHOW(&wanted), call->in_name,
             HC_SHOW(call->in));
    s->planes = call->in->shape[0] * (lead == 2 ? call->in->shape[1] : 1);
    return 0;
}

aclnnStatus pool_check_like(const struct pool_call *call, const aclTensor *t, const char *name,
                            const aclTensor *like, const char *like_name) {
    HC_CHECK(t != NULL, ACLNN_ERR_PARAM_NULLPTR, "%s: %s is null", call->name, name);
    HC_CHECK(hc_same_shape(t, like), ACLNN_ERR_PARAM_INVALID, "%s: %s is %s, wanted the shape of %s %s",
             call->name, name, HC_SHOW(t), like_name, HC_SHOW(like));
    return 0;
}

aclnnStatus pool_check_gradient(const struct pool_call *call, const aclTensor *t, const char *name) {
    const enum hc_block block = hc_compute_block(call->in->dtype);
    HC_CHECK(block == HC_F32 || block == HC_F64, ACLNN_ERR_PARAM_INVALID,
             "%s: %s is %s, wanted floating point", call->name, call->in_name, HC_SHOW(call->in));
    HC_TRY(pool_check_like(call, t, name, call->in, call->in_name));
    HC_CHECK(t->dtype == call->in->dtype, ACLNN_ERR_PARAM_INVALID, "%s: %s is %s, %s %s: wanted one type",
             call->name, name, HC_SHOW(t), call->in_name, HC_SHOW(call->in));
    return 0;
}

struct pool_window pool_window_at(const struct pool_shape *s, int dim, int64_t i) {
    const struct pool_axis *a = &s->axis[dim];
    if (a->adaptive) { /* i / out of the input, without products that could overflow: in, out <= 2^48 */
        const int64_t whole = a->in / a->out, rest = a->in % a->out;
        const int64_t first = i * whole + (int64_t)((__int128)i * rest / a->out);
        const int64_t end = (i + 1) * whole + (int64_t)(((__int128)(i + 1) * rest + a->out - 1) / a->out);
        return (struct pool_window){first, end, 1, end - first};
    }
    /* No product here is large: windows were counted so that they begin inside of the padded input. */
    const int64_t from = i * a->stride - a->pad, to = from + (a->kernel - 1) * a->dilation + 1;
    const int64_t first = from >= 0 ? from : from + (-from + a->dilation - 1) / a->dilation * a->dilation;
    const int64_t end = hc_min_i64(to, a->in);
    /* Only means count, and they have no dilation. */
    const int64_t count = s->count_pad ? hc_min_i64(to, a->in + a->pad) - from : end - first;
    return (struct pool_window){first, end, a->dilation, count};
}

/* They are looked up once for each row of results, so they are worth a table. */
struct pool_window *pool_windows(const struct pool_shape *s, int dim) {
    const int64_t n = s->axis[dim].out;
    struct pool_window *w = hc_block_take_array((size_t)n, sizeof *w);
    for (int64_t i = 0; w != NULL && i < n; i++) w[i] = pool_window_at(s, dim, i);
    return w;
}
