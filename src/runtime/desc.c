// SPDX-License-Identifier: Apache-2.0
/* Tensor descriptors and data buffers of the operator-by-name interface. */
#include "hc_desc.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "hc_checked.h"
#include "hc_error.h"

struct hc_pool hc_desc_pool = HC_POOL("tensor descriptor", 2048, 1 << 18);
struct hc_pool hc_buffer_pool = HC_POOL("data buffer", 64, 1 << 20);
static const size_t NO_RANK = (size_t)-2; /* one dimension of -2: the rank itself is unknown */

/* Getters that return no code answer as for an empty descriptor when the handle is stale. */
static bool ok(const aclTensorDesc *desc) { return hc_handle_ok(&hc_desc_pool, desc); }

/* 0 for types without a whole number of bytes per element, and for unknown ones. Its own list, not
 * hc_dtype_size: the interface asks for types too that no kernel here computes with (8-bit floats). */
size_t aclDataTypeSize(aclDataType dataType) {
    switch (dataType) {
    case ACL_INT8:
    case ACL_UINT8:
    case ACL_BOOL:
    case ACL_HIFLOAT8:
    case ACL_FLOAT8_E5M2:
    case ACL_FLOAT8_E4M3FN:
    case ACL_FLOAT8_E8M0: return 1;
    case ACL_FLOAT16:
    case ACL_BF16:
    case ACL_INT16:
    case ACL_UINT16: return 2;
    case ACL_FLOAT:
    case ACL_INT32:
    case ACL_UINT32:
    case ACL_COMPLEX32: return 4;
    case ACL_INT64:
    case ACL_UINT64:
    case ACL_DOUBLE:
    case ACL_COMPLEX64: return 8;
    case ACL_COMPLEX128: return 16;
    default: return 0;
    }
}

/* Dimensions are copied; -1 and -2 mean unknown. */
static bool set_shape(aclTensorDesc *d, int numDims, const int64_t *dims) {
    if (numDims < 0 || numDims > ACL_MAX_DIM_CNT || (numDims > 0 && dims == NULL)) return false;
    d->rank = (size_t)numDims;
    if (numDims > 0) memcpy(d->dims, dims, (size_t)numDims * sizeof *dims);
    return true;
}

aclTensorDesc *aclCreateTensorDesc(aclDataType dataType, int numDims, const int64_t *dims, aclFormat format) {
    aclTensorDesc *d = hc_handle_new(&hc_desc_pool);
    if (d == NULL) return NULL;
    if (!set_shape(d, numDims, dims)) {
        hc_handle_free(&hc_desc_pool, d);
        hc_fail(ACL_ERROR_INVALID_PARAM, "aclCreateTensorDesc: numDims is %d (0 to %d), dims is %p", numDims,
                ACL_MAX_DIM_CNT, (const void *)dims);
        return NULL;
    }
    d->dtype = dataType;
    d->format = d->origin_format = format;
    hc_handle_publish(&d->handle);
    return d;
}

/* NULL is allowed; a second destroy leaves an error text, as the function returns nothing. */
void aclDestroyTensorDesc(const aclTensorDesc *desc) {
    aclTensorDesc *d = (aclTensorDesc *)desc;
    if (d == NULL) return;
    if (!ok(d) || !hc_handle_retire(&d->handle)) {
        hc_handle_fail(&hc_desc_pool, desc, "aclDestroyTensorDesc");
        return;
    }
    free(d->constant);
    hc_handle_free(&hc_desc_pool, d);
}

#define CHECK_DESC(function)                                                                                 \
    if (!ok(desc)) return hc_handle_fail(&hc_desc_pool, desc, function)

aclDataType aclGetTensorDescType(const aclTensorDesc *desc) {
    return ok(desc) ? desc->dtype : ACL_DT_UNDEFINED;
}
aclFormat aclGetTensorDescFormat(const aclTensorDesc *desc) {
    return ok(desc) ? desc->format : ACL_FORMAT_UNDEFINED;
}
/* All ones but one when the rank itself is unknown, as the interface defines. */
size_t aclGetTensorDescNumDims(const aclTensorDesc *desc) {
    if (!ok(desc)) return 0;
    return desc->rank == 1 && desc->dims[0] == -2 ? NO_RANK : desc->rank;
}

/* Bytes of the tensor; 0 while a dimension is unknown. */
size_t aclGetTensorDescSize(const aclTensorDesc *desc) {
    if (!ok(desc)) return 0;
    size_t bytes = aclDataTypeSize(desc->dtype);
    for (size_t i = 0; i < desc->rank; i++) {
        if (desc->dims[i] < 0 || !hc_mul_fits(bytes, (size_t)desc->dims[i], &bytes)) return 0;
    }
    return bytes;
}

aclError aclGetTensorDescDimV2(const aclTensorDesc *desc, size_t index, int64_t *dimSize) {
    CHECK_DESC("aclGetTensorDescDimV2");
    HC_CHECK(dimSize != NULL, ACL_ERROR_INVALID_PARAM, "aclGetTensorDescDimV2: dimSize is null");
    HC_CHECK(index < desc->rank, ACL_ERROR_INVALID_PARAM,
             "aclGetTensorDescDimV2: index %zu, the tensor has %zu dimensions", index, desc->rank);
    *dimSize = desc->dims[index];
    return ACL_SUCCESS;
}

void aclSetTensorDescName(aclTensorDesc *desc, const char *name) {
    if (!ok(desc)) hc_handle_fail(&hc_desc_pool, desc, "aclSetTensorDescName");
    else snprintf(desc->name, sizeof desc->name, "%s", name != NULL ? name : "");
}

/* The storage format and shape, next to those of the tensor itself. */
aclError aclSetTensorFormat(aclTensorDesc *desc, aclFormat format) {
    CHECK_DESC("aclSetTensorFormat");
    desc->format = format;
    return ACL_SUCCESS;
}

aclError aclSetTensorShape(aclTensorDesc *desc, int numDims, const int64_t *dims) {
    CHECK_DESC("aclSetTensorShape");
    HC_CHECK(numDims >= 0 && numDims <= HC_DESC_STORAGE_DIMS && (numDims == 0 || dims != NULL),
             ACL_ERROR_INVALID_PARAM, "aclSetTensorShape: numDims is %d (0 to %d), dims is %p", numDims,
             HC_DESC_STORAGE_DIMS, (const void *)dims);
    desc->storage_rank = (size_t)numDims;
    if (numDims > 0) memcpy(desc->storage_dims, dims, (size_t)numDims * sizeof *dims);
    return ACL_SUCCESS;
}

/* Where the data lies: on the device, or on the host for small constant inputs. */
aclError aclSetTensorPlaceMent(aclTensorDesc *desc, aclMemType memType) {
    CHECK_DESC("aclSetTensorPlaceMent");
    HC_CHECK((unsigned)memType <= ACL_MEMTYPE_HOST_COMPILE_INDEPENDENT, ACL_ERROR_INVALID_PARAM,
             "aclSetTensorPlaceMent: there is no memory type %d", (int)memType);
    desc->placement = memType;
    return ACL_SUCCESS;
}

/* Keeps a copy: the value of an input that must be known when the operator is planned. */
aclError aclSetTensorConst(aclTensorDesc *desc, void *dataBuffer, size_t length) {
    CHECK_DESC("aclSetTensorConst");
    HC_CHECK(dataBuffer != NULL && length > 0, ACL_ERROR_INVALID_PARAM,
             "aclSetTensorConst: dataBuffer is %p, length is %zu", dataBuffer, length);
    void *copy = malloc(length);
    HC_CHECK(copy != NULL, ACL_ERROR_BAD_ALLOC, "aclSetTensorConst: out of host memory");
    memcpy(copy, dataBuffer, length);
    free(desc->constant);
    desc->constant = copy;
    desc->constant_bytes = length;
    return ACL_SUCCESS;
}

/* Remembers where the data is; owns nothing. */
aclDataBuffer *aclCreateDataBuffer(void *data, size_t size) {
    aclDataBuffer *b = hc_handle_new(&hc_buffer_pool);
    if (b == NULL) return NULL;
    b->data = data;
    b->size = size;
    hc_handle_publish(&b->handle);
    return b;
}

/* The data is the client's. */
aclError aclDestroyDataBuffer(const aclDataBuffer *dataBuffer) {
    aclDataBuffer *b = (aclDataBuffer *)dataBuffer;
    if (!hc_handle_ok(&hc_buffer_pool, b) || !hc_handle_retire(&b->handle)) {
        return hc_handle_fail(&hc_buffer_pool, b, "aclDestroyDataBuffer");
    }
    hc_handle_free(&hc_buffer_pool, b);
    return ACL_SUCCESS;
}

void *aclGetDataBufferAddr(const aclDataBuffer *dataBuffer) {
    return hc_handle_ok(&hc_buffer_pool, dataBuffer) ? dataBuffer->data : NULL;
}

/* For reuse with other data of any size. */
aclError aclUpdateDataBuffer(aclDataBuffer *dataBuffer, void *data, size_t size) {
    if (!hc_handle_ok(&hc_buffer_pool, dataBuffer))
        return hc_handle_fail(&hc_buffer_pool, dataBuffer, "aclUpdateDataBuffer");
    dataBuffer->data = data;
    dataBuffer->size = size;
    return ACL_SUCCESS;
}
