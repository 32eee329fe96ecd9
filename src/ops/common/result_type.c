// SPDX-License-Identifier: Apache-2.0
/* The rule of result_type.h. It runs in phase one of nearly every operator, where all types are mostly equal:
 * that case is decided by comparing numbers. */
#include "result_type.h"

#include "messages.h"

#include <stdio.h>

/* What a scalar of a class adds to a type of a lower class: PyTorch's default type of that class. */
static aclDataType with_scalar(aclDataType type, enum hc_dtype_class scalar) {
    if (scalar <= hc_dtype_class(type)) return type;
    if (scalar == HC_CLASS_INT) return ACL_INT64;
    return scalar == HC_CLASS_FLOAT ? ACL_FLOAT : hc_dtype_promote(type, ACL_COMPLEX64);
}

/* Tensors of both kinds promote among themselves first. */
static aclDataType promote_all(const aclTensor *const *tensors, int num, unsigned skip) {
    aclDataType with = ACL_BOOL, without = ACL_BOOL; /* dimensions */
    bool have_with = false;
    for (int i = 0; i < num; i++) {
        if (skip >> i & 1) continue;
        const aclDataType type = tensors[i]->dtype;
        if (tensors[i]->rank > 0) {
            with = have_with ? hc_dtype_promote(with, type) : type;
            have_with = true;
        } else {
            without = hc_dtype_promote(without, type);
        }
    }
    if (!have_with) return without;
    return hc_dtype_class(without) > hc_dtype_class(with) ? hc_dtype_promote(with, without) : with;
}

aclDataType hc_result_type(const aclTensor *const *tensors, int num, const struct hc_result_rule *rule) {
    bool same = rule->skip == 0;
    for (int i = 1; i < num; i++) same = same && tensors[i]->dtype == tensors[0]->dtype;
    aclDataType type = same ? tensors[0]->dtype : promote_all(tensors, num, rule->skip);
    if (rule->scalar > HC_CLASS_BOOL) type = with_scalar(type, rule->scalar);
    if (rule->at_least > HC_CLASS_BOOL) type = with_scalar(type, rule->at_least);
    return type;
}

aclDataType hc_computed_type(aclDataType result, aclDataType out) {
    return hc_dtype_is_float(result) && hc_dtype_is_float(out) ? hc_dtype_promote(result, out) : result;
}

/* "int64[3], float32[3] and a float scalar" */
static void list_inputs(char *text, size_t size, const aclTensor *const *tensors, int num,
                        const struct hc_result_rule *rule) {
    static const char *const SCALARS[] = {[HC_CLASS_INT] = "an integer scalar",
                                          [HC_CLASS_FLOAT] = "a float scalar",
                                          [HC_CLASS_COMPLEX] = "a complex scalar"};
    size_t used = 0;
    text[0] = '\0';
    for (int i = 0; i < num && used < size; i++) {
        if (rule->skip >> i & 1) continue;
        used += (size_t)snprintf(text + used, size - used, "%s%s", used > 0 ? ", " : "", HC_SHOW(tensors[i]));
    }
    if (rule->scalar > HC_CLASS_BOOL && used < size)
        snprintf(text + used, size - used, " and %s", SCALARS[rule->scalar]);
}

/* PyTorch's wording in the middle, so that who knows it finds it. */
aclnnStatus hc_check_result(const char *name, aclDataType result, const aclTensor *out,
                            const aclTensor *const *tensors, int num, const struct hc_result_rule *rule) {
    if (hc_can_cast(result, out->dtype)) return 0;
    int in_place = -1;
    char inputs[4 * HC_DESCRIBE_BYTES];
    for (int i = 0; i < num; i++) {
        if (tensors[i] == out) in_place = i;
    }
    list_inputs(inputs, sizeof inputs, tensors, num, rule);
    return hc_fail(ACLNN_ERR_PARAM_INVALID,
                   "%s: result type %s (of %s) can't be cast to the desired output type %s of %s%s", name,
                   hc_dtype_name(result), inputs, hc_dtype_name(out->dtype), hc_tensor_name(name, in_place),
                   in_place >= 0 ? ": work out of place, or convert it first" : "");
}
