// SPDX-License-Identifier: Apache-2.0
/* What connects the ranks of a communicator: how messages move, and how one learns what the others do.
 *
 * Two of them exist: shared memory (transport_shm.c, all ranks on one host) and UCX (transport_ucx.c). */
#pragma once
#include "hc_board.h"
#include "hc_op.h"

/* What a rank does, as far as this one knows. */
struct hc_rank_status {
    bool known;          /* false: it did not tell */
    bool settled;        /* what follows is of one moment */
    enum hc_stage stage; /* HC_ENDED: its process is gone; HC_CUT: its host, or the way to it */
    int32_t pid;
    uint32_t seq, kind, type; /* the collective it is in, or was in last; seq 0: none yet */
    bool inside;
    uint64_t count;
    bool message_inside; /* it waits in a point-to-point call with: */
    uint32_t message_peer, message_direction;
};

/* The first error of another rank. */
struct hc_report {
    HcclResult code;
    uint32_t rank;
    char text[512];
};

struct hc_transport {
    const char *name;
    /* How long a rank may be gone before what it left behind must have arrived. */
    uint64_t grace_ns;

    /* A message joins op->flight; nothing waits here. */
    HcclResult (*begin)(struct hc_op *op, struct hc_message *m);
    /* Move everything in op->flight until all `count` messages of `until` are over, and unlink those that
     * are. Fails, with the communicator failed, when hc_op_trouble says so. */
    HcclResult (*drive)(struct hc_op *op, const struct hc_message *until, size_t count);
    /* The operation failed: when this returns nobody touches its buffers any more. May be NULL. */
    void (*cancel)(struct hc_op *op);

    /* Tell the others of this communicator's first error. */
    void (*publish)(struct hc_comm *comm, HcclResult code, const char *text);
    /* Whether another rank has told of one. */
    bool (*reported)(struct hc_comm *comm, struct hc_report *report);
    void (*status)(const struct hc_comm *comm, uint32_t rank, struct hc_rank_status *status);
    /* Bring what `status` says up to date; may take seconds. NULL: it always is. */
    void (*ask)(struct hc_comm *comm);
};

/* What a rank shows the others, as a status of stage `presence->stage`. */
void hc_rank_status_read(const struct hc_presence *presence, struct hc_rank_status *status);
/* Fail because what `m->peer` sends is not what `m` receives. */
HcclResult hc_message_mismatch(struct hc_op *op, const struct hc_message *m, uint64_t bytes,
                               HcclDataType type);

extern const struct hc_transport hc_transport_shm, hc_transport_ucx;
