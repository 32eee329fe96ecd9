// SPDX-License-Identifier: Apache-2.0
/* All pairs of ranks at once. */
#pragma once
#include "hc_steps.h"

/* Every rank's piece, combined in the order of ranks in one step, ends up in that rank's receive buffer: each
 * rank gets it from all others at once. The same bits as those of the direct algorithms. */
HcclResult hc_pairwise_round(struct hc_op *op, const struct hc_piece *pieces);
size_t hc_pairwise_piece(const struct hc_op *op);
