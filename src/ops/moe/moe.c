// SPDX-License-Identifier: Apache-2.0
/* See moe.h. Numbers are copied before they are looked at: the tensors are the caller's memory, which may
 * change while an operator runs. */
#include "moe.h"

#include <stdio.h>

/* rows, cols: negative means any. The wanted shape is made only where it is told. */
aclnnStatus hc_moe_check_matrix(const char *name, const char *arg, const aclTensor *t, int64_t rows,
                                int64_t cols) {
    char wanted[64];
    HC_CHECK(t != NULL, ACLNN_ERR_PARAM_NULLPTR, "%s: %s is null", name, arg);
    if (t->rank == 2 && (rows < 0 || t->shape[0] == rows) && (cols < 0 || t->shape[1] == cols)) return 0;
    int used = rows < 0 ? snprintf(wanted, sizeof wanted, "[any,")
                        : snprintf(wanted, sizeof wanted, "[%lld,", (long long)rows);
    if (cols < 0) snprintf(wanted + used, sizeof wanted - (size_t)used, "any]");
    else snprintf(wanted + used, sizeof wanted - (size_t)used, "%lld]", (long long)cols);
    return hc_fail(ACLNN_ERR_PARAM_INVALID, "%s: %s is %s, wanted %s", name, arg, HC_SHOW(t), wanted);
}

aclnnStatus hc_moe_check_floats(const char *name, const char *arg, const aclTensor *t, int64_t rows,
                                int64_t cols) {
    HC_TRY(hc_moe_check_matrix(name, arg, t, rows, cols));
    HC_CHECK(hc_dtype_is_float(t->dtype), ACLNN_ERR_PARAM_INVALID, "%s: %s is %s, wanted floating point",
             name, arg, HC_SHOW(t));
    return 0;
}

/* n: how many; negative means any. */
aclnnStatus hc_moe_check_numbers(const char *name, const char *arg, const aclTensor *t, int64_t n) {
    HC_CHECK(t != NULL, ACLNN_ERR_PARAM_NULLPTR, "%s: %s is null", name, arg);
    HC_CHECK(hc_dtype_class(t->dtype) == HC_CLASS_INT && (n < 0 || t->numel == n), ACLNN_ERR_PARAM_INVALID,
             "%s: %s is %s, wanted %lld integers", name, arg, HC_SHOW(t), (long long)n);
    return 0;
}

/* A routing map: one byte, 0 or not, for each token and expert. */
aclnnStatus hc_moe_check_map(const char *name, const char *arg, const aclTensor *t, int64_t rows,
                             int64_t cols) {
    HC_TRY(hc_moe_check_matrix(name, arg, t, rows, cols));
    HC_CHECK(t->item_size == 1 && !hc_dtype_is_float(t->dtype), ACLNN_ERR_PARAM_INVALID,
             "%s: %s is %s, wanted bool or int8", name, arg, HC_SHOW(t));
    return 0;
}

aclnnStatus hc_moe_read(const char *name, const char *arg, const aclTensor *t, int64_t lowest, int64_t bound,
                        int64_t *own) {
    const aclTensor copy = hc_tensor_view(ACL_INT64, t->shape, t->rank, own);
    HC_TRY(hc_copy(&copy, t));
    for (int64_t i = 0; i < t->numel; i++) {
        HC_CHECK(own[i] >= lowest && own[i] < bound, ACLNN_ERR_PARAM_INVALID,
                 "%s: index %lld at position [%lld] of %s is out of range: wanted %lld to %lld", name,
                 (long long)own[i], (long long)i, arg, (long long)lowest, (long long)bound - 1);
    }
    return 0;
}

aclnnStatus hc_moe_read_reals(const aclTensor *t, double *own) {
    const aclTensor copy = hc_tensor_view(ACL_DOUBLE, t->shape, t->rank, own);
    return hc_copy(&copy, t);
}

aclnnStatus hc_moe_write_reals(const aclTensor *t, const double *values) {
    const aclTensor view = hc_tensor_view(ACL_DOUBLE, t->shape, t->rank, (void *)(uintptr_t)values);
    return hc_copy(t, &view);
}

aclnnStatus hc_moe_write_numbers(const aclTensor *t, const int64_t *values) {
    const aclTensor view = hc_tensor_view(ACL_INT64, t->shape, t->rank, (void *)(uintptr_t)values);
    return hc_copy(t, &view);
}

void *hc_moe_take(const char *name, size_t n) {
    void *memory = hc_block_take_array(n, sizeof(int64_t));
    if (memory == NULL) hc_fail(ACLNN_ERR_INNER, "%s: out of host memory for %zu indices", name, n);
    return memory;
}

uint8_t *hc_moe_read_map(const char *name, const aclTensor *t) {
    uint8_t *map = hc_block_take_array(hc_numel(t), 1);
    if (map == NULL) hc_fail(ACLNN_ERR_INNER, "%s: out of host memory for %s", name, HC_SHOW(t));
    if (map == NULL) return NULL;
    const aclTensor copy = hc_tensor_view(ACL_BOOL, t->shape, t->rank, map);
    if (hc_copy(&copy, t) == 0) return map;
    hc_block_give(map);
    return NULL;
}
