// SPDX-License-Identifier: Apache-2.0
/* The UCX worker of a communicator, and its endpoints. */
#pragma once
#include "hc_net_state.h"

/* Make it. */
HcclResult hc_worker_make(const char *caller, struct hc_net *net);
/* Under net->lock: nothing of this communicator is sent or received any more; all its messages are over. */
void hc_worker_shut(struct hc_net *net);
/* Under net->lock: the endpoint to a rank, made at the first call; NULL with net->broken_* set. */
void *hc_worker_endpoint(struct hc_net *net, uint32_t rank);
/* The worker moves all it can. Under net->lock. */
bool hc_worker_progress(struct hc_net *net);

/* Under net->lock: push out what was sent, take leave of the others, end the worker. */
void hc_worker_retire(struct hc_net *net);
