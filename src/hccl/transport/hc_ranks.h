// SPDX-License-Identifier: Apache-2.0
/* The other ranks of a communicator: met, reached, left. */
#pragma once
#include "hc_comm.h"

/* Meet them and open what connects us. On failure the communicator is to be released. */
HcclResult hc_ranks_meet(const char *caller, struct hc_comm *comm);
/* Forget a failure: all ranks must call this. Nothing may be under way here. */
HcclResult hc_ranks_meet_again(const char *caller, struct hc_comm *comm);
