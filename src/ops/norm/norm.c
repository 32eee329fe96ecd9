// SPDX-License-Identifier: Apache-2.0
/* The checks of norm.h. Weights must have the normalised shape itself: broadcasting one would hide a
 * mistake. */
#include "norm.h"
#include "messages.h"

#include <string.h>

/* A mask of the last bits; the shape is compared so that a message can name both. */
aclnnStatus hc_norm_mask(const char *name, const aclTensor *x, const int64_t *shape, size_t rank,
                         uint32_t *mask) {
    HC_CHECK(hc_dtype_is_float(x->dtype), ACLNN_ERR_PARAM_INVALID, "%s: %s is %s, want a floating point type",
             name, hc_tensor_name(name, 0), HC_SHOW(x));
    HC_CHECK(rank >= 1 && rank <= HC_MAX_RANK && (int32_t)rank <= x->rank, ACLNN_ERR_PARAM_INVALID,
             "%s: the normalised shape has %zu dimensions, input is %s: want 1 to as many as it has", name,
             rank, HC_SHOW(x));
    const size_t kept = (size_t)x->rank - rank;
    const aclTensor want = hc_tensor_view(x->dtype, shape, (int32_t)rank, NULL);
    HC_CHECK(memcmp(x->shape + kept, shape, rank * sizeof *shape) == 0, ACLNN_ERR_PARAM_INVALID,
             "%s: the last dimensions of input %s are not the normalised shape %s, want the same", name,
             HC_SHOW(x), HC_SHOW(&want));
    *mask = ((1u << rank) - 1) << kept;
    return 0;
}

aclnnStatus hc_norm_check_same(const char *name, const aclTensor *x, const char *arg, const aclTensor *t) {
    HC_CHECK(t != NULL, ACLNN_ERR_PARAM_NULLPTR, "%s: %s is null", name, arg);
    HC_CHECK(hc_same_shape(x, t) && hc_dtype_is_float(t->dtype), ACLNN_ERR_PARAM_INVALID,
             "%s: %s is %s, want a floating point tensor of the shape of %s", name, arg, HC_SHOW(t),
             HC_SHOW(x));
    return 0;
}

aclnnStatus hc_norm_check_shared(const char *name, const char *arg, const aclTensor *t, const int64_t *shape,
                                 size_t rank) {
    if (t == NULL) return 0;
    const aclTensor want = hc_tensor_view(t->dtype, shape, (int32_t)rank, NULL);
    HC_CHECK(hc_same_shape(t, &want) && hc_dtype_is_float(t->dtype), ACLNN_ERR_PARAM_INVALID,
             "%s: %s is %s, want a floating point tensor of the normalised shape %s", name, arg, HC_SHOW(t),
             HC_SHOW(&want));
    return 0;
}

/* By number only: callers give [N, 1] or [N] for a row's value. */
aclnnStatus hc_norm_check_rows(const char *name, const char *arg, const aclTensor *t, const aclTensor *x,
                               uint32_t mask) {
    if (t == NULL) return 0;
    int64_t rows = 1;
    for (int32_t d = 0; d < x->rank; d++) rows *= mask >> d & 1 ? 1 : x->shape[d];
    HC_CHECK(t->numel == rows && hc_dtype_is_float(t->dtype), ACLNN_ERR_PARAM_INVALID,
             "%s: %s is %s, want %lld floating point elements, one per row of %s", name, arg, HC_SHOW(t),
             (long long)rows, HC_SHOW(x));
    return 0;
}
