// SPDX-License-Identifier: Apache-2.0
/* The board: memory that the ranks of a communicator on one host share, to find each other's buffers, to wait
 * for each other, and to tell what went wrong.
 *
 * One file without a name (memfd), made by the lowest rank of the host and opened by the others through
 * /proc; nothing of it is left when the last process ends, however it ends. Zero bytes are its valid initial
 * state. Every rank writes its own parts and reads those of the others:
 *
 *   head        first error of any rank
 *   presence    what a rank is doing, and the bell it sleeps on
 *   posts       per rank two: what it brings to the n-th collective that uses posts, in the post n % 2
 *   dones       number n of the last post in which a rank is done with the buffers of others
 *   tables      per rank two: sizes and places of the slices that it has for each rank
 *   lanes       per channel, sender and receiver: a ring of slots for messages
 */
#pragma once
#include "hc_op.h"
#include "hc_presence.h"

enum {
    HC_POST_BYTES = 8192, /* a post; what is left behind its head is room for data */
    HC_LANE_SLOTS = 8,    /* of a lane */
    HC_SLOT_MAX = 8192,   /* bytes of a slot, header included; less where many ranks share HCCL_BUFFSIZE */
    HC_SLOT_MIN = 512,
};

enum hc_post_flag {
    HC_POST_INLINE = 1, /* the data itself is in the post: nobody reads this rank's buffers */
    HC_POST_SHARED = 2, /* its buffers can be mapped by other processes */
};

struct hc_post_head {
    struct hc_bell number; /* n; what follows is valid from then on */
    uint32_t seq;          /* of the collective that it is about */
    struct hc_signature signature;
    uint64_t send_bytes; /* what this rank brings, which may differ between ranks */
    uint32_t flags;
};
struct hc_post {
    struct hc_post_head head;
    union {
        char data[HC_POST_BYTES - sizeof(struct hc_post_head)];
        struct {
            struct hc_buffer send, recv;
        } buffers;
    };
};
_Static_assert(sizeof(struct hc_post) == HC_POST_BYTES, "a post has another size");
enum { HC_INLINE_BYTES = HC_POST_BYTES - sizeof(struct hc_post_head) };

struct hc_done {
    _Alignas(64) struct hc_bell seq;
};

enum hc_slot_mode {
    HC_SLOT_EAGER,  /* the whole message is in the slot */
    HC_SLOT_SHARED, /* the receiver copies from the sender's buffer and acknowledges */
    HC_SLOT_FIRST,  /* the data follows in slots of HC_SLOT_MORE */
    HC_SLOT_MORE,
};
struct hc_slot {
    uint32_t mode, bytes; /* in this slot */
    uint64_t total;       /* of the message */
    uint32_t number;      /* of the collective or of the message in its lane, to notice a mismatch */
    uint8_t type, unused[3];
    struct hc_signature signature; /* of the collective */
    _Alignas(8) char data[];
};
struct hc_lane {
    _Alignas(64) atomic_uint head; /* slots filled; written by the sender */
    _Alignas(64) atomic_uint tail; /* slots emptied */
    atomic_uint acked;             /* HC_SLOT_SHARED messages copied; written by the receiver */
};

struct hc_board_head {
    atomic_uint failed; /* 0, 1: being written, 2: the rest is valid */
    int32_t code;
    uint32_t rank;
    char text[512];
};

struct hc_board {
    char *memory;
    size_t bytes, slot_bytes;
    uint32_t num_ranks;
    size_t presence_at, posts_at, dones_at, tables_at, lanes_at, lane_bytes;
};

/* A file for a board that this rank may have to provide; -1 with a text. */
int hc_board_file(const char *caller);
/* Map the board of a communicator whose ranks are all on this host, and wait until every rank has; `self` is
 * this rank's own file, which is closed. */
HcclResult hc_board_open(const char *caller, struct hc_comm *comm, int self);
/* Leave: the others see that this rank takes part in nothing any more. */
void hc_board_close(struct hc_comm *comm);
/* Bytes that a board of so many ranks takes at most, and its slots. */
size_t hc_board_layout(struct hc_board *board, uint32_t num_ranks, uint32_t buffer_megabytes);
/* HCCL_E_PARA where that is more than HCCL_BUFFSIZE allows. Ask before anything is shared: all ranks then
 * get this answer, none that of a peer which has ended. */
HcclResult hc_board_check(const char *caller, uint32_t num_ranks, uint32_t buffer_megabytes);

static inline struct hc_board_head *hc_board_head(const struct hc_board *b) {
    return (struct hc_board_head *)(void *)b->memory;
}
static inline struct hc_presence *hc_presence_of(const struct hc_board *b, uint32_t rank) {
    return (struct hc_presence *)(void *)(b->memory + b->presence_at) + rank;
}
static inline struct hc_post *hc_post(const struct hc_board *b, uint32_t rank, uint32_t number) {
    return (struct hc_post *)(void *)(b->memory + b->posts_at) + ((size_t)rank * 2 + number % 2);
}
static inline struct hc_bell *hc_done(const struct hc_board *b, uint32_t rank) {
    return &((struct hc_done *)(void *)(b->memory + b->dones_at) + rank)->seq;
}
/* Bytes and places of the slices for every rank: [num_ranks] offsets, then [num_ranks] lengths, in bytes. */
static inline uint64_t *hc_table(const struct hc_board *b, uint32_t rank, uint32_t number) {
    return (uint64_t *)(void *)(b->memory + b->tables_at) +
           ((size_t)rank * 2 + number % 2) * 2 * b->num_ranks;
}
static inline struct hc_lane *hc_lane(const struct hc_board *b, enum hc_channel channel, uint32_t from,
                                      uint32_t to) {
    const size_t index = ((size_t)channel * b->num_ranks + from) * b->num_ranks + to;
    return (struct hc_lane *)(void *)(b->memory + b->lanes_at + index * b->lane_bytes);
}
static inline struct hc_slot *hc_slot(const struct hc_board *b, struct hc_lane *lane, uint32_t number) {
    return (struct hc_slot *)(void *)((char *)(lane + 1) + (number % HC_LANE_SLOTS) * b->slot_bytes);
}

/* Whether what a rank brings goes into its post, so that nobody uses its buffers. Only the rank itself knows:
 * for collectives with slices of different sizes each decides for itself, for all others the sizes, and so
 * the decision, are the same everywhere. */
static inline bool hc_op_fits_post(const struct hc_op *op) {
    const bool reduces = op->kind == HC_OP_ALL_REDUCE || op->kind == HC_OP_REDUCE;
    return hc_max_size(op->send_bytes, reduces ? op->recv_bytes : 0) <= HC_INLINE_BYTES;
}
