// SPDX-License-Identifier: Apache-2.0
/* How ranks find each other: one of them answers on a TCP port, the others call it, everyone gets the list.
 *
 * A process answers for any number of meetings; each has an id, and calls are accepted only with its token.
 * Nothing but these records crosses the network here, and no byte of them is executed or trusted for a size
 * without a check. */
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
    struct hc_host_id host;
    char host_name[64];
    char comm_name[HCCL_COMM_NAME_BYTES]; /* empty: the caller gave none */
    uint32_t blob_bytes;                  /* transport address between hosts, */
    const unsigned char *blob;            /* valid here as long as the members are */
};

/* Make a meeting of a fresh id that this process answers for. */
HcclResult hc_meeting_create(const char *caller, struct hc_meeting *meeting);
/* Answer for meetings at a known port as well (rank tables). */
HcclResult hc_meeting_listen(const char *caller, uint16_t port);
/* The meeting of a part of the ranks: same place, an id that all of them derive alike. */
void hc_meeting_derive(const struct hc_meeting *parent, const void *bytes, size_t length,
                       struct hc_meeting *meeting);
/* Two words that depend on all bytes; for names, not for secrets. */
void hc_hash(const void *bytes, size_t length, uint64_t words[2]);

/* Say who we are and wait for the other ranks, at most `timeout_s` (HCCL_E_TIMEOUT: the text says who is
 * missing). The list, in order of ranks, is one allocation: free() it. */
HcclResult hc_meeting_join(const char *caller, const struct hc_meeting *meeting, uint32_t num_ranks,
                           const struct hc_member *self, uint32_t timeout_s, struct hc_member **members);

struct hc_host_id hc_host_self(void);

/* The wire, shared by caller and answering side. */
enum { HC_CALL_VERSION = 1 };
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
/* Start answering if this process does not yet; the port it answers on. `port` 0: any free one. */
HcclResult hc_bootstrap_serve(const char *caller, uint16_t port, const uint64_t token[2], uint16_t *bound);
/* Stop answering: for aclFinalize. Calls under way are cut off. */
void hc_bootstrap_stop(void);
