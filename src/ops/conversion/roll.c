// SPDX-License-Identifier: Apache-2.0
/* Cyclic shift: out[(i + shift) mod n] = x[i] along each of dims; without dims, of the flattened tensor.
 * Every dimension is cut in two, and each combination of parts is one copy. */

#include "temporary.h"
#include "messages.h"

struct args {
    int64_t shift[HC_MAX_RANK];
    bool flat;
}; /* shifts in [0, size) */

/* Copy the block whose part along each dimension is chosen by the bits of `parts`; set: what wraps to the
 * front. */
static aclnnStatus copy_block(const aclTensor *out, const aclTensor *x, const int64_t *shift,
                              unsigned parts) {
    aclTensor to = *out, from = *x;
    to.numel = 1;
    for (int32_t d = 0; d < out->rank; d++) {
        const int64_t size = out->shape[d], wraps = parts >> d & 1;
        to.shape[d] = from.shape[d] = wraps ? shift[d] : size - shift[d];
        to.offset += (wraps ? 0 : shift[d]) * to.stride[d];
        from.offset += (wraps ? size - shift[d] : 0) * from.stride[d];
        to.numel *= to.shape[d];
    }
    from.numel = to.numel;
    return hc_copy(&to, &from);
}

/* Walks all subsets of the shifted dimensions: 2^k copies for k of them, which together move each element
 * once. */
static aclnnStatus roll(const aclTensor *out, const aclTensor *x, const int64_t *shift) {
    unsigned shifted = 0;
    for (int32_t d = 0; d < out->rank; d++) shifted |= (unsigned)(shift[d] > 0) << d;
    for (unsigned parts = shifted;; parts = (parts - 1) & shifted) {
        HC_TRY(copy_block(out, x, shift, parts));
        if (parts == 0) return 0;
    }
}

/* Without dims the order of elements counts, so both tensors must be lines. */
static aclnnStatus run(const struct hc_call *call) {
    const struct args *a = call->args;
    const aclTensor *out = hc_arg(call, 0), *x = hc_arg(call, 1);
    aclTensor from = *x, to = *out;
    void *copy = NULL, *result = NULL;
    if (out->numel == 0) return 0;
    HC_TRY(a->flat ? hc_contiguous_apart(x, x->dtype, out, &from, &copy) : 0);
    aclnnStatus status = a->flat ? hc_contiguous_out(out, out->dtype, &to, &result) : 0;
    if (status == 0 && a->flat) {
        const aclTensor line = hc_tensor_view(from.dtype, &from.numel, 1, hc_data(&from));
        const aclTensor out_line = hc_tensor_view(to.dtype, &to.numel, 1, hc_data(&to));
        status = roll(&out_line, &line, a->shift);
        if (status == 0 && result != NULL) status = hc_copy(out, &to);
    } else if (status == 0) {
        status = roll(&to, &from, a->shift);
    }
    hc_block_give(copy);
    hc_block_give(result);
    return status;
}

/* torch.roll(x, shifts, dims). Shifts of one dimension add up, negative ones go left, and any may exceed
 * the size. */
HC_API aclnnStatus aclnnRollGetWorkspaceSize(const aclTensor *x, const aclIntArray *shifts,
                                             const aclIntArray *dims, aclTensor *out, uint64_t *workspaceSize,
                                             aclOpExecutor **executor) {
    HC_CHECK(x && shifts && dims && out, ACLNN_ERR_PARAM_NULLPTR, "aclnnRoll: %s is null",
             !x        ? "x"
             : !shifts ? "shifts"
             : dims    ? "out"
                       : "dims");
    HC_CHECK(hc_same_shape(x, out) && x->dtype == out->dtype, ACLNN_ERR_PARAM_INVALID,
             "aclnnRoll: out is %s, x is %s, wanted the same type and shape", HC_SHOW(out), HC_SHOW(x));
    struct args args = {.flat = dims->size == 0};
    HC_CHECK(shifts->size == (args.flat ? 1 : dims->size), ACLNN_ERR_PARAM_INVALID,
             "aclnnRoll: %zu shifts for %zu dims, wanted as many", shifts->size, dims->size);
    for (size_t i = 0; i < shifts->size; i++) {
        const int64_t d = args.flat ? 0 : hc_wrap_dim(dims->data[i], x->rank);
        if (d < 0) return hc_fail_dim("aclnnRoll", "dims", dims->data[i], "x", x);
        const int64_t size = args.flat ? x->numel : x->rank > 0 ? x->shape[d] : 1;
        if (size > 0) args.shift[d] = (args.shift[d] + (shifts->data[i] % size + size) % size) % size;
    }
    return HC_PLAN("aclnnRoll", run, &args, HC_OUT(out), HC_IN(x));
}
HC_OP_LAUNCH(aclnnRoll)
