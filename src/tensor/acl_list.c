// SPDX-License-Identifier: Apache-2.0
/* Arrays of numbers are copied; lists of tensors and scalars own their members. */
#include <stdlib.h>
#include <string.h>

#include "hc_checked.h"
#include "hc_error.h"
#include "hc_tensor.h"

/* One allocation: the header and its elements behind it, so that destroying is one free. */
static void *create_array(const void *value, uint64_t size, size_t item, size_t header, const char *name) {
    if (size > 0 && value == NULL) {
        hc_fail(ACLNN_ERR_PARAM_NULLPTR, "%s: value is null, size %llu", name, (unsigned long long)size);
        hc_error_keep_creation();
        return NULL;
    }
    size_t bytes;
    char *memory = hc_bytes_behind_fit(header, size, item, &bytes) ? malloc(bytes) : NULL;
    if (memory == NULL) {
        hc_fail(ACLNN_ERR_INNER, "%s: out of host memory for %llu elements", name, (unsigned long long)size);
        hc_error_keep_creation();
        return NULL;
    }
    if (size > 0) memcpy(memory + header, value, (size_t)size * item);
    return memory;
}

/* One function per kind from one body: the kinds differ in their element's type and, by the interface, in
 * its const. */
#define DEFINE_ARRAY(kind, type, const_type)                                                                 \
    acl##kind *aclCreate##kind(const_type *value, uint64_t size) {                                           \
        acl##kind *a = create_array(value, size, sizeof(type), sizeof *a, "aclCreate" #kind);                \
        if (a != NULL) *a = (acl##kind){(size_t)size, (type *)(a + 1)};                                      \
        return a;                                                                                            \
    }
/* Numbers lie behind the header: one free. */
#define DEFINE_DESTROY(kind)                                                                                 \
    aclnnStatus aclDestroy##kind(const acl##kind *array) {                                                   \
        free((void *)array);                                                                                 \
        return ACLNN_SUCCESS;                                                                                \
    }
/* NULL is a list to destroy as good as any; a member may be NULL as well. */
#define DEFINE_DESTROY_OWNING(kind, destroy)                                                                 \
    aclnnStatus aclDestroy##kind(const acl##kind *array) {                                                   \
        for (size_t i = 0; array != NULL && i < array->size; i++) destroy(array->data[i]);                   \
        free((void *)array);                                                                                 \
        return ACLNN_SUCCESS;                                                                                \
    }

DEFINE_ARRAY(IntArray, int64_t, const int64_t)
DEFINE_ARRAY(FloatArray, float, const float)
DEFINE_ARRAY(BoolArray, bool, const bool)
DEFINE_ARRAY(TensorList, aclTensor *, const aclTensor *const)
DEFINE_ARRAY(ScalarList, aclScalar *, const aclScalar *const)
DEFINE_DESTROY(IntArray)
DEFINE_DESTROY(FloatArray)
DEFINE_DESTROY(BoolArray)
DEFINE_DESTROY_OWNING(TensorList, aclDestroyTensor)
DEFINE_DESTROY_OWNING(ScalarList, aclDestroyScalar)
