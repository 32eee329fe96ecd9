// SPDX-License-Identifier: Apache-2.0
/* What a host is, and where it is reached. */
#pragma once
#include <netinet/in.h>

#include "hc_util.h"
#include "hccl/hccl.h"

enum { HC_ADDRESSES = 16 };

struct hc_host_id {
    uint64_t words[2]; /* kernel's boot id, and the namespaces and user that decide who can share memory */
};
struct hc_host_id hc_host_self(void);

/* Where this process is to be reached: what HCCL_IF_IP says, else the addresses of the interfaces that
 * HCCL_SOCKET_IFNAME allows, else of all that are up, loopback included. At least one, or an error. */
HcclResult hc_host_addresses(const char *caller, struct in_addr addresses[HC_ADDRESSES], uint16_t *count);
/* Reached from this host only. */
bool hc_is_loopback(struct in_addr address);
/* An address that others could call: not "all of them", nor a group. */
bool hc_is_callable(struct in_addr address);

/* Two words that depend on all bytes; for names, not for secrets. */
void hc_hash(const void *bytes, size_t length, uint64_t words[2]);
