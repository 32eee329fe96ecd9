// SPDX-License-Identifier: Apache-2.0
/* MaskedSelect: the elements of self where mask is true, packed; both broadcast. InplaceMaskedScatter:
 * the inverse, the next element of source for each true element of mask.
 *
 * Where an element goes depends on how many came before it, which is a running count over the whole mask.
 * Blocks of the mask are counted first, in parallel, and their starts summed up (mask_scan.h); then each
 * block moves its own without waiting for others. Two passes over the mask, one over the elements. */

#include "mask_scan.h"
#include "strided.h"

#define FOR_SIZES(X) X(1, uint8_t) X(2, uint16_t) X(4, uint32_t) X(8, uint64_t) X(16, struct wide)
#define DECLARE(size, type)                                                                                  \
    HC_KERNEL(mask_pack_##size, (size_t n, void *dst, const void *src, const uint8_t *truth))                \
    HC_KERNEL(mask_unpack_##size, (size_t n, void *dst, const void *src, const uint8_t *truth))
FOR_SIZES(DECLARE)

#ifdef HC_ISA
struct wide {
    uint64_t low, high;
};

/* Without branches: an element that is not wanted is overwritten by the next, so dst has room for n. */
#define DEFINE(size, type)                                                                                   \
    void HC_FN(mask_pack_##size)(size_t n, void *dst, const void *src, const uint8_t *truth) {               \
        type *y = dst;                                                                                       \
        const type *x = src;                                                                                 \
        for (size_t i = 0, k = 0; i < n; i++) {                                                              \
            y[k] = x[i];                                                                                     \
            k += truth[i];                                                                                   \
        }                                                                                                    \
    }                                                                                                        \
    void HC_FN(mask_unpack_##size)(size_t n, void *dst, const void *src, const uint8_t *truth) {             \
        type *y = dst;                                                                                       \
        const type *x = src;                                                                                 \
        for (size_t i = 0, k = 0; i < n; i++) {                                                              \
            if (truth[i]) y[i] = x[k++];                                                                     \
        }                                                                                                    \
    }
FOR_SIZES(DEFINE)
#else
typedef mask_pack_1_fn mask_fn;
/* `src` and, for the inverse, `dst` are contiguous. */
struct job {
    char *dst, *src;
    size_t size;
    int64_t dst_stride; /* MaskedSelect's out may have gaps */
    mask_fn *kernel;
    hc_move_fn *move;
};
enum { WIDEST = 16 };

/* By the size of an element; the two kernels have one signature. */
static mask_fn *kernel_for(size_t size, bool pack) {
    static mask_fn *const *const TABLES[][2] = {
#define ROW(bytes, type) {mask_unpack_##bytes##_table, mask_pack_##bytes##_table},
        FOR_SIZES(ROW)
#undef ROW
    };
    return TABLES[hc_size_index(size)][pack][hc_isa()];
}

/* Packed on the stack first, as the kernel writes one element too many; then moved to where the block's
 * own begin. */
static void select_block(const void *ctx, const uint8_t *truth, size_t n, size_t first, int64_t at) {
    const struct job *j = ctx;
    _Alignas(64) char packed[HC_MASK_BLOCK * WIDEST];
    size_t count = 0;
    for (size_t i = 0; i < n; i++) count += truth[i];
    j->kernel(n, packed, j->src + first * j->size, truth);
    j->move(count, j->dst + at * j->dst_stride, j->dst_stride, packed, (int64_t)j->size);
}

/* The number of results is known only now, so the plan is a sync one and sets out's shape. */
static aclnnStatus run_select(const struct hc_call *call) {
    const aclTensor *out = hc_arg(call, 0), *self = hc_arg(call, 1), *mask = hc_arg(call, 2);
    aclTensor shape = {.numel = 1}, view, whole;
    void *copy = NULL;
    struct hc_mask_scan scan;
    hc_broadcast_shape(self, mask, shape.shape, &shape.rank);
    hc_broadcast_to(self, shape.shape, shape.rank, &view);
    aclnnStatus status = hc_mask_scan(call->name, mask, shape.shape, shape.rank, &scan);
    if (status == 0) {
        const int64_t count = scan.before[scan.blocks];
        if (count > out->numel) {
            status = hc_fail(ACLNN_ERR_PARAM_INVALID, "%s: out is %s, but %lld elements are selected",
                             call->name, HC_SHOW(out), (long long)count);
        } else {
            status = hc_contiguous_apart(&view, view.dtype, out, &whole, &copy);
        }
        if (status == 0) {
            const size_t size = (size_t)out->item_size;
            const struct job job = {
                hc_data(out),           hc_data(&whole),  size, out->stride[0] * out->item_size,
                kernel_for(size, true), hc_move_for(size)};
            hc_mask_for(&scan, select_block, &job);
            hc_set_view_shape(call, 0, &count, 1);
        }
    }
    hc_block_give(copy);
    hc_mask_release(&scan);
    return status;
}

/* torch.masked_select(self, mask). out is one line with room for what the mask may select; its length
 * becomes the number that was. Who launches waits, as that length decides what the client does next. */
HC_API aclnnStatus aclnnMaskedSelectGetWorkspaceSize(const aclTensor *self, const aclTensor *mask,
                                                     aclTensor *out, uint64_t *workspaceSize,
                                                     aclOpExecutor **executor) {
    HC_CHECK(self && mask && out, ACLNN_ERR_PARAM_NULLPTR, "aclnnMaskedSelect: %s is null",
             !self  ? "self"
             : mask ? "out"
                    : "mask");
    aclTensor shape = {.numel = 1};
    HC_CHECK(mask->dtype == ACL_BOOL || mask->dtype == ACL_UINT8, ACLNN_ERR_PARAM_INVALID,
             "aclnnMaskedSelect: mask is %s, wanted bool", HC_SHOW(mask));
    HC_CHECK(hc_broadcast_shape(self, mask, shape.shape, &shape.rank), ACLNN_ERR_PARAM_INVALID,
             "aclnnMaskedSelect: self %s and mask %s do not broadcast", HC_SHOW(self), HC_SHOW(mask));
    HC_CHECK(out->rank == 1 && out->dtype == self->dtype, ACLNN_ERR_PARAM_INVALID,
             "aclnnMaskedSelect: out is %s, wanted one dimension and self's dtype (%s)", HC_SHOW(out),
             HC_SHOW(self));
    const struct hc_operand operands[] = {HC_OUT(out), HC_IN(self), HC_IN(mask)};
    return hc_plan(&(const struct hc_plan){.name = "aclnnMaskedSelect",
                                           .run = run_select,
                                           .args = "",
                                           .args_size = 1,
                                           .operands = operands,
                                           .num_operands = HC_ARRAY_SIZE(operands),
                                           .sync = true},
                   workspaceSize, executor);
}
HC_OP_LAUNCH(aclnnMaskedSelect)

/* source from `at` on: as many elements as the blocks before have taken. */
static void scatter_block(const void *ctx, const uint8_t *truth, size_t n, size_t first, int64_t at) {
    const struct job *j = ctx;
    j->kernel(n, j->dst + first * j->size, j->src + at * (int64_t)j->size, truth);
}

/* Elements of source that no true element takes are left over; too few are an error before anything is
 * written. A strided self is filled in a contiguous copy. */
static aclnnStatus scatter(const struct hc_call *call, const struct hc_mask_scan *scan, const aclTensor *self,
                           const aclTensor *source) {
    const int64_t count = scan->before[scan->blocks];
    HC_CHECK(count <= source->numel, ACLNN_ERR_PARAM_INVALID,
             "%s: mask has %lld true elements, source %s has %lld", call->name, (long long)count,
             HC_SHOW(source), (long long)source->numel);
    aclTensor to, from;
    void *result, *copy;
    HC_TRY(hc_contiguous_apart(source, source->dtype, self, &from, &copy));
    aclnnStatus status = hc_contiguous(self, self->dtype, &to, &result);
    if (status == 0) {
        const size_t size = (size_t)self->item_size;
        const struct job job = {hc_data(&to), hc_data(&from), size, 0, kernel_for(size, false), NULL};
        hc_mask_for(scan, scatter_block, &job);
        if (result != NULL) status = hc_copy(self, &to);
        hc_block_give(result);
    }
    hc_block_give(copy);
    return status;
}

/* mask broadcast to self, counted, then used block by block. */
static aclnnStatus run_scatter(const struct hc_call *call) {
    const aclTensor *self = hc_arg(call, 0);
    struct hc_mask_scan scan;
    aclnnStatus status = hc_mask_scan(call->name, hc_arg(call, 1), self->shape, self->rank, &scan);
    if (status == 0) status = scatter(call, &scan, self, hc_arg(call, 2));
    hc_mask_release(&scan);
    return status;
}

/* self.masked_scatter_(mask, source): mask broadcasts to self, source is read in row-major order,
 * whatever its shape. */
HC_API aclnnStatus aclnnInplaceMaskedScatterGetWorkspaceSize(aclTensor *selfRef, const aclTensor *mask,
                                                             const aclTensor *source, uint64_t *workspaceSize,
                                                             aclOpExecutor **executor) {
    HC_CHECK(selfRef && mask && source, ACLNN_ERR_PARAM_NULLPTR, "aclnnInplaceMaskedScatter: %s is null",
             !selfRef ? "selfRef"
             : mask   ? "source"
                      : "mask");
    aclTensor view;
    HC_CHECK(mask->dtype == ACL_BOOL || mask->dtype == ACL_UINT8, ACLNN_ERR_PARAM_INVALID,
             "aclnnInplaceMaskedScatter: mask is %s, wanted bool", HC_SHOW(mask));
    HC_CHECK(hc_broadcast_to(mask, selfRef->shape, selfRef->rank, &view), ACLNN_ERR_PARAM_INVALID,
             "aclnnInplaceMaskedScatter: mask %s does not broadcast to selfRef %s", HC_SHOW(mask),
             HC_SHOW(selfRef));
    HC_CHECK(source->dtype == selfRef->dtype, ACLNN_ERR_PARAM_INVALID,
             "aclnnInplaceMaskedScatter: source is %s, selfRef is %s", HC_SHOW(source), HC_SHOW(selfRef));
    return HC_PLAN0("aclnnInplaceMaskedScatter", run_scatter, HC_INOUT(selfRef), HC_IN(mask), HC_IN(source));
}
HC_OP_LAUNCH(aclnnInplaceMaskedScatter)
#endif
