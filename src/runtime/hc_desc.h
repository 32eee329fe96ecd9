// SPDX-License-Identifier: Apache-2.0
/* Descriptors of the operator-by-name interface (hc_by_name.h). */
#pragma once
#include "acl/acl.h"
#include "hc_handle.h"

enum { HC_DESC_STORAGE_DIMS = 32 };

/* `dims` are the tensor's, `storage_dims` those of a private layout of the hardware; -1 and -2 are
 * unknown ones. */
struct aclTensorDesc {
    struct hc_handle handle;
    aclDataType dtype;
    aclFormat format, origin_format;
    aclMemType placement;
    size_t rank, storage_rank;
    int64_t dims[ACL_MAX_DIM_CNT], storage_dims[HC_DESC_STORAGE_DIMS];
    char name[ACL_MAX_TENSOR_NAME_LEN];
    void *constant;
    size_t constant_bytes;
};

struct aclDataBuffer {
    struct hc_handle handle;
    void *data;
    size_t size;
};

extern struct hc_pool hc_desc_pool, hc_buffer_pool;
_Static_assert(sizeof(struct aclTensorDesc) <= 2048 && sizeof(struct aclDataBuffer) <= 64, "slot sizes");
