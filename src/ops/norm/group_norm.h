// SPDX-License-Identifier: Apache-2.0
/* A tensor [N, C, ...] as group norms see it: rows of the C / group channels of a group, one after another.
 */
#pragma once
#include "norm.h"
#include "temporary.h"

#include <string.h>

/* x is [N, C, ...] of floating point, and C a multiple of group. */
static inline aclnnStatus hc_groups_check(const char *name, const aclTensor *x, int64_t group) {
    HC_CHECK(x != NULL, ACLNN_ERR_PARAM_NULLPTR, "%s: self (x, input) is null", name);
    HC_CHECK(x->rank >= 2 && hc_dtype_is_float(x->dtype), ACLNN_ERR_PARAM_INVALID,
             "%s: the input is %s, want a floating point tensor of 2 dimensions or more", name, HC_SHOW(x));
    HC_CHECK(group >= 1 && x->shape[1] % group == 0, ACLNN_ERR_PARAM_INVALID,
             "%s: %lld groups, the input is %s: want a divisor of its %lld channels", name, (long long)group,
             HC_SHOW(x), (long long)x->shape[1]);
    return 0;
}

/* What the interface passes as numbers is what the tensor has. */
static inline aclnnStatus hc_groups_check_sizes(const char *name, const aclTensor *x, int64_t n, int64_t c,
                                                int64_t hw) {
    HC_CHECK(x->shape[0] == n && x->shape[1] == c && (n == 0 || c == 0 || x->numel / n / c == hw),
             ACLNN_ERR_PARAM_INVALID, "%s: N, C and HxW are %lld, %lld and %lld, the input is %s", name,
             (long long)n, (long long)c, (long long)hw, HC_SHOW(x));
    return 0;
}

/* t, if given, has `count` floating point elements. */
static inline aclnnStatus hc_groups_check_count(const char *name, const char *arg, const aclTensor *t,
                                                int64_t count) {
    HC_CHECK(t == NULL || (t->numel == count && hc_dtype_is_float(t->dtype)), ACLNN_ERR_PARAM_INVALID,
             "%s: %s is %s, want %lld floating point elements", name, arg, HC_SHOW(t), (long long)count);
    return 0;
}

/* Of a contiguous tensor: row r is group r % group of item r / group. */
static inline aclTensor hc_groups_rows(const aclTensor *x, int64_t group) {
    const int64_t rows = x->shape[0] * group, sizes[] = {rows, rows == 0 ? 0 : x->numel / rows};
    return hc_tensor_view(x->dtype, sizes, 2, hc_data(x));
}

/* Channels are the second dimension. */
static inline aclnnStatus hc_groups_check_format(const char *name, const char *format) {
    HC_CHECK(format == NULL || strcmp(format, "NCHW") == 0, ACLNN_ERR_PARAM_INVALID,
             "%s: dataFormatOptional is %s, want NCHW", name, format);
    return 0;
}
