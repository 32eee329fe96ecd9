// SPDX-License-Identifier: Apache-2.0
/* Bruck's algorithm: at step k each rank sends all slices it has to the rank 2^k before it, and has twice as
 * many then: ceil(log2 N) steps for any N. Slices lie in scratch memory in the order of ranks from this one
 * on, so that a message is one stretch. For small data. */
#include "hc_steps.h"

/* Where the i-th piece from this rank on begins in the scratch memory; i = N: where all end. */
static size_t place(const struct hc_op *op, uint32_t i) {
    const struct hc_comm *c = op->comm;
    size_t bytes = 0;
    for (uint32_t k = 0; k < i; k++) bytes += c->pieces[(c->rank + k) % c->num_ranks].count * op->element;
    return bytes;
}

/* Bytes of `count` pieces from that rank on. */
static size_t bytes_from(const struct hc_op *op, uint32_t rank, uint32_t count) {
    const struct hc_comm *c = op->comm;
    size_t elements = 0;
    for (uint32_t k = 0; k < count; k++) elements += c->pieces[(rank + k) % c->num_ranks].count;
    return elements * op->element;
}

static HcclResult run_steps(struct hc_op *op, char *scratch) {
    const struct hc_comm *c = op->comm;
    const uint32_t n = c->num_ranks;
    for (uint32_t have = 1; have < n; have *= 2) {
        const uint32_t count = (uint32_t)hc_min_size(have, n - have);
        const uint32_t to = (c->rank + n - have) % n, from = (c->rank + have) % n;
        struct hc_message messages[] = {
            hc_message_from(from, scratch + place(op, have), bytes_from(op, from, count), op->type),
            hc_message_to(to, scratch, bytes_from(op, c->rank, count), op->type)};
        HC_TRY(hc_exchange(op, messages, 2));
    }
    return HCCL_SUCCESS;
}

static HcclResult run_round(struct hc_op *op, char *scratch, size_t at) {
    const struct hc_comm *c = op->comm;
    hc_copy(scratch, op->send + at * op->element, c->pieces[c->rank].count * op->element);
    HC_TRY(run_steps(op, scratch));
    for (uint32_t i = 0; i < c->num_ranks; i++) {
        const struct hc_piece *p = &c->pieces[(c->rank + i) % c->num_ranks];
        hc_copy(op->recv + p->out, scratch + place(op, i), p->count * op->element);
    }
    return HCCL_SUCCESS;
}

static HcclResult run(struct hc_op *op) {
    enum { PIECE_BYTES = 1 << 20 };
    const size_t piece = hc_steps_fit(op, op->comm->num_ranks, op->element, PIECE_BYTES);
    for (size_t at = 0; hc_slice_pieces(op, &op->recvs, at, piece); at += piece) {
        char *scratch = hc_steps_scratch(op, hc_max_size(place(op, op->comm->num_ranks), 1));
        if (scratch == NULL) return HCCL_E_MEMORY;
        HC_TRY(run_round(op, scratch, at));
    }
    return HCCL_SUCCESS;
}

const struct hc_algo hc_bruck_all_gather = {"bruck", hc_messages_support, run};
