// SPDX-License-Identifier: Apache-2.0
/* What algorithms over messages are made of: messages, scratch memory, pieces. Patterns that several of
 * them share have files of their own (ring.c, tree.c, pairwise.c).
 *
 * Every pattern combines in an order that depends on the number of ranks, the root and the count only, so
 * results are the same bits in every run, and all ranks get the same bits. */
#pragma once
#include "hc_algo.h"
#include "hc_exchange.h"
#include "hc_failure.h"
#include "hc_partial.h"
#include "hc_rank_copy.h"

/* Data moves in parts: small enough to combine one while the next one travels, large enough that the cost of
 * a message does not count. */
enum { HC_PART_BYTES = 256 << 10, HC_PARTS = 4 };

static inline struct hc_message hc_message_to(uint32_t peer, const char *buffer, size_t bytes,
                                              HcclDataType type) {
    return (struct hc_message){.direction = HC_OUT,
                               .peer = peer,
                               .buffer = (char *)(uintptr_t)buffer,
                               .bytes = bytes,
                               .type = (uint8_t)type};
}
static inline struct hc_message hc_message_from(uint32_t peer, char *buffer, size_t bytes,
                                                HcclDataType type) {
    return (struct hc_message){
        .direction = HC_IN, .peer = peer, .buffer = buffer, .bytes = bytes, .type = (uint8_t)type};
}

/* Memory of the communicator for the collective whose turn it is, at least `bytes` long; contents undefined.
 * NULL with the communicator failed. */
char *hc_steps_scratch(struct hc_op *op, size_t bytes);
/* Elements, at least 1, of a stretch so that `pieces` of them, `element` bytes each, fit into the scratch
 * memory that HCCL_BUFFSIZE allows, and a stretch is at most `bytes` long. The same on all ranks. */
size_t hc_steps_fit(const struct hc_op *op, size_t pieces, size_t element, size_t bytes);

/* Pieces of the communicator for one round. Even: of op->count elements from `begin` on, at most `piece` for
 * each rank; returns the elements covered. Slices: `piece` elements of every rank's slice from `begin` on, at
 * most; false when all are at their ends. */
size_t hc_even_pieces(const struct hc_op *op, size_t begin, size_t piece);
bool hc_slice_pieces(const struct hc_op *op, const struct hc_slices *slices, size_t begin, size_t piece);

/* The `supports` of algorithms over messages; they send from their receive buffer, too. */
bool hc_messages_support(const struct hc_op *op);
