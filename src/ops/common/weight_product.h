// SPDX-License-Identifier: Apache-2.0
/* Product with a weight of int8: out = x @ ((weight + shift) * scale) + bias, or of fp8, hifloat8 or fp4,
 * which has no shift: out = x @ (weight * scale) + bias.
 *
 * The weight becomes float32, some columns of all rows at a time, and the product is hc_gemm's: the memory
 * for it stays small, and nothing is rounded to 16 bits before the end. */
#pragma once
#include "temporary.h"

struct hc_weight_product {
    const char *name;
    const float *scale, *shift; /* one number, or [groups, n] */
    bool each;                  /* the latter */
    size_t group;               /* rows of a group; 0: all of them are one. Even with fp4 */
    aclDataType fp4;            /* a weight of uint8 is bytes of this type */
};

/* The weight is a matrix, contiguous along its rows or its columns. x and out have two dimensions, or the
 * same ones before them; bias, which may be NULL, is contiguous. On the pool, or in the caller inside another
 * loop. */
aclnnStatus hc_weight_product(const struct hc_weight_product *p, const aclTensor *x, const aclTensor *weight,
                              const aclTensor *bias, const aclTensor *out);
