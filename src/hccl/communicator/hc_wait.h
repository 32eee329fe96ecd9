// SPDX-License-Identifier: Apache-2.0
/* Waiting for other ranks. */
#pragma once
#include "hc_op.h"

/* Wait until `bell` has reached `want`; gives up, with the communicator failed, when a rank of it has ended,
 * has left or has reported an error, when the time is over, or when the stream is aborted. */
HcclResult hc_wait(struct hc_op *op, struct hc_bell *bell, uint32_t want);
/* Wait until `bell` is no longer `seen`, in the same way. */
HcclResult hc_wait_change(struct hc_op *op, struct hc_bell *bell, uint32_t seen);
