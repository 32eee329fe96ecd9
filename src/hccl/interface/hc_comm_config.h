// SPDX-License-Identifier: Apache-2.0
/* Options of communicators. */
#pragma once
#include "hc_comm.h"

/* Apply the process's options and a caller's config (NULL: none) to a new communicator. */
HcclResult hc_comm_configure(const char *caller, struct hc_comm *comm, const HcclCommConfig *config);
