// SPDX-License-Identifier: Apache-2.0
/* A collective or a batch of messages: what was called, in which order, and how it is carried out. */
#pragma once
#include "hc_comm.h"
#include "hc_names.h"
#include "hc_share.h"

enum { HC_BUFFER_SPANS = 12 }; /* stretches of memory that one buffer may lie in */

/* What all ranks must call alike. Compared byte by byte. */
struct hc_signature {
    uint8_t kind, type, reduce, unused;
    uint32_t root;
    uint64_t count;
};

/* Where a buffer is, for the others. */
struct hc_buffer {
    uint64_t address; /* in the process of its rank */
    uint32_t num_spans;
    struct hc_share_span spans[HC_BUFFER_SPANS];
};

/* One message of a batch, or of a step of an algorithm. */
enum hc_message_stage { HC_MESSAGE_WAITING, HC_MESSAGE_STREAMING, HC_MESSAGE_UNACKED, HC_MESSAGE_OVER };
struct hc_wire; /* of UCX, see hc_wires.h */
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
void hc_op_destroy(struct hc_op *op);

/* "HcclAllReduce number 3 (5 float32) of communicator x on rank 0 of 2"; returns `text`. */
const char *hc_op_text(const struct hc_op *op, char *text, size_t room);
/* Which of a rank's lanes its messages take. */
enum hc_channel hc_op_channel(const struct hc_op *op);
/* What this rank called, to compare. */
struct hc_signature hc_op_signature(const struct hc_op *op);
