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

/* X(HcclDataType without its prefix, bytes of an element) */
#define HC_FOR_HCCL_TYPES(X)                                                                                 \
    X(INT8, 1)                                                                                               \
    X(INT16, 2)                                                                                              \
    X(INT32, 4)                                                                                              \
    X(FP16, 2)                                                                                               \
    X(FP32, 4)                                                                                               \
    X(INT64, 8)                                                                                              \
    X(UINT64, 8)                                                                                             \
    X(UINT8, 1)                                                                                              \
    X(UINT16, 2)                                                                                             \
    X(UINT32, 4) X(FP64, 8) X(BFP16, 2) X(INT128, 16) X(HIF8, 1) X(FP8E4M3, 1) X(FP8E5M2, 1) X(FP8E8M0, 1)

/* Registered memory, see comm_memory.c. */
struct hc_window;
/* Memory that all ranks of one host share, see hc_board.h. */
struct hc_board;
struct hc_peer_heap;
struct hc_presence;
/* What connects the ranks, see hc_transport.h. */
struct hc_transport;
/* Connections to other hosts, see hc_net.h. */
struct hc_net;
/* Stretch of a slice, see hc_steps.h. */
struct hc_piece;
struct hc_lifeline;

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
    bool suspended;
    char name[HCCL_COMM_NAME_BYTES];
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

/* Check that `comm` lives; `caller` is the interface function for the text. */
HcclResult hc_comm_find(const char *caller, HcclComm comm, struct hc_comm **found);
/* Join the other ranks at `meeting` on the current device; blocks until all have come. `config` may be NULL.
 */
HcclResult hc_comm_join(const char *caller, const struct hc_meeting *meeting, uint32_t num_ranks,
                        uint32_t rank, const HcclCommConfig *config, HcclComm *comm);
/* Fail unless rank < num_ranks. */
HcclResult hc_comm_check_size(const char *caller, uint32_t num_ranks, uint32_t rank);
void hc_comm_retain(struct hc_comm *comm);
void hc_comm_release(struct hc_comm *comm);
/* Guards every communicator's fields that change after creation. */
void hc_comm_lock(void);
void hc_comm_unlock(void);

/* Free all windows of a communicator that is being destroyed. */
void hc_windows_free(struct hc_window *windows);

/* Bytes of an element; 0 for what is no data type. */
size_t hc_hccl_type_size(HcclDataType type);
/* "float32", as in the trace. */
const char *hc_hccl_type_name(HcclDataType type);
/* Apply the process's options and a caller's config (NULL: none) to a new communicator. */
HcclResult hc_comm_configure(const char *caller, struct hc_comm *comm, const HcclCommConfig *config);
