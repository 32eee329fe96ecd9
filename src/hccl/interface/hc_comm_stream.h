// SPDX-License-Identifier: Apache-2.0
/* A stream of the communicator's own, for collectives that run while an operator computes. */
#pragma once
#include "hc_comm.h"

/* It, made when it is first asked for; NULL where nothing is gained: ranks that copy in one memory need the
 * cores for that. Thread-safe. */
HcclResult hc_comm_beside(const char *caller, struct hc_comm *comm, aclrtStream *stream);
/* Wait for what is in it, and destroy it. */
void hc_comm_end_beside(struct hc_comm *comm);
