// SPDX-License-Identifier: Apache-2.0
/* Messages between the ranks of a host. */
#pragma once
#include "hc_transport.h"

/* Connect to the ranks in comm->members, all of this host. `board_file` is this rank's own, and closed. Also
 * after a failure the communicator is to be closed. */
HcclResult hc_shm_open(const char *caller, struct hc_comm *comm, int board_file);
extern const struct hc_transport hc_transport_shm;
