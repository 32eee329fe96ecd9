// SPDX-License-Identifier: Apache-2.0
/* Operations as tasks of a stream. */
#pragma once
#include "hc_op.h"

/* Put it into the stream; consumes it, also on failure. Collectives get their number here: ranks must launch
 * them in the same order. */
HcclResult hc_op_launch(struct hc_op *op, aclrtStream stream);
