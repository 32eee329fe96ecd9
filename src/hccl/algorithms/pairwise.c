// SPDX-License-Identifier: Apache-2.0
/* Each rank gets its piece from all others, side by side, and combines them in one pass, in the order of
 * ranks. The same (N - 1) / N of the data per rank as along a ring, in one step and in the data's own type,
 * but between all pairs of ranks: where several ranks share a host's network card, a ring crosses it less
 * often. */
#include <stdlib.h>

#include "hc_reduce.h"
#include "hc_pairwise.h"

static HcclResult exchange(struct hc_op *op, const struct hc_piece *pieces, struct hc_message *messages,
                           char *slots, size_t slot_bytes) {
    struct hc_comm *c = op->comm;
    const uint32_t n = c->num_ranks;
    const struct hc_piece *own = &pieces[c->rank];
    size_t count = 0;
    c->sources[c->rank] = op->send + own->in;
    for (uint32_t i = 1; i < n; i++) {
        const uint32_t to = (c->rank + i) % n, from = (c->rank + n - i) % n;
        char *slot = slots + (size_t)(i - 1) * slot_bytes;
        c->sources[from] = slot;
        if (own->count > 0)
            messages[count++] = hc_message_from(from, slot, own->count * op->element, op->type);
        if (pieces[to].count > 0)
            messages[count++] =
                hc_message_to(to, op->send + pieces[to].in, pieces[to].count * op->element, op->type);
    }
    return hc_exchange(op, messages, count);
}

size_t hc_pairwise_piece(const struct hc_op *op) {
    return hc_steps_fit(op, op->comm->num_ranks, op->element, (size_t)HC_PARTS * HC_PART_BYTES);
}

HcclResult hc_pairwise_round(struct hc_op *op, const struct hc_piece *pieces) {
    struct hc_comm *c = op->comm;
    const struct hc_piece *own = &pieces[c->rank];
    const size_t slot_bytes = own->count * op->element;
    char *slots = hc_steps_scratch(op, hc_max_size((c->num_ranks - 1) * slot_bytes, 1));
    struct hc_message *messages = calloc(2 * (size_t)c->num_ranks, sizeof *messages);
    HcclResult status;
    if (messages == NULL)
        status = hc_comm_fail(c, HCCL_E_MEMORY, "%s: out of host memory", hc_kind_name(op->kind));
    else status = slots != NULL ? exchange(op, pieces, messages, slots, slot_bytes) : HCCL_E_MEMORY;
    free(messages);
    char *to = op->recv + own->out;
    if (status == HCCL_SUCCESS && own->count > 0)
        hc_reduce(op->type, op->reduce, &to, 1, c->sources, c->num_ranks, own->count);
    return status;
}
