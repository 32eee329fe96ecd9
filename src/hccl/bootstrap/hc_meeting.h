// SPDX-License-Identifier: Apache-2.0
/* How ranks find each other: one of them answers on a TCP port, the others call it, everyone gets the list.
 *
 * A process answers for any number of meetings; each has an id, and calls are accepted only from those who
 * know its key. After the answer a caller may stay connected: what it sends from then on (struct hc_notice)
 * is passed on to the others that stay, and they are told when it goes. */
#pragma once
#include "hc_records.h"

/* Where and under which name ranks meet. */
struct hc_meeting {
    uint64_t id[2];
    struct hc_key key;
    struct hc_host_id host; /* of the process that answers */
    uint16_t port;
    uint16_t num_addresses;
    struct in_addr addresses[HC_ADDRESSES]; /* that it answers on */
};

/* Make a meeting of a fresh id and key that this process answers for. */
HcclResult hc_meeting_create(const char *caller, struct hc_meeting *meeting);
/* The meeting of a part of the ranks: same place and key, an id that all of them derive alike. */
void hc_meeting_derive(const struct hc_meeting *parent, const void *bytes, size_t length,
                       struct hc_meeting *meeting);

/* Say who we are and wait for the other ranks, at most `timeout_s` (HCCL_E_TIMEOUT: the text says who is
 * missing). The list, in order of ranks, is one allocation: free() it. *connection is a socket to the
 * answering process, to stay or to close. */
HcclResult hc_meeting_join(const char *caller, const struct hc_meeting *meeting, uint32_t num_ranks,
                           const struct hc_member *self, uint32_t timeout_s, struct hc_member **members,
                           int *connection);
