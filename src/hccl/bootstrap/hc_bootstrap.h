// SPDX-License-Identifier: Apache-2.0
/* How ranks find each other: one of them answers on a TCP port, the others call it, everyone gets the list.
 *
 * A process answers for any number of meetings; each has an id, and calls are accepted only with its token.
 * After the answer a caller may stay connected: what it sends from then on (struct hc_notice) is passed on to
 * the others that stay, and they are told when it goes. Nothing but these records crosses the network here,
 * and no byte of them is executed or trusted for a size without a check. */
#pragma once
#include <netinet/in.h>

#include "hc_util.h"
#include "hccl/hccl.h"

enum { HC_MEETING_ADDRESSES = 16, HC_MAX_RANKS = 1 << 16, HC_BLOB_MAX = 1 << 16 };

struct hc_host_id {
    uint64_t words[2]; /* kernel's boot id, and the namespaces and user that decide who can share memory */
};

/* Where and under which name ranks meet. */
struct hc_meeting {
    uint64_t id[2], token[2];
    struct hc_host_id host; /* of the process that answers */
    uint16_t port;
    uint16_t num_addresses;
    struct in_addr addresses[HC_MEETING_ADDRESSES]; /* of that host, loopback apart */
};

/* What a rank tells the others. Goes over the network as it is: ranks are of one byte order. */
struct hc_member {
    uint32_t rank;
    int32_t pid, device;
    int32_t heap_file;  /* number of the file with the device's memory, in that process */
    int32_t board_file; /* number of a file that may become the shared board */
    uint32_t buffer_megabytes;
    uint64_t options; /* hash of those that must be the same everywhere */
    struct hc_host_id host;
    char host_name[64];
    char comm_name[HCCL_COMM_NAME_BYTES]; /* empty: the caller gave none */
    uint32_t blob_bytes;                  /* transport address between hosts, */
    const unsigned char *blob;            /* valid here as long as the members are */
};

/* Make a meeting of a fresh id that this process answers for. */
HcclResult hc_meeting_create(const char *caller, struct hc_meeting *meeting);
/* The meeting of a part of the ranks: same place, an id that all of them derive alike. */
void hc_meeting_derive(const struct hc_meeting *parent, const void *bytes, size_t length,
                       struct hc_meeting *meeting);
/* Two words that depend on all bytes; for names, not for secrets. */
void hc_hash(const void *bytes, size_t length, uint64_t words[2]);

/* Say who we are and wait for the other ranks, at most `timeout_s` (HCCL_E_TIMEOUT: the text says who is
 * missing). The list, in order of ranks, is one allocation: free() it. *connection is a socket to the
 * answering process, to stay or to close. */
HcclResult hc_meeting_join(const char *caller, const struct hc_meeting *meeting, uint32_t num_ranks,
                           const struct hc_member *self, uint32_t timeout_s, struct hc_member **members,
                           int *connection);

struct hc_host_id hc_host_self(void);

/* The wire, shared by caller and answering side. */
enum { HC_CALL_VERSION = 2 };
struct hc_call {
    char magic[8];
    uint32_t version, num_ranks;
    uint64_t id[2], token[2];
    uint32_t timeout_ms;
    uint32_t member_bytes; /* sizeof(struct hc_member): another one means another release */
    struct hc_member member;
};
struct hc_answer {
    uint32_t code; /* HcclResult */
    uint32_t num_members;
    uint64_t blob_bytes; /* of all members, behind the records */
    char text[512];
};
extern const char HC_CALL_MAGIC[8];

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
/* Make TCP find out within ten seconds that the other end, or the way to it, is gone. */
void hc_watch_silence(int socket);
/* Whether an error of a socket means that. */
bool hc_means_silence(int error);
/* Start answering if this process does not yet; the port it answers on. `port` 0: any free one. */
HcclResult hc_bootstrap_serve(const char *caller, uint16_t port, const uint64_t token[2], uint16_t *bound);
/* Stop answering: for aclFinalize. Calls under way are cut off. */
void hc_bootstrap_stop(void);
