// SPDX-License-Identifier: Apache-2.0
/* Groups of ranks that an operator names: a product and a collective in one.
 *
 * The runtime keeps the table and knows no communicator. libhccl hands it over when it is loaded; libopapi,
 * which does not know libhccl either, finds a group by the name that HcclGetCommName gives. */
#pragma once
#include "acl/acl.h"
#include "hc_util.h"

struct hc_group_calls;

/* A buffer of one block for each rank: how many elements it has, and at which element it begins. The arrays
 * are read during the call. */
struct hc_group_blocks {
    void *data;
    const uint64_t *counts, *at;
};

/* One rank's side of a communicator. Valid as long as that lives; each call checks that it does. */
struct hc_group {
    void *comm; /* HcclComm */
    uint32_t rank, num_ranks;
    /* For collectives that run beside what the operator's own stream computes; NULL where they would only
     * take the cores from it: between ranks that copy in one memory. The communicator's: it ends with that.
     */
    aclrtStream beside;
    const struct hc_group_calls *calls;
};

/* What it can do. All return 0 or a code, with a text; collectives are launched, in the order of these calls,
 * and their errors come from the stream. Counts are elements of one rank. */
struct hc_group_calls {
    int (*find)(const char *caller, const char *name, int32_t device, struct hc_group *group);
    int (*all_gather)(const struct hc_group *group, void *send, void *recv, uint64_t count, aclDataType type,
                      aclrtStream stream);
    /* To one rank, and from one, at the same time. */
    int (*exchange)(const struct hc_group *group, void *send, uint32_t to, void *recv, uint32_t from,
                    uint64_t count, aclDataType type, aclrtStream stream);
    /* Block j of `send` to rank j, block i of `recv` from rank i, this rank's own included. */
    int (*exchange_blocks)(const struct hc_group *group, const struct hc_group_blocks *send,
                           const struct hc_group_blocks *recv, aclDataType type, aclrtStream stream);
    int (*sum_scatter)(const struct hc_group *group, void *send, void *recv, uint64_t count, aclDataType type,
                       aclrtStream stream);
    int (*sum)(const struct hc_group *group, void *buffer, uint64_t count, aclDataType type,
               aclrtStream stream);
};

/* Thread-safe. The table is static memory of its owner, who takes it back with NULL before it goes. */
HC_SHARED void hc_groups_offer(const struct hc_group_calls *calls);
/* The group called `name` that this thread's device is in. `caller` is the operator, for the text. */
HC_SHARED aclError hc_group_find(const char *caller, const char *name, struct hc_group *group);
