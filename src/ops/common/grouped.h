// SPDX-License-Identifier: Apache-2.0
/* Products of groups: rows of x (or steps of the sum) are divided among matrices, as experts divide tokens.
 *
 *     by rows   y[first_g : end_g] = x[first_g : end_g] @ weight[g] + bias[g]
 *     by steps  y[g] = x[:, first_g : end_g] @ weight[first_g : end_g] (the gradient of the weights)
 *
 * Each of x, weight and y is either one tensor that holds all groups, or a list of a tensor per group. Groups
 * are strided views, so nothing is gathered or copied; products are hc_gemm's. */
#pragma once
#include "matmul.h"

/* Tensors of an operand, as phase one has them (`at`) or phase two (`flat`). */
struct hc_grouped_list {
    const aclTensor *const *at;
    const aclTensor *flat;
    size_t n;
};

struct hc_grouped {
    const char *name;
    struct hc_grouped_list x, weight, bias, y;
    /* Of quantised products by rows (grouped_quant.h), none otherwise: scales and offsets of an int8
     * product's columns, scales of its rows; scales and offsets of the weights; what is added to each scaled
     * weight of int4 with x of int8. One tensor for all groups, or one for each. */
    struct hc_grouped_list scale, offset, rows, antiquant, shift, weight_offset;
    const char *weight_name, *y_name;
    size_t groups;
    bool by_steps;
    bool accumulates; /* y += product */
    bool listed;      /* a group list says how long groups are; else the tensors do */
};

/* t[..., first : first + length, ...], and t[i]: views. */
aclTensor hc_grouped_part(const aclTensor *t, int32_t dim, int64_t first, int64_t length);
aclTensor hc_grouped_member(const aclTensor *t, size_t i);

/* Phase one: counts, shapes and dtypes, all that does not depend on the values of a group list. */
aclnnStatus hc_grouped_check(const struct hc_grouped *g);
/* Rows or steps that are divided. Needs a checked g. */
int64_t hc_grouped_extent(const struct hc_grouped *g);
/* From the group list's values, g->groups of them, to the first row or step of each group and the end of the
 * last: `first` has one more. `counts`: lengths, else ends. Values need not use up the extent. */
aclnnStatus hc_grouped_read(const struct hc_grouped *g, const int64_t *values, bool counts, int64_t *first);
/* The same from the tensors, without a list. */
void hc_grouped_lengths(const struct hc_grouped *g, int64_t *first);
/* Phase two. Rows of y behind the last group become 0. */
aclnnStatus hc_grouped_run(const struct hc_grouped *g, const int64_t *first);
/* For the trace. */
uint64_t hc_grouped_flops(const struct hc_grouped *g);
