// SPDX-License-Identifier: Apache-2.0
/* The product of one group where x or the weight is quantised: see grouped.h for groups. */
#pragma once
#include "grouped.h"

/* Operands of one group. */
struct hc_group_quant {
    const char *name;
    aclTensor x, weight, y;
    const aclTensor *bias;              /* NULL: none */
    const aclTensor *scale, *offset;    /* of an int8 product: the columns' */
    const aclTensor *rows;              /* and the rows' scales, NULL: none */
    const aclTensor *antiquant, *shift; /* of an int8 or int4 weight with floating point x */
    const aclTensor *weight_offset;     /* of an int4 weight with x of int8, as many as scales; NULL: none */
};
/* Types and scales, in phase one; sizes of x, weight and y are right. */
aclnnStatus hc_group_quant_check(const struct hc_group_quant *q);
/* Whether this is an int8 or int4 weight's product at all. */
static inline bool hc_is_quantised(const aclTensor *weight) {
    return weight->dtype == ACL_INT8 || weight->dtype == ACL_INT32;
}
/* The weight as the product sees it: int4 by their own number. */
aclTensor hc_group_quant_weight(const aclTensor *weight);
aclnnStatus hc_group_quant_run(const struct hc_group_quant *q);

/* Integers times a weight of int4 (grouped_int4.c), x being int4 too, as int32, or int8; y is contiguous. */
static inline bool hc_is_int4_product(const struct hc_group_quant *q) {
    return q->weight.dtype == ACL_INT32 && (q->x.dtype == ACL_INT32 || q->x.dtype == ACL_INT8);
}
aclnnStatus hc_group_int4_check(const struct hc_group_quant *q);
aclnnStatus hc_group_int4_run(const struct hc_group_quant *q, const aclTensor *y);
