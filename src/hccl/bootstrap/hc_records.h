// SPDX-License-Identifier: Apache-2.0
/* What crosses the network while ranks meet and after, and the one place that reads it.
 *
 *   answering side                         caller
 *   challenge (a fresh nonce)      ->
 *                                  <-      call: who it is, a nonce of its own, proof
 *   seat: taken or not, proof      ->
 *                                  <-      blob (transport address), call.member.blob_bytes long
 *   answer, proof; members, blobs  ->      when all have called
 *   notices                       <->      as long as both want
 *
 * A proof is an HMAC of the meeting's key over both nonces and the record: the key does not cross the
 * network, and what was recorded is of no use later. Records are structures as they are in memory: ranks are
 * of one byte order and one release, which the sizes in a call tell. They do not hide anything from who
 * listens. */
#pragma once
#include "hc_host.h"
#include "hc_secret.h"

enum { HC_MAX_RANKS = 1 << 16, HC_BLOB_MAX = 1 << 16, HC_NONCE_BYTES = 16 };

/* What a rank tells the others. */
struct hc_member {
    uint32_t rank;
    int32_t pid;
    int32_t device;     /* its physical id: the same in all processes of the host */
    int32_t heap_file;  /* number of the file with the device's memory, in that process */
    int32_t board_file; /* number of a file that may become the shared board */
    uint32_t buffer_megabytes;
    uint64_t options; /* hash of those that must be the same everywhere */
    struct hc_host_id host;
    char host_name[64];
    char comm_name[HCCL_COMM_NAME_BYTES]; /* empty: the caller gave none */
    uint32_t unused, blob_bytes;          /* transport address between hosts, */
    const unsigned char *blob;            /* valid here as long as the members are; NULL on the network */
};

struct hc_challenge {
    char magic[8];
    uint32_t version, unused;
    unsigned char nonce[HC_NONCE_BYTES];
};
struct hc_call {
    char magic[8];
    uint32_t version;
    uint32_t member_bytes; /* sizeof(struct hc_member): another one means another release */
    uint64_t key_name;
    uint64_t id[2];
    uint32_t num_ranks, timeout_ms;
    struct hc_member member;
    unsigned char nonce[HC_NONCE_BYTES];
    unsigned char proof[HC_SHA256_BYTES];
};
struct hc_seat {
    uint32_t taken, unused;
    unsigned char proof[HC_SHA256_BYTES];
};
struct hc_answer {
    uint32_t code; /* HcclResult */
    uint32_t num_members;
    uint64_t blob_bytes; /* of all members, behind the records */
    char text[512];
    unsigned char digest[HC_SHA256_BYTES]; /* of members and blobs */
    unsigned char proof[HC_SHA256_BYTES];
};

/* What those who stay tell each other, and what the answering side tells them. */
enum hc_notice_type {
    HC_NOTICE_STAY,    /* first of a connection, before any other */
    HC_NOTICE_ASK,     /* what do you do? */
    HC_NOTICE_STATUS,  /* this */
    HC_NOTICE_FAILED,  /* my communicator has failed: code, text */
    HC_NOTICE_BYE,     /* I leave; the state I leave in is in the status */
    HC_NOTICE_ENDED,   /* answering side: that rank's connection closed without a goodbye */
    HC_NOTICE_CUT,     /* answering side: that rank does not answer any more */
    HC_NOTICE_WELCOME, /* answering side: the process that answers is `pid` on `host` */
    HC_NOTICE_CLOSING, /* answering side: it ends, in order */
    HC_NOTICES
};
enum { HC_NOTICE_ALL = 0xffffffff };
struct hc_notice {
    uint32_t type;
    uint32_t from; /* rank; set by the answering side */
    uint32_t to;   /* a rank, or HC_NOTICE_ALL others */
    int32_t code, pid;
    uint32_t seq, kind, data_type, inside, message_inside, message_peer, message_direction;
    uint64_t count;
    struct hc_host_id host;
    char text[512];
};

/* Read what came from outside: `length` bytes, none beyond. False if they are no such record: they are too
 * few or too many, or a number in them cannot be meant. Texts come out with an end and without control
 * characters, pointers as NULL. Nothing is allocated. */
bool hc_read_challenge(const void *bytes, size_t length, struct hc_challenge *challenge);
bool hc_read_call(const void *bytes, size_t length, struct hc_call *call);
bool hc_read_seat(const void *bytes, size_t length, struct hc_seat *seat);
/* Of a meeting of `num_ranks`: either an error, or as many members as are wanted, with blobs in proportion.
 */
bool hc_read_answer(const void *bytes, size_t length, uint32_t num_ranks, struct hc_answer *answer);
/* Members and the blobs behind them, in place: each is at its rank, and its blob is pointed at. */
bool hc_read_members(struct hc_member *members, size_t length, uint32_t num_ranks);
/* From one of `num_ranks`, or from the answering side. */
bool hc_read_notice(const void *bytes, size_t length, uint32_t num_ranks, struct hc_notice *notice);

/* A challenge with a fresh nonce. */
HcclResult hc_challenge_make(const char *caller, struct hc_challenge *challenge);
/* Set what is the same in all calls, and the proof. */
HcclResult hc_call_seal(const char *caller, struct hc_call *call, const struct hc_challenge *challenge,
                        const struct hc_key *key);
void hc_seat_seal(struct hc_seat *seat, const struct hc_challenge *challenge, const struct hc_call *call,
                  const struct hc_key *key);
void hc_answer_seal(struct hc_answer *answer, const struct hc_challenge *challenge,
                    const struct hc_call *call, const struct hc_key *key);
/* Whether the other side knows the key. */
bool hc_call_proven(const struct hc_call *call, const struct hc_challenge *challenge,
                    const struct hc_key *key);
bool hc_seat_proven(const struct hc_seat *seat, const struct hc_challenge *challenge,
                    const struct hc_call *call, const struct hc_key *key);
bool hc_answer_proven(const struct hc_answer *answer, const struct hc_challenge *challenge,
                      const struct hc_call *call, const struct hc_key *key);
