// SPDX-License-Identifier: Apache-2.0
/* The thread behind communicators between hosts. */
#pragma once
#include "hc_net_state.h"

/* Let the thread serve a net, from now on or no more. */
HcclResult hc_net_thread_add(const char *caller, struct hc_net *net);
void hc_net_thread_remove(struct hc_net *net);
