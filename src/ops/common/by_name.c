// SPDX-License-Identifier: Apache-2.0
/* Descriptors and buffers of an operator by name become tensors and lists. Everything is checked here that
 * holds for any operator: known shapes, sizes that do not overflow, buffers that hold what the descriptors
 * say. */
#include "by_name.h"

#include <string.h>

#include "hc_desc.h"
#include "hc_launch.h"

/* Formats that only name the dimensions. The others are tilings of the NPU's memory. */
static bool is_plain(aclFormat format) {
    switch (format) {
    case ACL_FORMAT_UNDEFINED:
    case ACL_FORMAT_ND:
    case ACL_FORMAT_NC:
    case ACL_FORMAT_NCL:
    case ACL_FORMAT_NCHW:
    case ACL_FORMAT_NHWC:
    case ACL_FORMAT_HWCN:
    case ACL_FORMAT_NCDHW:
    case ACL_FORMAT_NDHWC: return true;
    default: return false;
    }
}

/* All dimensions must be known, and multiply to a number of bytes that there is also where one of them is 0.
 */
static aclnnStatus check_shape(const char *name, const aclTensorDesc *d, size_t item_size) {
    HC_CHECK(d->rank <= HC_MAX_RANK, ACL_ERROR_INVALID_PARAM,
             "%s has %zu dimensions, at most %d are supported", name, d->rank, HC_MAX_RANK);
    int64_t bytes = (int64_t)item_size;
    for (size_t i = 0; i < d->rank; i++) {
        const int64_t n = d->dims[i];
        HC_CHECK(n >= 0, ACL_ERROR_INVALID_PARAM,
                 "dimension %zu of %s is %lld: shapes must be known when an operator is launched", i, name,
                 (long long)n);
        HC_CHECK(hc_mul_i64_fits(bytes, hc_max_i64(n, 1), &bytes), ACL_ERROR_INVALID_PARAM,
                 "%s has more than 2^63 bytes with dimension %zu, which is %lld", name, i, (long long)n);
    }
    return 0;
}

aclTensor hc_by_name_shaped(const aclTensor *t, const int64_t *shape, int32_t rank) {
    aclTensor shaped = hc_tensor_view(t->dtype, shape, rank, t->base);
    shaped.item_size = t->item_size;
    shaped.storage_numel = t->storage_numel;
    return shaped;
}

/* A contiguous tensor of the descriptor's dimensions at the buffer's address. Sizes are the interface's own,
 * so that operators which only move elements have types too that nothing here computes with (8-bit floats).
 */
static aclnnStatus read_tensor(const char *name, const aclTensorDesc *d, const aclDataBuffer *b,
                               aclTensor *t) {
    const size_t item_size = aclDataTypeSize(d->dtype);
    HC_CHECK(item_size > 0, ACL_ERROR_INVALID_PARAM, "%s has element type %s, which is not supported", name,
             hc_dtype_name(d->dtype));
    HC_CHECK(is_plain(d->format), ACL_ERROR_INVALID_PARAM,
             "%s has storage format %d, a private one of the NPU, which virtual NPUs do not have", name,
             (int)d->format);
    HC_TRY(check_shape(name, d, item_size));
    const aclTensor buffer = {.base = b->data,
                              .dtype = d->dtype,
                              .item_size = (int32_t)item_size,
                              .storage_numel = (int64_t)(b->size / item_size)};
    *t = hc_by_name_shaped(&buffer, d->dims, (int32_t)d->rank);
    HC_CHECK(t->numel == 0 || b->data != NULL, ACL_ERROR_INVALID_PARAM, "%s is %s but has no memory", name,
             HC_SHOW(t));
    HC_CHECK(t->numel <= t->storage_numel, ACL_ERROR_INVALID_PARAM,
             "%s is %s, %lld bytes, but its buffer has %zu", name, HC_SHOW(t),
             (long long)(t->numel * t->item_size), b->size);
    return 0;
}

/* A list lies on the host, or in the descriptor (aclSetTensorConst); one on the device is there when what is
 * queued in front has run. */
static aclnnStatus read_list(const char *name, const aclTensorDesc *d, const aclDataBuffer *b,
                             aclrtStream stream, struct hc_by_name_list *list) {
    HC_CHECK(d->dtype == ACL_INT64 || d->dtype == ACL_INT32, ACL_ERROR_INVALID_PARAM,
             "%s has element type %s, must be int64 or int32", name, hc_dtype_name(d->dtype));
    const bool constant = d->constant != NULL;
    const aclDataBuffer in_desc = {.data = d->constant, .size = d->constant_bytes};
    aclTensor t;
    HC_TRY(read_tensor(name, d, constant ? &in_desc : b, &t));
    HC_CHECK(t.rank <= 1 && t.numel <= HC_MAX_RANK, ACL_ERROR_INVALID_PARAM,
             "%s is %s, must be a list of at most %d numbers", name, HC_SHOW(&t), HC_MAX_RANK);
    if (!constant && d->placement == ACL_MEMTYPE_DEVICE) HC_TRY(hc_launch_wait(stream));
    list->count = hc_numel(&t);
    for (size_t i = 0; i < list->count; i++) {
        list->values[i] = t.dtype == ACL_INT64 ? ((const int64_t *)t.base)[i] : ((const int32_t *)t.base)[i];
    }
    return 0;
}

/* The executor is the stream's from here on. Its tasks carry the operator's own name. */
aclnnStatus hc_by_name_launch(const struct hc_by_name *op, const struct hc_by_name_request *r) {
    struct hc_by_name_call call = {.op = op, .attr = r->attr};
    for (int i = 0; i < HC_BY_NAME_INPUTS && op->inputs[i].name != NULL; i++) {
        const char *name = op->inputs[i].name;
        if (op->inputs[i].list)
            HC_TRY(read_list(name, r->input_desc[i], r->inputs[i], r->stream, &call.list[i]));
        else HC_TRY(read_tensor(name, r->input_desc[i], r->inputs[i], &call.in[i]));
    }
    for (int i = 0; i < HC_BY_NAME_OUTPUTS && op->outputs[i] != NULL; i++) {
        HC_TRY(read_tensor(op->outputs[i], r->output_desc[i], r->outputs[i], &call.out[i]));
    }
    uint64_t workspace;
    aclOpExecutor *executor;
    HC_TRY(op->plan(&call, &workspace, &executor));
    return hc_op_launch(executor, NULL, workspace, r->stream);
}
