// SPDX-License-Identifier: Apache-2.0
/* Products of groups whose operands are fp8 or hifloat8 with scales (narrow.h), by rows or by steps:
 *
 *     scale of the weight   one number, one of each group, of each column of a group, of blocks, or MX
 *     scale of rows         one number, one of each group, of each row, of blocks, or MX
 *
 * By steps, the scales of MX are those of grouped quantisation: of group g from pair first / 64 + g on. */
#pragma once
#include "grouped.h"
#include "narrow.h"

/* Phase one, instead of hc_grouped_check. */
aclnnStatus hc_grouped_narrow_check(const struct hc_grouped *g);
/* Phase two, instead of hc_grouped_run. */
aclnnStatus hc_grouped_narrow_run(const struct hc_grouped *g, const int64_t *first);
