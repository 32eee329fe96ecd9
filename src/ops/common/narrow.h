// SPDX-License-Identifier: Apache-2.0
/* Matrices of fp8, fp4 or hifloat8 with scales of blocks, as floats that a product can read, and that
 * product:
 *
 *     out = (a @ b^T) * column scale * row scale + bias        sums in float32, over values times their
 * block's scale
 *
 * A value is exact in bfloat16, also times a power of two (MX); other scales of blocks make it float32. */
#pragma once
#include "fp4.h"

static inline bool hc_is_narrow(aclDataType t) {
    return hc_is_fp4(t) || (hc_dtype_is_narrow(t) && t != ACL_FLOAT8_E8M0);
}

/* Of a matrix [rows, k]: float32 [row blocks, k blocks], or e8m0 [rows, pairs, 2] (mx.h); any strides. */
struct hc_narrow_scales {
    const aclTensor *t; /* NULL: none */
    size_t rows, k;     /* of a block */
};
/* The scales belong to a matrix [rows, k]. MX has blocks of one row and 32 of k. */
aclnnStatus hc_narrow_check_scales(const char *name, const char *arg, const aclTensor *scale, int64_t rows,
                                   int64_t k, struct hc_narrow_scales *scales);

/* x[i] *= scale[i / stretch] for i < n. */
HC_KERNEL(hc_narrow_scale, (size_t n, float *x, const float *scale, size_t stretch))

/* t is a matrix [rows, k], any strides. As `dtype`, bfloat16 or float32, in memory that the caller gives
 * back, with the same dimension contiguous. */
aclnnStatus hc_narrow_open(const char *name, const aclTensor *t, const struct hc_narrow_scales *scales,
                           aclDataType dtype, aclTensor *view, void **owned);

struct hc_narrow_product {
    const char *name;
    aclTensor a, b; /* [m, k] and [n, k] */
    struct hc_narrow_scales a_scales, b_scales;
    const float *row_scale, *column_scale, *bias; /* NULL: none */
    size_t row_scales;                            /* row r has number r % row_scales */
    bool column_each;                             /* or one for all */
    aclTensor out;                                /* [m, n], apart from all operands */
    bool accumulate;                              /* out += the product */
};
aclnnStatus hc_narrow_product(const struct hc_narrow_product *p);
