// SPDX-License-Identifier: Apache-2.0
/* What algorithms over messages are made of: messages, scratch memory, and patterns that several of them
 * share (a ring of pieces, a tree of chunks).
 *
 * Every pattern combines in an order that depends on the number of ranks, the root and the count only, so
 * results are the same bits in every run, and all ranks get the same bits. */
#pragma once
#include "hc_op.h"
#include "hc_partial.h"

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

/* A stretch of every rank's slice: where it begins in the send and in the receive buffer (bytes), and
 * elements. */
struct hc_piece {
    size_t in, out, count;
};
enum hc_ring_part { HC_RING_REDUCE = 1, HC_RING_GATHER = 2 };
/* One round along the ring of ranks over `pieces`, one of every rank. REDUCE: each rank's piece is combined
 * over all ranks, beginning with the rank after it and ending with itself, and ends up in that rank's receive
 * buffer. GATHER: each rank's piece travels from its receive buffer to those of all others. */
HcclResult hc_ring_round(struct hc_op *op, unsigned parts, const struct hc_piece *pieces);
/* Elements of a piece that the ring's scratch memory suffices for. */
size_t hc_ring_piece(const struct hc_op *op);

/* Every rank's piece, combined in the order of ranks in one step, ends up in that rank's receive buffer: each
 * rank gets it from all others at once. The same bits as those of the direct algorithms. */
HcclResult hc_pairwise_round(struct hc_op *op, const struct hc_piece *pieces);
size_t hc_pairwise_piece(const struct hc_op *op);

/* Trees over ranks as seen from the root: v = (rank - root) mod N; the parent of v clears its lowest set bit.
 */
HcclResult hc_tree_broadcast(struct hc_op *op, uint32_t root, char *buffer, size_t bytes);
/* Combine op->send of all ranks into `recv`, used at the root only. A node combines its own data first, then
 * its children's in the order of their distance. */
HcclResult hc_tree_reduce(struct hc_op *op, uint32_t root, char *recv);

/* Pieces of the communicator for one round. Even: of op->count elements from `begin` on, at most `piece` for
 * each rank; returns the elements covered. Slices: `piece` elements of every rank's slice from `begin` on, at
 * most; false when all are at their ends. */
size_t hc_even_pieces(const struct hc_op *op, size_t begin, size_t piece);
bool hc_slice_pieces(const struct hc_op *op, const struct hc_slices *slices, size_t begin, size_t piece);
