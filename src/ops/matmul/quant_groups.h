// SPDX-License-Identifier: Apache-2.0
/* Quantised product whose scales differ between groups of steps of k:
 *
 *     out = (sum over groups of ((x1_g - shift) @ x2_g) * scale_g + offset) * row scale
 *
 * shift is what the interface has clients make up for by the offset where x1 is int8 and x2 int4: its
 * hardware halves x1 into int4, the lower of which have a sign. */
#pragma once
#include "op.h"

enum { HC_INT8_BY_INT4_SHIFT = 8 };

struct hc_quant_groups {
    const char *name;
    const aclTensor *x1, *x2; /* int8 of two dimensions, any strides */
    const float *scale;       /* [k / group, n] */
    size_t group;             /* a divisor of k */
    int8_t shift;
    const float *offset, *rows; /* n and m numbers (row_scales: or one); NULL: none */
    size_t row_scales;
    const aclTensor *out; /* contiguous, floating point */
};
aclnnStatus hc_quant_groups_run(const struct hc_quant_groups *q);
