// SPDX-License-Identifier: Apache-2.0
/* Links of a chosen speed (MINDSPEED_HCCL_LINK).
 *
 * Ranks of one host share its memory: what communication costs on a network, and what overlapping it gains,
 * does not show. With the option an operation whose data has arrived goes on to occupy its stream, asleep,
 * for as long as a link would take: cores are free meanwhile, the communicator is not. The time is that of
 * the usual algorithms, steps * latency + bytes / bandwidth, where a rank sends at most `bytes` and receives
 * as many at the same time (R. Thakur, R. Rabenseifner, W. Gropp: Optimization of collective communication
 * operations in MPICH, 2005):
 *
 *     all-reduce                    2 (N-1) steps            2 (N-1) / N of the data
 *     all-gather, reduce-scatter    N-1                      what the other ranks have, or get
 *     all-to-all                    N-1                      the larger of what is sent and received
 *     broadcast, reduce             log2 N, rounded up       the data
 *     scatter                       N-1                      what the root sends to others
 *     barrier                       log2 N                   none
 *     messages                      1                        the larger of what is sent and received
 *
 * Each communicator has a link of its own. */
#pragma once
#include "hc_op.h"

/* What the option says for a communicator with this label, when it is created. */
void hc_link_configure(struct hc_comm *comm);
/* An operation's time on the link, ns; 0 without the option. */
uint64_t hc_link_ns(const struct hc_op *op);
/* Spend it. Returns as hc_wait: the other ranks may fail meanwhile. */
HcclResult hc_link_wait(struct hc_op *op);
