// SPDX-License-Identifier: Apache-2.0
/* Many copies in one call. Attribute i describes copies attrsIndexes[i] to attrsIndexes[i + 1] - 1 (the last
 * one: to the end): where source and destination lie, which gives the kind. All are checked before the first
 * one starts. */
#include "hc_copy.h"
#include "hc_error.h"

struct batch {
    void **dsts, **srcs;
    size_t *destMaxs, *sizes, count;
    const aclrtMemcpyBatchAttr *attrs;
    const size_t *indexes;
    size_t num_attrs;
};

/* Pinned and pageable host memory are the same here. */
static bool on_device(const aclrtMemLocation *location) {
    return location->type == ACL_MEM_LOCATION_TYPE_DEVICE;
}

/* The last attribute whose index is not above the copy's. */
static aclrtMemcpyKind kind_of(const struct batch *b, size_t copy) {
    size_t a = 0;
    while (a + 1 < b->num_attrs && b->indexes[a + 1] <= copy) a++;
    const bool from = on_device(&b->attrs[a].srcLoc), to = on_device(&b->attrs[a].dstLoc);
    if (from) return to ? ACL_MEMCPY_DEVICE_TO_DEVICE : ACL_MEMCPY_DEVICE_TO_HOST;
    return to ? ACL_MEMCPY_HOST_TO_DEVICE : ACL_MEMCPY_HOST_TO_HOST;
}

/* *failIndex says which copy is wrong; SIZE_MAX when the arrays themselves are. */
static aclError check(const struct batch *b, size_t *failIndex, const char *function) {
    HC_CHECK(b->dsts && b->srcs && b->destMaxs && b->sizes && b->attrs && b->indexes && b->count > 0 &&
                 b->num_attrs > 0,
             ACL_ERROR_RT_PARAM_INVALID, "%s: null argument, or nothing to copy", function);
    HC_CHECK(b->indexes[0] == 0, ACL_ERROR_RT_PARAM_INVALID, "%s: attrsIndexes[0] is %zu, must be 0",
             function, b->indexes[0]);
    for (size_t i = 1; i < b->num_attrs; i++) {
        HC_CHECK(b->indexes[i] > b->indexes[i - 1] && b->indexes[i] < b->count, ACL_ERROR_RT_PARAM_INVALID,
                 "%s: attrsIndexes[%zu] is %zu: must grow and be below %zu", function, i, b->indexes[i],
                 b->count);
    }
    for (size_t i = 0; i < b->count; i++) {
        const aclError code =
            hc_copy_check(function, b->dsts[i], b->destMaxs[i], b->srcs[i], b->sizes[i], kind_of(b, i));
        if (code != 0 && failIndex != NULL) *failIndex = i;
        if (code != 0) return code;
    }
    return ACL_SUCCESS;
}

/* Stops at the first copy that fails; after the check none does. */
aclError aclrtMemcpyBatch(void **dsts, size_t *destMaxs, void **srcs, size_t *sizes, size_t numBatches,
                          aclrtMemcpyBatchAttr *attrs, size_t *attrsIndexes, size_t numAttrs,
                          size_t *failIndex) {
    const struct batch b = {dsts, srcs, destMaxs, sizes, numBatches, attrs, attrsIndexes, numAttrs};
    if (failIndex != NULL) *failIndex = SIZE_MAX;
    HC_TRY(check(&b, failIndex, "aclrtMemcpyBatch"));
    for (size_t i = 0; i < numBatches; i++) HC_TRY(hc_copy_now(dsts[i], srcs[i], sizes[i], kind_of(&b, i)));
    return ACL_SUCCESS;
}

/* Each copy is a task of its own, in order. The arrays may go as soon as the call returns. */
aclError aclrtMemcpyBatchAsync(void **dsts, size_t *destMaxs, void **srcs, size_t *sizes, size_t numBatches,
                               aclrtMemcpyBatchAttr *attrs, size_t *attrsIndexes, size_t numAttrs,
                               size_t *failIndex, aclrtStream stream) {
    const struct batch b = {dsts, srcs, destMaxs, sizes, numBatches, attrs, attrsIndexes, numAttrs};
    if (failIndex != NULL) *failIndex = SIZE_MAX;
    HC_TRY(check(&b, failIndex, "aclrtMemcpyBatchAsync"));
    for (size_t i = 0; i < numBatches; i++) {
        if (sizes[i] > 0) HC_TRY(hc_copy_enqueue(dsts[i], srcs[i], sizes[i], kind_of(&b, i), stream));
    }
    return ACL_SUCCESS;
}
