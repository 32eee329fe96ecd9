// SPDX-License-Identifier: Apache-2.0
#include "hc_op.h"

#include <stdio.h>
#include <stdlib.h>

#include "hc_checked.h"
#include "hc_error.h"

/* One piece of memory: the operation, its four arrays of slices, its messages. */
struct hc_op *hc_op_create(struct hc_comm *comm, enum hc_kind kind, bool slices, size_t num_messages) {
    const size_t n = slices ? comm->num_ranks : 0;
    size_t bytes;
    const bool fits = hc_bytes_behind_fit(sizeof(struct hc_op) + 4 * n * sizeof(uint64_t), num_messages,
                                          sizeof(struct hc_message), &bytes);
    struct hc_op *op = fits ? calloc(1, bytes) : NULL;
    if (op == NULL) {
        hc_fail(HCCL_E_MEMORY, "%s: out of host memory", hc_kind_name(kind));
        return NULL;
    }
    op->comm = comm;
    op->kind = kind;
    op->num_messages = num_messages;
    op->messages = (struct hc_message *)(void *)(op + 1);
    if (slices) {
        uint64_t *words = (uint64_t *)(void *)(op->messages + num_messages);
        op->sends = (struct hc_slices){words, words + n};
        op->recvs = (struct hc_slices){words + 2 * n, words + 3 * n};
    }
    hc_comm_retain(comm);
    return op;
}

void hc_op_destroy(struct hc_op *op) {
    hc_comm_release(op->comm);
    free(op);
}

struct hc_signature hc_op_signature(const struct hc_op *op) {
    return (struct hc_signature){.kind = (uint8_t)op->kind,
                                 .type = (uint8_t)op->type,
                                 .reduce = (uint8_t)op->reduce,
                                 .root = op->root,
                                 .count = op->count};
}

const char *hc_op_text(const struct hc_op *op, char *text, size_t room) {
    const struct hc_comm *c = op->comm;
    if (hc_is_batch(op->kind))
        snprintf(text, room, "%s of communicator %s on rank %u of %u", hc_kind_name(op->kind), c->title,
                 c->rank, c->num_ranks);
    else
        snprintf(text, room, "%s number %u (%llu %s) of communicator %s on rank %u of %u",
                 hc_kind_name(op->kind), op->seq, (unsigned long long)op->count, hc_hccl_type_name(op->type),
                 c->title, c->rank, c->num_ranks);
    return text;
}

enum hc_channel hc_op_channel(const struct hc_op *op) {
    return hc_is_batch(op->kind) ? HC_CHANNEL_POINT_TO_POINT : HC_CHANNEL_COLLECTIVE;
}
