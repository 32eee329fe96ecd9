// SPDX-License-Identifier: Apache-2.0
/* A communicator's connections to ranks of other hosts: a UCX worker for data, a TCP connection to the
 * process that answered the meeting for what the ranks tell each other about themselves.
 *
 * Every communicator has a worker of its own: communicators do not wait for each other's lock, and one that
 * fails is shut down, buffers and all, without touching the others. A thread per process ("hccl-net") reads
 * the TCP connections, and lets workers make progress that nobody waits on: a peer may still need this side.
 */
#pragma once
#include <sys/types.h>

#include "hc_comm.h"
#include "hc_presence.h"
#include "hc_ucp.h"

struct hc_wire;

struct hc_endpoint {
    void *ep;             /* NULL: not needed so far */
    hc_ucs_status status; /* HC_UCS_OK, or why it is of no use any more */
};

struct hc_net {
    struct hc_net *next; /* of the thread's list */
    struct hc_comm *comm;

    pthread_mutex_t lock; /* guards what follows, and every call into the worker */
    const struct hc_ucp *ucp;
    void *worker; /* NULL: shut down */
    int event_file;
    struct hc_endpoint *endpoints; /* [num_ranks] */
    struct hc_wire *wires;         /* of all messages under way */
    uint32_t broken_rank;          /* the first whose connection broke while it was needed, */
    uint64_t broken_since;         /* and when that was seen; 0: none */
    hc_ucs_status broken_status;
    atomic_uint waiters; /* threads that drive messages: they alone make progress meanwhile */

    pthread_mutex_t control_lock; /* guards what follows; taken after `lock` */
    int control;                  /* -1: closed */
    bool closing;                 /* the other end said so: it is no failure */
    int32_t relay_pid;            /* process that answers, 0: not told yet */
    struct hc_host_id relay_host;
    unsigned char incoming[sizeof(struct hc_notice)];
    size_t have;                   /* bytes of it */
    struct hc_rank_status *others; /* [num_ranks] */
    struct hc_report report;
    bool reported;
    struct hc_bell news; /* rung when any of this has changed */
};
