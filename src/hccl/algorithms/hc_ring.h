// SPDX-License-Identifier: Apache-2.0
/* A ring of pieces. */
#pragma once
#include "hc_steps.h"

enum hc_ring_part { HC_RING_REDUCE = 1, HC_RING_GATHER = 2 };
/* One round along the ring of ranks over `pieces`, one of every rank. REDUCE: each rank's piece is combined
 * over all ranks, beginning with the rank after it and ending with itself, and ends up in that rank's receive
 * buffer. GATHER: each rank's piece travels from its receive buffer to those of all others. */
HcclResult hc_ring_round(struct hc_op *op, unsigned parts, const struct hc_piece *pieces);
/* Elements of a piece that the ring's scratch memory suffices for. */
size_t hc_ring_piece(const struct hc_op *op);
