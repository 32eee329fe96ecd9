// SPDX-License-Identifier: Apache-2.0
/* Products of groups whose operands are fp8 or hifloat8 with scales (narrow.h), by rows or by steps:
 *
 *     scale of the weight   one number, one of each group, of each column of a group, of blocks, or MX
 *     scale of rows         one number, one of each group, of each row, of blocks, or MX
 *
 * A weight of fp4 may have x of fp8 before it: then its MX scales may be those of weights narrower than x.
 *
 * By steps, the scales of MX are those of grouped quantisation: of group g from pair first / 64 + g on. */
#pragma once
#include "grouped.h"
#include "narrow.h"

/* Phase one, instead of hc_grouped_check. */
aclnnStatus hc_grouped_narrow_check(const struct hc_grouped *g);
/* Phase two, instead of hc_grouped_run. */
aclnnStatus hc_grouped_narrow_run(const struct hc_grouped *g, const int64_t *first);

/* A list with the bytes of its fp4 in place of them, as a plan knows elements only. `owned`, NULL where the
 * list has none and stays as it is, is given back with hc_block_give. */
struct hc_fp4_list {
    aclTensorList list;
    void *owned;
};
aclnnStatus hc_grouped_fp4_bytes(const char *name, const aclTensorList *list, struct hc_fp4_list *bytes);
/* Phase two: a list of such bytes as the fp4 of `dtype` that they were, in memory that is given back; of
 * another dtype as it is. */
aclnnStatus hc_grouped_fp4_open(const char *name, aclDataType dtype, struct hc_grouped_list *list,
                                void **owned);
