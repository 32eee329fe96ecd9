// SPDX-License-Identifier: Apache-2.0
/* The product of groups of rows that a fused operator goes on with, in memory of its own: [m, n] in floating
 * point, with rows of 0 behind the last group. Operands are those of aclnnGroupedMatmulV4 by rows: int8,
 * fp8 and fp4 with scales, or plain floating point. */
#pragma once
#include "grouped.h"

struct hc_grouped_product {
    const char *name;
    struct hc_grouped_list x, weight, scale, rows, bias;
    struct hc_grouped_list weight_offset; /* grouped.h; of no other types */
    const aclTensor *groups;              /* int64, ends or lengths */
    bool counts;
    aclDataType dtype; /* of the product */
    /* Phase two: types of x and the weights, whose fp4 the plan has as bytes. */
    aclDataType x_dtype, weight_dtype;
};
/* The operand where it is one tensor, which may be NULL, and where it is a list of the interface or a slot of
 * a call. */
static inline struct hc_grouped_list hc_grouped_one(const aclTensor *t) {
    return (struct hc_grouped_list){NULL, t, t != NULL};
}
static inline struct hc_grouped_list hc_grouped_many(const aclTensorList *list) {
    return (struct hc_grouped_list){list != NULL ? (const aclTensor *const *)list->data : NULL, NULL,
                                    list != NULL ? list->size : 0};
}

/* Phase one. Weights in FRACTAL_NZ are refused. */
aclnnStatus hc_grouped_product_check(const struct hc_grouped_product *p);
/* Columns of the product, of a checked p or one whose first weight is a matrix at least. */
int64_t hc_grouped_product_columns(const struct hc_grouped_product *p);
uint64_t hc_grouped_product_flops(const struct hc_grouped_product *p);

/* Phase two: the product, and where groups begin with the end of the last. hc_grouped_product_give gives both
 * back, whatever came of the run. */
struct hc_grouped_result {
    aclTensor z;
    int64_t *first;
    void *owned;
};
aclnnStatus hc_grouped_product_run(const struct hc_grouped_product *p, struct hc_grouped_result *result);
static inline void hc_grouped_product_give(struct hc_grouped_result *result) {
    hc_block_give(result->owned);
    hc_block_give(result->first);
}
