// SPDX-License-Identifier: Apache-2.0
/* Trees over ranks. */
#pragma once
#include "hc_steps.h"

/* Trees over ranks as seen from the root: v = (rank - root) mod N; the parent of v clears its lowest set bit.
 */
HcclResult hc_tree_broadcast(struct hc_op *op, uint32_t root, char *buffer, size_t bytes);
/* Combine op->send of all ranks into `recv`, used at the root only. A node combines its own data first, then
 * its children's in the order of their distance. */
HcclResult hc_tree_reduce(struct hc_op *op, uint32_t root, char *recv);
