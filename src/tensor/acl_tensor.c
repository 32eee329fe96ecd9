// SPDX-License-Identifier: Apache-2.0
/* Creation, destruction and inspection of aclTensor. Everything the caller passes is copied. */
#include <stdlib.h>
#include <string.h>

#include "hc_error.h"
#include "hc_tensor.h"

/* A type without kernels passes: clients describe such tensors only to ask about them, and a plan refuses
 * it by name. */
static int check_create(const int64_t *dims, uint64_t rank) {
    HC_CHECK(rank <= HC_MAX_RANK, ACLNN_ERR_PARAM_INVALID,
             "aclCreateTensor: %llu dimensions, at most %d are supported", (unsigned long long)rank,
             HC_MAX_RANK);
    HC_CHECK(rank == 0 || dims != NULL, ACLNN_ERR_PARAM_NULLPTR, "aclCreateTensor: viewDims is null");
    for (uint64_t i = 0; i < rank; i++) {
        HC_CHECK(dims[i] >= 0, ACLNN_ERR_PARAM_INVALID, "aclCreateTensor: dimension %d is %lld", (int)i,
                 (long long)dims[i]);
    }
    return 0;
}

/* NULL strides mean row-major without gaps. */
static void fill_strides(aclTensor *t, const int64_t *strides) {
    int64_t running = 1;
    for (int32_t i = t->rank - 1; i >= 0; i--) {
        t->stride[i] = strides ? strides[i] : running;
        running *= t->shape[i];
    }
}

/* Runs for each operand of each operator, so the only cost is one malloc of 304 bytes. storageDims say how
 * much memory is behind tensorData; the view (shape, strides, offset) is trusted to stay within it. */
aclTensor *aclCreateTensor(const int64_t *viewDims, uint64_t viewDimsNum, aclDataType dataType,
                           const int64_t *stride, int64_t offset, aclFormat format,
                           const int64_t *storageDims, uint64_t storageDimsNum, void *tensorData) {
    if (check_create(viewDims, viewDimsNum) != 0) return NULL;
    aclTensor *t = malloc(sizeof *t);
    if (t == NULL) {
        hc_fail(ACLNN_ERR_INNER, "aclCreateTensor: out of host memory");
        return NULL;
    }
    t->base = tensorData;
    t->offset = offset;
    t->dtype = dataType;
    t->format = format;
    t->rank = (int32_t)viewDimsNum;
    t->item_size = (int32_t)hc_dtype_size(dataType);
    t->numel = 1;
    for (int32_t i = 0; i < t->rank; i++) {
        t->shape[i] = viewDims[i];
        t->numel *= viewDims[i];
    }
    fill_strides(t, stride);
    t->storage_numel = 1;
    for (uint64_t i = 0; i < storageDimsNum && storageDims != NULL; i++) t->storage_numel *= storageDims[i];
    return t;
}

/* Only the descriptor: plans have copied it, memory is the client's. */
aclnnStatus aclDestroyTensor(const aclTensor *tensor) {
    free((void *)tensor);
    return ACLNN_SUCCESS;
}

/* The array belongs to the caller, who frees it with C++ delete[]; glibc's is free(). */
aclnnStatus aclGetViewShape(const aclTensor *tensor, int64_t **viewDims, uint64_t *viewDimsNum) {
    HC_CHECK(tensor && viewDims && viewDimsNum, ACLNN_ERR_PARAM_NULLPTR, "aclGetViewShape: null argument");
    const size_t rank = (size_t)tensor->rank;
    int64_t *copy = malloc(hc_max_size(rank, 1) * sizeof *copy);
    HC_CHECK(copy != NULL, ACLNN_ERR_INNER, "aclGetViewShape: out of host memory");
    memcpy(copy, tensor->shape, rank * sizeof *copy);
    *viewDims = copy;
    *viewDimsNum = rank;
    return ACLNN_SUCCESS;
}
