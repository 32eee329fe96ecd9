// SPDX-License-Identifier: Apache-2.0
/* What connects the ranks of a communicator: how messages move, and how one learns what the others do.
 *
 * This is all that a communicator knows of it, and the one way in which it is told to let go (close). Two of
 * them exist: shared memory (transport_shm.c, all ranks on one host) and UCX (transport_ucx.c). */
#pragma once
#include "hc_op.h"
#include "hc_presence.h"

struct hc_transport {
    const char *name;
    /* Let go of all that connects this rank, as far as it was opened; the others see that it has left. */
    void (*close)(struct hc_comm *comm);
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
