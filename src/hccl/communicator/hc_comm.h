// SPDX-License-Identifier: Apache-2.0
/* A communicator, and what the files of this library share. */
#pragma once
#include <pthread.h>
#include <stdatomic.h>

#include "hc_bell.h"
#include "hc_error.h"
#include "hc_meeting.h"
#include "hc_util.h"
#include "hccl/hccl.h"

/* Registered memory, see comm_memory.c. */
struct hc_window {
    struct hc_window *next;
    int kind;
    char *start;
    size_t size;
};
/* Memory that all ranks of one host share, see hc_board.h. */
struct hc_board;
struct hc_peer_heap;
struct hc_presence;
/* What connects the ranks, see hc_transport.h. */
struct hc_transport;
/* Connections to other hosts, see hc_net.h. */
struct hc_net;
struct hc_lifeline;

/* A stretch of every rank's slice: where it begins in the send and in the receive buffer (bytes), and
 * elements. */
struct hc_piece {
    size_t in, out, count;
};

enum hc_direction { HC_OUT, HC_IN, HC_DIRECTIONS };
/* Messages within a collective, and those of the interface's point-to-point calls: each in an order of its
 * own. */
enum hc_channel { HC_CHANNEL_COLLECTIVE, HC_CHANNEL_POINT_TO_POINT, HC_CHANNELS };

/* Messages from or to one peer keep their order: a message gets a number when it is queued, and starts when
 * its number is up. */
struct hc_lane_order {
    uint32_t given;   /* guarded by the communicator's order lock */
    atomic_uint turn; /* number that may start */
    uint32_t acked;   /* sender: messages so far that the receiver must acknowledge; owner of the turn */
};

struct hc_comm {
    struct hc_comm *next;   /* list of the living, guarded by comm.c's lock */
    atomic_uint references; /* the handle, and every queued task */
    uint32_t rank, num_ranks;
    int32_t device;
    uint32_t deterministic, buffer_megabytes, exec_timeout_s;
    double link_ns_per_byte, link_ns; /* of a message; 0: as fast as memory is (hc_link.h) */
    bool suspended;
    char name[HCCL_COMM_NAME_BYTES];                     /* the same on all ranks */
    char label[HCCL_COMM_NAME_BYTES];                    /* what the caller uses it for; may be empty */
    char title[2 * HCCL_COMM_NAME_BYTES + sizeof " ()"]; /* for messages and traces: "name (label)" */
    struct hc_window *windows;

    struct hc_meeting meeting;            /* how the ranks met: sub-communicators meet there again */
    struct hc_member *members;            /* [num_ranks] */
    const struct hc_transport *transport; /* NULL: one rank */
    struct hc_presence *self;             /* what the others see of this rank; NULL: one rank */
    struct hc_board *board;               /* NULL: one rank, or another transport */
    struct hc_net *net;                   /* NULL: one rank, or shared memory */
    struct hc_peer_heap **heaps;          /* [num_ranks] of the others on this host; NULL: this process */
    struct hc_lifeline **lifelines;       /* [num_ranks] of the others' processes; NULL: this one */
    bool spread;                          /* every rank is alone on its host */
    uint32_t spins, yields;               /* how long a wait polls before it sleeps */
    const char **sources;                 /* [num_ranks] and */
    char **targets;                       /* [num_ranks] and */
    struct hc_piece *pieces;              /* [num_ranks] and */
    char *scratch;                        /* of so many bytes: of the collective whose turn it is */
    size_t scratch_bytes;

    pthread_mutex_t order_lock;
    uint32_t next_seq;   /* of the next collective, from 1; guarded by order_lock */
    struct hc_bell turn; /* number of the collective that may run: those of one communicator run in order */
    uint32_t posts;      /* so far, of the collective whose turn it is */
    aclrtStream beside;  /* see hc_comm_stream.h; NULL: none yet; both guarded by order_lock */
    int32_t beside_id;
    struct hc_lane_order *lanes; /* [HC_CHANNELS][HC_DIRECTIONS][num_ranks] */

    atomic_ullong explained[2][16]; /* by kind: size classes printed; [1]: after `direct` declined */

    atomic_int failed; /* HcclResult of the first error, for good (until HcclCommResume) */
    pthread_mutex_t failure_lock;
    char failure[960]; /* fits into an error text of the runtime, with what the stream puts before it */
};

static inline struct hc_lane_order *hc_lane_order(const struct hc_comm *c, enum hc_channel channel,
                                                  enum hc_direction direction, uint32_t peer) {
    return &c->lanes[((size_t)channel * HC_DIRECTIONS + direction) * c->num_ranks + peer];
}

/* A communicator with one reference that knows no one yet. NULL: no memory. */
struct hc_comm *hc_comm_create(uint32_t num_ranks, uint32_t rank, int32_t device);
/* Let it be found from now on, and no more: false if it cannot be. */
void hc_comm_publish(struct hc_comm *comm);
bool hc_comm_withdraw(HcclComm comm);
/* Give up what connects it to the other ranks, if anything does. */
void hc_comm_disconnect(struct hc_comm *comm);
/* Check that `comm` lives; `caller` is the interface function for the text. */
HcclResult hc_comm_find(const char *caller, HcclComm comm, struct hc_comm **found);
/* The living one of this name that `device` is in. */
HcclResult hc_comm_find_named(const char *caller, const char *name, int32_t device, struct hc_comm **found);
/* Fail unless rank < num_ranks. */
HcclResult hc_comm_check_size(const char *caller, uint32_t num_ranks, uint32_t rank);
void hc_comm_retain(struct hc_comm *comm);
void hc_comm_release(struct hc_comm *comm);
/* Guards every communicator's fields that change after creation. */
void hc_comm_lock(void);
void hc_comm_unlock(void);
