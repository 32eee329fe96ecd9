// SPDX-License-Identifier: Apache-2.0
/* selfRef = value where mask is true; mask broadcasts, value is a scalar or a tensor of one element. Elements
 * keep their bits: nothing is converted. */
#include "strided.h"
#include "temporary.h"

#define FOR_SIZES(X) X(1, uint8_t) X(2, uint16_t) X(4, uint32_t) X(8, uint64_t) X(16, struct wide)
#define PARAMS                                                                                               \
    (size_t n, void *dst, int64_t dst_stride, const uint8_t *mask, int64_t mask_stride, const void *value)
#define DECLARE(size, type) HC_KERNEL(masked_fill_##size, PARAMS)
FOR_SIZES(DECLARE)

#ifdef HC_ISA
struct wide {
    uint64_t low, high;
};

/* The contiguous form is a select, which vectorises; elements that keep their value are written too,
 * which is safe, as no other thread has them. */
#define DEFINE(size, type)                                                                                   \
    void HC_FN(masked_fill_##size) PARAMS {                                                                  \
        const type v = *(const type *)value;                                                                 \
        if (dst_stride == size && mask_stride == 1) {                                                        \
            type *y = dst;                                                                                   \
            _Pragma("GCC ivdep") for (size_t i = 0; i < n; i++) y[i] = mask[i] ? v : y[i];                   \
            return;                                                                                          \
        }                                                                                                    \
        char *y = dst;                                                                                       \
        for (size_t i = 0; i < n; i++, y += dst_stride, mask += mask_stride) {                               \
            if (*mask) *(type *)y = v;                                                                       \
        }                                                                                                    \
    }
FOR_SIZES(DEFINE)
#else
typedef masked_fill_1_fn fill_fn;
/* Shared by all runs. */
struct job {
    fill_fn *fill;
    const void *value;
};

/* Runs of both views: an element may be of any stride, and so may its truth value. */
static void fill_run(const void *ctx, size_t n, char *const *data, const int64_t *stride) {
    const struct job *j = ctx;
    j->fill(n, data[0], stride[0], (const uint8_t *)data[1], stride[1], j->value);
}

/* By the size of an element alone, so one kernel serves all dtypes of that size. O(elements of self): the
 * mask is read as it is, broadcast by strides of 0, never expanded. */
static void fill_where(const aclTensor *self, const aclTensor *mask, const struct hc_element *value) {
    static fill_fn *const *const TABLES[] = {masked_fill_1_table, masked_fill_2_table, masked_fill_4_table,
                                             masked_fill_8_table, masked_fill_16_table};
    if (self->numel == 0) return;
    aclTensor view;
    hc_broadcast_to(mask, self->shape, self->rank, &view);
    const struct job job = {TABLES[hc_size_index((size_t)self->item_size)][hc_isa()], value};
    struct hc_strided s;
    hc_strided_init(&s, (const aclTensor *[]){self, &view}, 2);
    hc_strided_for(&s, 2 * (size_t)self->item_size, fill_run, &job);
}

static aclnnStatus run_scalar(const struct hc_call *call) {
    fill_where(hc_arg(call, 0), hc_arg(call, 1), call->args);
    return 0;
}

/* The value lies in device memory: read, and converted, in the run. */
static aclnnStatus run_tensor(const struct hc_call *call) {
    const aclTensor *self = hc_arg(call, 0);
    struct hc_element value;
    const aclTensor to = hc_tensor_view(self->dtype, NULL, 0, value.bytes);
    aclTensor from = *hc_arg(call, 2);
    from.rank = 0;
    HC_TRY(hc_copy(&to, &from));
    fill_where(self, hc_arg(call, 1), &value);
    return 0;
}

/* bool or uint8; anything not zero is true. */
static aclnnStatus check(const char *name, const aclTensor *self, const aclTensor *mask) {
    aclTensor view;
    HC_CHECK(self && mask, ACLNN_ERR_PARAM_NULLPTR, "%s: %s is null", name, self ? "mask" : "selfRef");
    HC_CHECK(mask->dtype == ACL_BOOL || mask->dtype == ACL_UINT8, ACLNN_ERR_PARAM_INVALID,
             "%s: mask is %s, wanted bool", name, HC_SHOW(mask));
    HC_CHECK(hc_broadcast_to(mask, self->shape, self->rank, &view), ACLNN_ERR_PARAM_INVALID,
             "%s: mask %s does not broadcast to selfRef %s", name, HC_SHOW(mask), HC_SHOW(self));
    HC_CHECK(self->item_size > 0, ACLNN_ERR_PARAM_INVALID, "%s: selfRef is %s, not supported", name,
             HC_SHOW(self));
    return 0;
}

/* self.masked_fill_(mask, value) for a number, converted to self's type when planned. */
HC_API aclnnStatus aclnnInplaceMaskedFillScalarGetWorkspaceSize(aclTensor *selfRef, const aclTensor *mask,
                                                                const aclScalar *value,
                                                                uint64_t *workspaceSize,
                                                                aclOpExecutor **executor) {
    HC_TRY(check("aclnnInplaceMaskedFillScalar", selfRef, mask));
    HC_CHECK(value != NULL, ACLNN_ERR_PARAM_NULLPTR, "aclnnInplaceMaskedFillScalar: value is null");
    const struct hc_element element = hc_scalar_element(value, selfRef->dtype);
    return HC_PLAN("aclnnInplaceMaskedFillScalar", run_scalar, &element, HC_INOUT(selfRef), HC_IN(mask));
}
HC_OP_LAUNCH(aclnnInplaceMaskedFillScalar)

/* The same with the value in a tensor of one element of any dtype and rank. */
HC_API aclnnStatus aclnnInplaceMaskedFillTensorGetWorkspaceSize(aclTensor *selfRef, const aclTensor *mask,
                                                                const aclTensor *value,
                                                                uint64_t *workspaceSize,
                                                                aclOpExecutor **executor) {
    HC_TRY(check("aclnnInplaceMaskedFillTensor", selfRef, mask));
    HC_CHECK(value != NULL, ACLNN_ERR_PARAM_NULLPTR, "aclnnInplaceMaskedFillTensor: value is null");
    HC_CHECK(value->numel == 1, ACLNN_ERR_PARAM_INVALID,
             "aclnnInplaceMaskedFillTensor: value is %s, wanted one element", HC_SHOW(value));
    return HC_PLAN0("aclnnInplaceMaskedFillTensor", run_tensor, HC_INOUT(selfRef), HC_IN(mask), HC_IN(value));
}
HC_OP_LAUNCH(aclnnInplaceMaskedFillTensor)
#endif
