// SPDX-License-Identifier: Apache-2.0
/* PyTorch's rule for the type of a result, in one place: tensors and scalars promote to the result's type,
 * and what an output gets must be of its class or a lower one (bool < integers < floats < complex). Within a
 * class any width goes into any other. */
#pragma once
#include "op.h"

/* What decides the type beside the tensors. `skip`: bit i: tensor i is a truth value, or a position, and does
 * not count. `scalar`: the highest class of the scalar arguments; HC_CLASS_BOOL where there is none. */
struct hc_result_rule {
    unsigned skip;
    enum hc_dtype_class scalar, at_least;
};

/* The promoted type of the tensors that count. One without dimensions counts only where its class is above
 * that of those with dimensions, and a scalar only where its class is above all tensors'. */
aclDataType hc_result_type(const aclTensor *const *tensors, int num, const struct hc_result_rule *rule);

static inline bool hc_can_cast(aclDataType from, aclDataType to) {
    return from == to || hc_dtype_class(from) <= hc_dtype_class(to);
}

/* Refuses a result that `out` cannot hold; names the inputs that made it so. `out` may be one of them: an
 * operation in place. */
aclnnStatus hc_check_result(const char *name, aclDataType result, const aclTensor *out,
                            const aclTensor *const *tensors, int num, const struct hc_result_rule *rule);

/* The type to compute in: the result's, and of two float types the wider one, so that a float32 output of
 * bfloat16 inputs is rounded once. */
aclDataType hc_computed_type(aclDataType result, aclDataType out);
