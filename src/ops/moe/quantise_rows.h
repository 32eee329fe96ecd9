// SPDX-License-Identifier: Apache-2.0
/* Rows of tokens gathered and quantised to int8 on their way. */
#pragma once
#include "moe.h"

struct hc_moe_quant {
    const char *name;
    const aclTensor *x;            /* [T, H], floating point */
    const int64_t *source, *owner; /* of every row: its token (-1: none, then it is 0) and its expert */
    bool dynamic;                  /* scales of the rows' own, else one scale for all */
    const aclTensor *scale,
        *offset; /* dynamic: smooth scales of a row, or of each expert's; either may be NULL */
    const aclTensor *out, *row_scales; /* [N, H] contiguous int8; dynamic: N elements, else NULL */
};
/* Phase one: the numbers of an operator with so many experts. */
aclnnStatus hc_moe_check_quant(const char *name, const struct hc_moe_quant *q, int64_t experts, int64_t rows);
/* Phase two. */
aclnnStatus hc_moe_quantise(const struct hc_moe_quant *q);
