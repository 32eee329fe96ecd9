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

#include "hc_transport.h"
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

/* Connect to the ranks in comm->members, which met at comm->meeting; `control` is the connection to who
 * answered and belongs to the communicator from now on. All ranks must call this. */
HcclResult hc_net_open(const char *caller, struct hc_comm *comm, int control);
/* Leave: what was sent still arrives. */
void hc_net_close(struct hc_comm *comm);
/* Under net->lock: nothing of this communicator is sent or received any more; all its messages are over. */
void hc_net_shut(struct hc_net *net);
/* Under net->lock: the endpoint to a rank, made at the first call; NULL with net->broken_* set. */
void *hc_net_endpoint(struct hc_net *net, uint32_t rank);

/* The process ends: the worker goes, in order if that works. False: a thread holds on to it. */
bool hc_net_retire(struct hc_net *net);

/* transport_ucx.c, under net->lock: take back what can be, and, once the worker is gone, what cannot. */
void hc_wires_cancel(struct hc_net *net);
void hc_wires_abandon(struct hc_net *net);

/* control.c */
void hc_control_open(struct hc_net *net, int socket);
/* Say goodbye and close. */
void hc_control_close(struct hc_net *net);
/* Send a notice to a rank or all; one that cannot be sent is dropped, and the connection with it. */
void hc_control_send(struct hc_net *net, const struct hc_notice *notice);
/* Read and handle all that has come. */
void hc_control_receive(struct hc_net *net);
/* Ask the others what they do; waits for their answers, a second or two at most. */
void hc_control_ask(struct hc_net *net);

/* net_thread.c: let the thread serve a net, from now on or no more. */
HcclResult hc_net_thread_add(const char *caller, struct hc_net *net);
void hc_net_thread_remove(struct hc_net *net);

/* The worker moves all it can. Under net->lock. */
bool hc_net_progress(struct hc_net *net);
