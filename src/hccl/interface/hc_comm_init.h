// SPDX-License-Identifier: Apache-2.0
/* Birth of a communicator. */
#pragma once
#include "hc_comm.h"

/* Join the other ranks at `meeting` on the current device; blocks until all have come. `config` may be NULL.
 */
HcclResult hc_comm_join(const char *caller, const struct hc_meeting *meeting, uint32_t num_ranks,
                        uint32_t rank, const HcclCommConfig *config, HcclComm *comm);
