// SPDX-License-Identifier: Apache-2.0
#include "hc_steps.h"

#include <stdlib.h>

bool hc_messages_support(const struct hc_op *op) { return op->comm->transport != NULL; }

/* Half of what HCCL_BUFFSIZE allows: the other half is for lanes, where there are any. */
static size_t budget(const struct hc_comm *c) { return ((size_t)c->buffer_megabytes << 20) / 2; }

char *hc_steps_scratch(struct hc_op *op, size_t bytes) {
    struct hc_comm *c = op->comm;
    if (bytes <= c->scratch_bytes) return c->scratch;
    free(c->scratch);
    c->scratch = malloc(bytes);
    c->scratch_bytes = c->scratch != NULL ? bytes : 0;
    if (c->scratch == NULL)
        hc_comm_fail(c, HCCL_E_MEMORY, "%s of communicator %s: out of host memory (%zu bytes)",
                     hc_kind_name(op->kind), c->title, bytes);
    return c->scratch;
}

size_t hc_steps_fit(const struct hc_op *op, size_t pieces, size_t element, size_t bytes) {
    const size_t room = hc_min_size(budget(op->comm) / pieces, bytes) / element;
    return hc_max_size(room, 1);
}

size_t hc_even_pieces(const struct hc_op *op, size_t begin, size_t piece) {
    struct hc_comm *c = op->comm;
    const size_t n = hc_min_size(op->count - begin, piece * c->num_ranks);
    const size_t slice = hc_ceil_div(n, c->num_ranks);
    for (uint32_t r = 0; r < c->num_ranks; r++) {
        const size_t low = hc_min_size(r * slice, n), high = hc_min_size(low + slice, n);
        const size_t at = (begin + low) * op->element;
        c->pieces[r] = (struct hc_piece){.in = at, .out = at, .count = high - low};
    }
    return n;
}

bool hc_slice_pieces(const struct hc_op *op, const struct hc_slices *slices, size_t begin, size_t piece) {
    struct hc_comm *c = op->comm;
    size_t total = 0;
    for (uint32_t r = 0; r < c->num_ranks; r++) {
        const size_t length = slices->lengths[r] / op->element, low = hc_min_size(begin, length);
        const size_t count = hc_min_size(length - low, piece);
        c->pieces[r] = (struct hc_piece){.in = slices->offsets[r] + low * op->element,
                                         .out = slices->offsets[r] + low * op->element,
                                         .count = count};
        total += count;
    }
    return total > 0;
}
