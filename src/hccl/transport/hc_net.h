// SPDX-License-Identifier: Apache-2.0
/* Birth and end of a communicator's connections between hosts. */
#pragma once
#include "hc_net_state.h"

/* Connect to the ranks in comm->members, which met at comm->meeting; `control` is the connection to who
 * answered and belongs to the communicator from now on. All ranks must call this. */
HcclResult hc_net_open(const char *caller, struct hc_comm *comm, int control);
/* Leave: what was sent still arrives. */
void hc_net_close(struct hc_comm *comm);
