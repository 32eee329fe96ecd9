// SPDX-License-Identifier: Apache-2.0
/* A collective or a batch of messages: what was called, in which order, and how it is carried out. */
#pragma once
#include "hc_board.h"
#include "hc_comm.h"
#include "hc_launch.h"

/* X(identifier, function of the interface, name in options) */
#define HC_FOR_COLLECTIVES(X)                                                                                \
    X(ALL_REDUCE, "HcclAllReduce", "all_reduce")                                                             \
    X(REDUCE, "HcclReduce", "reduce")                                                                        \
    X(BROADCAST, "HcclBroadcast", "broadcast")                                                               \
    X(ALL_GATHER, "HcclAllGather", "all_gather")                                                             \
    X(ALL_GATHER_V, "HcclAllGatherV", "all_gather")                                                          \
    X(REDUCE_SCATTER, "HcclReduceScatter", "reduce_scatter")                                                 \
    X(REDUCE_SCATTER_V, "HcclReduceScatterV", "reduce_scatter")                                              \
    X(SCATTER, "HcclScatter", "scatter")                                                                     \
    X(ALL_TO_ALL, "HcclAlltoAll", "all_to_all")                                                              \
    X(ALL_TO_ALL_V, "HcclAlltoAllV", "all_to_all")                                                           \
    X(ALL_TO_ALL_VC, "HcclAlltoAllVC", "all_to_all")                                                         \
    X(BARRIER, "HcclBarrier", "barrier")                                                                     \
    X(SEND, "HcclSend", "send")                                                                              \
    X(RECV, "HcclRecv", "recv")                                                                              \
    X(BATCH, "HcclBatchSendRecv", "batch")                                                                   \
    X(GROUP, "HcclGroupEnd", "group")

enum hc_kind {
#define X(id, name, option) HC_OP_##id,
    HC_FOR_COLLECTIVES(X)
#undef X
        HC_OP_KINDS
};

const char *hc_kind_name(unsigned kind);
const char *hc_kind_option(unsigned kind);
const char *hc_reduce_name(HcclReduceOp reduce);

/* One message of a batch, or of a step of an algorithm. */
enum hc_message_stage { HC_MESSAGE_WAITING, HC_MESSAGE_STREAMING, HC_MESSAGE_UNACKED, HC_MESSAGE_OVER };
struct hc_wire; /* of transport_ucx.c */
struct hc_message {
    enum hc_direction direction;
    uint32_t peer;
    char *buffer;
    size_t bytes;
    uint8_t type; /* HcclDataType, compared with the other side's */
    /* Set by the exchange; zero before. */
    struct hc_message *next; /* in hc_op.flight */
    enum hc_message_stage stage;
    uint32_t turn, ack; /* place in its lane; count of acknowledgements that ends it */
    size_t moved;
    struct hc_buffer where; /* sender's buffer, if it can be shared */
    struct hc_wire *wire;
};

/* Slices for or of every rank, in bytes from the start of the buffer. What is sent to, or received from,
 * every rank alike is the same slice num_ranks times. */
struct hc_slices {
    uint64_t *offsets, *lengths; /* [num_ranks]; NULL where the collective has no slices */
};

struct hc_algo;

struct hc_op {
    struct hc_comm *comm;
    enum hc_kind kind;
    HcclDataType type;
    HcclReduceOp reduce;
    uint32_t root;
    uint64_t count; /* as called; 0 where every rank has its own */
    size_t element; /* bytes */
    char *send, *recv;
    size_t send_bytes, recv_bytes; /* extent of the buffers that this rank uses */
    struct hc_slices sends, recvs;
    bool uneven;  /* others must be told this rank's slices: they cannot compute them */
    uint32_t seq; /* of a collective */
    const struct hc_algo *algo;
    struct hc_buffer send_at, recv_at; /* for the other ranks */
    bool shared;                       /* both are known to them */
    uint64_t deadline;                 /* of its waits, 0: none */
    size_t num_messages;
    struct hc_message *messages;             /* of a batch */
    struct hc_message *flight, **flight_end; /* messages under way, in the order they were started */
    uint32_t suspect;                        /* a rank that is gone and, since then, still waited for */
    uint64_t suspect_since;                  /* 0: none */
};

/* An operation of `comm` with room for slices (of sends and receives) or for messages. NULL with a text. */
struct hc_op *hc_op_create(struct hc_comm *comm, enum hc_kind kind, bool slices, size_t num_messages);
/* Put it into the stream; consumes it, also on failure. Collectives get their number here: ranks must launch
 * them in the same order. */
HcclResult hc_op_launch(struct hc_op *op, aclrtStream stream);
void hc_op_destroy(struct hc_op *op);

/* Wait until `bell` has reached `want`; gives up, with the communicator failed, when a rank of it has ended,
 * has left or has reported an error, when the time is over, or when the stream is aborted. */
HcclResult hc_wait(struct hc_op *op, struct hc_bell *bell, uint32_t want);
/* Wait until `bell` is no longer `seen`, in the same way. */
HcclResult hc_wait_change(struct hc_op *op, struct hc_bell *bell, uint32_t seen);

/* The communicator is broken: keep the first text, tell the other ranks. Returns the code. */
HcclResult hc_comm_fail(struct hc_comm *comm, HcclResult code, const char *fmt, ...) HC_PRINTF(3, 4);
/* Its first error, with the text set; HCCL_SUCCESS if it has none. */
HcclResult hc_comm_failure(struct hc_comm *comm);
/* The same, including what another rank has told meanwhile. */
HcclResult hc_comm_poll(struct hc_comm *comm);
/* HCCL_SUCCESS, or why a wait of `op` is hopeless. */
HcclResult hc_op_trouble(struct hc_op *op);
/* "HcclAllReduce number 3 (5 float32) of communicator x on rank 0 of 2"; returns `text`. */
const char *hc_op_text(const struct hc_op *op, char *text, size_t room);
/* What this rank called, to compare. */
struct hc_signature hc_op_signature(const struct hc_op *op);
/* Fail because `rank` called something else as its collective number `seq`. */
HcclResult hc_op_mismatch(struct hc_op *op, uint32_t rank, uint32_t seq, const struct hc_signature *other);

/* A way to carry out a kind of collective. */
struct hc_algo {
    const char *name;
    bool (*supports)(const struct hc_op *op);
    /* HC_DECLINED, the same on all ranks, hands over to the next one. */
    HcclResult (*run)(struct hc_op *op);
};
static const HcclResult HC_DECLINED = (HcclResult)0x7fff; /* none of the interface's codes */

/* The algorithm for an operation, or the next one after `declined`; NULL with a text. */
const struct hc_algo *hc_select(const struct hc_op *op, const struct hc_algo *declined);

/* The `supports` of algorithms over messages; they send from their receive buffer, too. */
bool hc_messages_support(const struct hc_op *op);
/* Fail unless MINDSPEED_HCCL_ALGO names collectives and algorithms that exist. */
HcclResult hc_select_check(const char *caller);

/* memcpy on the threads of operators where that pays; nothing where both are the same place. */
void hc_copy(char *to, const char *from, size_t bytes);
/* One of the copies that write `all` bytes together: those of all ranks compete for the caches. */
void hc_copy_part(char *to, const char *from, size_t bytes, size_t all);

/* Begin to move messages, side by side with those under way. They must stay where they are until a finish
 * that names them, or any finish that fails, has returned: on failure all of the operation is given up. */
HcclResult hc_exchange_start(struct hc_op *op, struct hc_message *messages, size_t count);
/* Move everything under way until these messages are over: their buffers may be used again. */
HcclResult hc_exchange_finish(struct hc_op *op, const struct hc_message *messages, size_t count);
/* Both. */
HcclResult hc_exchange(struct hc_op *op, struct hc_message *messages, size_t count);
enum hc_channel hc_op_channel(const struct hc_op *op);
/* Take the message at *link, which is over, out of op->flight. */
void hc_flight_unlink(struct hc_op *op, struct hc_message **link);
/* Whether all of these are over. */
bool hc_messages_over(const struct hc_message *messages, size_t count);
/* The next message in the lane of one that has moved may start, perhaps in another thread of this rank. */
void hc_message_pass_turn(const struct hc_op *op, const struct hc_message *m);

/* Whether what a rank brings goes into its post, so that nobody uses its buffers. Only the rank itself knows:
 * for collectives with slices of different sizes each decides for itself, for all others the sizes, and so
 * the decision, are the same everywhere. */
static inline bool hc_op_fits_post(const struct hc_op *op) {
    const bool reduces = op->kind == HC_OP_ALL_REDUCE || op->kind == HC_OP_REDUCE;
    return hc_max_size(op->send_bytes, reduces ? op->recv_bytes : 0) <= HC_INLINE_BYTES;
}
/* Messages of the interface, not a collective that all ranks call. */
static inline bool hc_is_batch(enum hc_kind kind) { return kind > HC_OP_BARRIER; }
