// SPDX-License-Identifier: Apache-2.0
/* Quantisation with a scale for each block of rows and columns of a matrix:
 *
 *     scale = max(max |block| / highest, lowest scale)      y = x / scale
 */
#pragma once
#include "quant.h"

struct hc_block_quant {
    struct hc_quant_target target;
    size_t rows, columns; /* of a block */
    float min_scale;
};

/* The words and numbers of a call, and y of x's shape; `largest` in place of the type's, 0 for that. x is a
 * matrix or a batch of them. */
struct hc_block_quant_call {
    const char *name, *round_mode;
    const aclTensor *x, *y, *scale;
    double min_scale, largest;
    int64_t dst_type, rows, columns;
};
aclnnStatus hc_block_quant_check(const struct hc_block_quant_call *c, struct hc_block_quant *b);
/* Scales of x in rows [rows of scales, blocks along a row]. */
aclnnStatus hc_block_quant_check_scale(const struct hc_block_quant_call *c, int64_t scale_rows);

/* Blocks begin anew at every stretch of rows: `ends` are the rows behind each, and the scales of stretch g
 * begin at row ends[g - 1] / block rows + g. Without `ends` all rows of a matrix are one stretch. */
aclnnStatus hc_block_quant_run(const char *name, const struct hc_block_quant *b, const aclTensor *x,
                               const aclTensor *y, const aclTensor *scale, const int64_t *ends,
                               size_t stretches);
