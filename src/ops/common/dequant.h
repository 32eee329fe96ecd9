// SPDX-License-Identifier: Apache-2.0
/* Sums of products of int8 as floating point or int8: what ends every quantised product. */
#pragma once
#include "activate.h"
#include "temporary.h"

/* y[j] = (sums[j] + whole_bias[j]) * scale[j] * factor + bias[j] + offset[j], in float32 after the first sum,
 * which is that of int32. The biases and the offset may be NULL. */
struct hc_dequant {
    const float *scale;
    const int32_t *whole_bias;
    const float *bias, *offset;
    float factor;
    bool scale_each, offset_each; /* or one number for all */
};
HC_KERNEL(hc_dequant, (size_t n, float *y, const int32_t *sums, const struct hc_dequant *d))
/* Rounded to nearest, ties to even, within the range; NaN is 0. */
HC_KERNEL(hc_round_i8, (size_t n, int8_t *y, const float *x))

/* The same from column `at` on, with the factor of a row. */
static inline struct hc_dequant hc_dequant_from(const struct hc_dequant *d, size_t at, float factor) {
    struct hc_dequant from = *d;
    if (d->scale_each) from.scale += at;
    if (d->offset_each && d->offset != NULL) from.offset += at;
    if (d->whole_bias != NULL) from.whole_bias += at;
    if (d->bias != NULL) from.bias += at;
    from.factor = factor;
    return from;
}

/* The scale and offset of d from tensors, in memory that the caller gives back with hc_block_give: a floating
 * point scale, or a packed one (quant_param.h), which carries an offset; `offset`, which may be NULL, counts
 * where that is 0 for all. Only int8 results have an offset. */
aclnnStatus hc_dequant_scale(const aclTensor *scale, const aclTensor *offset, aclDataType result,
                             struct hc_dequant *d, void **owned);

/* Where the rows of a product go: `out` is the first one's memory, rows of `n` elements after one another, of
 * float32, float16, bfloat16, int8, or int32, which takes the sums and the whole bias alone. */
struct hc_dequant_rows {
    struct hc_dequant by;
    const float *row_scale; /* the factor of row r is number r % row_scales; NULL: 1 */
    size_t row_scales;
    char *out;
    aclDataType dtype;
    size_t n;
    bool activates; /* the results, in float32 */
    enum hc_activation activation;
};
/* For hc_gemm_i8: ctx is a struct hc_dequant_rows. */
void hc_dequant_finish(const void *ctx, size_t row, size_t col, size_t n, const int32_t *sums);
