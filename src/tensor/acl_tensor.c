// SPDX-License-Identifier: Apache-2.0
/* Creation, destruction and inspection of aclTensor. Everything the caller passes is copied.
 *
 * Creation is where a tensor is checked, once for all operators: what passes has sizes, strides and an offset
 * whose sums and products are numbers of bytes that fit (HC_MAX_NUMEL), and lies within its storage. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "hc_checked.h"
#include "hc_error.h"
#include "hc_tensor.h"

/* "[2,3]", cut where the buffer ends. */
static const char *show(const int64_t *numbers, uint64_t count, char *text, size_t room) {
    size_t used = (size_t)snprintf(text, room, "[");
    for (uint64_t i = 0; i < count && used + 24 < room; i++)
        used += (size_t)snprintf(text + used, room - used, i > 0 ? ",%lld" : "%lld", (long long)numbers[i]);
    snprintf(text + used, room - used, "]");
    return text;
}
#define SHOW(numbers, count) show((numbers), (count), (char[HC_DESCRIBE_BYTES]){0}, HC_DESCRIBE_BYTES)

/* A type without kernels passes: clients describe such tensors only to ask about them, and a plan refuses
 * it by name. Dimensions of size 0 count 1, so that no part of the shape has too many elements either. */
static int check_dims(const char *what, const int64_t *dims, uint64_t rank) {
    int64_t total = 1;
    HC_CHECK(rank == 0 || dims != NULL, ACLNN_ERR_PARAM_NULLPTR, "aclCreateTensor: %s is null", what);
    for (uint64_t i = 0; i < rank; i++) {
        HC_CHECK(dims[i] >= 0, ACLNN_ERR_PARAM_INVALID, "aclCreateTensor: %s[%llu] is %lld", what,
                 (unsigned long long)i, (long long)dims[i]);
        HC_CHECK(hc_mul_i64_fits(total, hc_max_i64(dims[i], 1), &total) && total <= HC_MAX_NUMEL,
                 ACLNN_ERR_PARAM_INVALID, "aclCreateTensor: %s is %s, at most 2^48 elements are supported",
                 what, SHOW(dims, rank));
    }
    return 0;
}

static int64_t product(const int64_t *dims, uint64_t rank) {
    int64_t total = 1;
    for (uint64_t i = 0; i < rank; i++) total *= dims[i];
    return total;
}

/* NULL strides mean row-major without gaps. So do those that are never stepped over, in case they are numbers
 * that nothing could be multiplied with. */
static void fill_strides(aclTensor *t, const int64_t *strides) {
    int64_t running = 1;
    for (int32_t i = t->rank - 1; i >= 0; i--) {
        const bool idle = t->numel == 0 || t->shape[i] == 1;
        const bool usable =
            strides != NULL && (!idle || (strides[i] >= -HC_MAX_NUMEL && strides[i] <= HC_MAX_NUMEL));
        t->stride[i] = usable ? strides[i] : running;
        running *= hc_max_i64(t->shape[i], 1);
    }
}

/* All elements lie in the storage, or, where the caller does not say how large that is, in memory that can
 * exist. An empty tensor is nowhere, whatever its offset. */
static int check_place(aclTensor *t) {
    int64_t low = t->offset, high = t->offset, reach;
    bool fits = true;
    if (t->numel == 0) {
        t->offset = 0;
        return 0;
    }
    for (int32_t i = 0; i < t->rank && fits; i++) {
        fits = hc_mul_i64_fits(t->stride[i], t->shape[i] - 1, &reach) &&
               (reach < 0 ? hc_add_i64_fits(low, reach, &low) : hc_add_i64_fits(high, reach, &high));
    }
    HC_CHECK(fits && low >= 0 && high < t->storage_numel, ACLNN_ERR_PARAM_INVALID,
             "aclCreateTensor: viewDims %s with stride %s and offset %lld reach beyond the storage of %lld "
             "elements",
             SHOW(t->shape, (uint64_t)t->rank), SHOW(t->stride, (uint64_t)t->rank), (long long)t->offset,
             (long long)t->storage_numel);
    HC_CHECK(hc_memory_possible(t->base, (size_t)(high + 1) * (size_t)t->item_size), ACLNN_ERR_PARAM_INVALID,
             "aclCreateTensor: tensorData %p with %lld elements ends behind the address space",
             (void *)t->base, (long long)(high + 1));
    return 0;
}

static int check_rank(const int64_t *dims, uint64_t rank) {
    HC_CHECK(rank <= HC_MAX_RANK, ACLNN_ERR_PARAM_INVALID,
             "aclCreateTensor: viewDims %s has %llu dimensions, at most %d are supported",
             dims != NULL ? SHOW(dims, hc_min_size(rank, 64)) : "null", (unsigned long long)rank,
             HC_MAX_RANK);
    return check_dims("viewDims", dims, rank);
}

/* Runs for each operand of each operator, so the only cost is one malloc of 304 bytes. storageDims say how
 * much memory is behind tensorData; without them the view is only known to be possible. */
aclTensor *aclCreateTensor(const int64_t *viewDims, uint64_t viewDimsNum, aclDataType dataType,
                           const int64_t *stride, int64_t offset, aclFormat format,
                           const int64_t *storageDims, uint64_t storageDimsNum, void *tensorData) {
    if (check_rank(viewDims, viewDimsNum) != 0 ||
        (storageDims != NULL && check_dims("storageDims", storageDims, storageDimsNum) != 0)) {
        hc_error_keep_creation();
        return NULL;
    }
    aclTensor *t = malloc(sizeof *t);
    if (t == NULL) {
        hc_fail(ACLNN_ERR_INNER, "aclCreateTensor: out of host memory");
        hc_error_keep_creation();
        return NULL;
    }
    t->base = tensorData;
    t->offset = offset;
    t->dtype = dataType;
    t->format = format;
    t->rank = (int32_t)viewDimsNum;
    t->item_size = (int32_t)hc_dtype_size(dataType);
    if (viewDimsNum > 0) memcpy(t->shape, viewDims, viewDimsNum * sizeof *viewDims);
    t->numel = product(viewDims, viewDimsNum);
    t->storage_numel =
        storageDims != NULL && storageDimsNum > 0 ? product(storageDims, storageDimsNum) : HC_MAX_NUMEL;
    fill_strides(t, stride);
    if (check_place(t) != 0) {
        hc_error_keep_creation();
        free(t);
        return NULL;
    }
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
