// SPDX-License-Identifier: Apache-2.0
/* Communicators as operators see them (hc_groups.h): found by name, called with the types of tensors. */
#include "hc_groups.h"

#include "hc_comm_stream.h"

static int find(const char *caller, const char *name, int32_t device, struct hc_group *group) {
    struct hc_comm *c;
    HC_TRY(hc_comm_find_named(caller, name, device, &c));
    group->comm = c;
    group->rank = c->rank;
    group->num_ranks = c->num_ranks;
    return hc_comm_beside(caller, c, &group->beside);
}

/* Products of matrices have these types, blocks of bytes are int8, and no other is asked for. */
static HcclDataType to_hccl(aclDataType type) {
    if (type == ACL_FLOAT) return HCCL_DATA_TYPE_FP32;
    if (type == ACL_INT8) return HCCL_DATA_TYPE_INT8;
    return type == ACL_FLOAT16 ? HCCL_DATA_TYPE_FP16 : HCCL_DATA_TYPE_BFP16;
}

static int all_gather(const struct hc_group *group, void *send, void *recv, uint64_t count, aclDataType type,
                      aclrtStream stream) {
    return HcclAllGather(send, recv, count, to_hccl(type), group->comm, stream);
}

/* Two messages of one batch: neither waits for the other, whichever rank comes first. */
static int exchange(const struct hc_group *group, void *send, uint32_t to, void *recv, uint32_t from,
                    uint64_t count, aclDataType type, aclrtStream stream) {
    HcclSendRecvItem items[] = {{HCCL_SEND, send, count, to_hccl(type), to},
                                {HCCL_RECV, recv, count, to_hccl(type), from}};
    return HcclBatchSendRecv(items, HC_ARRAY_SIZE(items), group->comm, stream);
}

static int exchange_blocks(const struct hc_group *group, const struct hc_group_blocks *send,
                           const struct hc_group_blocks *recv, aclDataType type, aclrtStream stream) {
    return HcclAlltoAllV(send->data, send->counts, send->at, to_hccl(type), recv->data, recv->counts,
                         recv->at, to_hccl(type), group->comm, stream);
}

static int sum_scatter(const struct hc_group *group, void *send, void *recv, uint64_t count, aclDataType type,
                       aclrtStream stream) {
    return HcclReduceScatter(send, recv, count, to_hccl(type), HCCL_REDUCE_SUM, group->comm, stream);
}

static int sum(const struct hc_group *group, void *buffer, uint64_t count, aclDataType type,
               aclrtStream stream) {
    return HcclAllReduce(buffer, buffer, count, to_hccl(type), HCCL_REDUCE_SUM, group->comm, stream);
}

static const struct hc_group_calls CALLS = {
    .find = find,
    .all_gather = all_gather,
    .exchange = exchange,
    .exchange_blocks = exchange_blocks,
    .sum_scatter = sum_scatter,
    .sum = sum,
};

__attribute__((constructor)) static void offer(void) { hc_groups_offer(&CALLS); }
__attribute__((destructor)) static void withdraw(void) { hc_groups_offer(NULL); }
