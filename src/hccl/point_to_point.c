// SPDX-License-Identifier: Apache-2.0
/* Send and receive. With one rank the only peer is the rank itself: the n-th send of a group or batch meets
 * the n-th receive. Outside of both, a send to oneself could only wait for ever, so it is refused. */
#include <stdlib.h>

#include "hc_comm.h"
#include "hc_group.h"

/* The calls between the outermost HcclGroupStart and HcclGroupEnd, per thread as in the interface. */
struct pending {
    HcclSendRecvItem item;
    HcclComm comm;
    aclrtStream stream;
};
static _Thread_local struct {
    unsigned depth;
    size_t count, capacity;
    struct pending *calls;
} g_group;

static const char *direction(HcclSendRecvType type) { return type == HCCL_SEND ? "send" : "receive"; }

static HcclResult check_item(const char *name, const struct hc_comm *comm, const HcclSendRecvItem *item) {
    HC_CHECK((unsigned)item->sendRecvType < HCCL_SEND_RECV_RESERVED, HCCL_E_PARA,
             "%s: %d is neither send nor receive", name, (int)item->sendRecvType);
    HC_CHECK(hc_hccl_type_size(item->dataType) > 0, HCCL_E_PARA, "%s: %d is no data type", name,
             (int)item->dataType);
    HC_CHECK(item->remoteRank < comm->num_ranks, HCCL_E_PARA, "%s: %s with rank %u, wanted 0 to %u", name,
             direction(item->sendRecvType), item->remoteRank, comm->num_ranks - 1);
    HC_CHECK(item->buf != NULL || item->count == 0, HCCL_E_PTR,
             "%s: the buffer of a %s of %llu elements is null", name, direction(item->sendRecvType),
             (unsigned long long)item->count);
    return HCCL_SUCCESS;
}

/* The next item of a direction from `at` on, or `count`. */
static uint32_t next_item(const HcclSendRecvItem *items, uint32_t count, uint32_t at, HcclSendRecvType type) {
    while (at < count && items[at].sendRecvType != type) at++;
    return at;
}

/* Pair sends and receives in their order. */
static HcclResult match_items(const char *name, const HcclSendRecvItem *items, uint32_t count,
                              struct hc_transfer *transfers, size_t *num_transfers) {
    uint32_t send = next_item(items, count, 0, HCCL_SEND), recv = next_item(items, count, 0, HCCL_RECV);
    for (; send < count && recv < count; (*num_transfers)++) {
        const size_t sent = items[send].count * hc_hccl_type_size(items[send].dataType);
        const size_t wanted = items[recv].count * hc_hccl_type_size(items[recv].dataType);
        HC_CHECK(sent == wanted, HCCL_E_PARA, "%s: item %u sends %zu bytes, its receive (item %u) takes %zu",
                 name, send, sent, recv, wanted);
        transfers[*num_transfers] = (struct hc_transfer){items[recv].buf, items[send].buf, sent};
        send = next_item(items, count, send + 1, HCCL_SEND);
        recv = next_item(items, count, recv + 1, HCCL_RECV);
    }
    const uint32_t left = send < recv ? send : recv;
    HC_CHECK(left == count, HCCL_E_PARA, "%s: item %u, a %s, has no partner in this communicator of 1 rank",
             name, left, direction(items[left].sendRecvType));
    return HCCL_SUCCESS;
}

static HcclResult run_items(const char *name, struct hc_comm *comm, const HcclSendRecvItem *items,
                            uint32_t count, aclrtStream stream) {
    struct hc_transfer *transfers = calloc(count > 0 ? count : 1, sizeof *transfers);
    HC_CHECK(transfers != NULL, HCCL_E_MEMORY, "%s: out of host memory", name);
    size_t num_transfers = 0;
    HcclResult status = match_items(name, items, count, transfers, &num_transfers);
    if (status == HCCL_SUCCESS) status = hc_comm_transfer(name, comm, stream, transfers, num_transfers);
    free(transfers);
    return status;
}

HcclResult HcclBatchSendRecv(HcclSendRecvItem *sendRecvInfo, uint32_t itemNum, HcclComm comm,
                             aclrtStream stream) {
    struct hc_comm *c;
    HC_TRY(hc_comm_find("HcclBatchSendRecv", comm, &c));
    HC_CHECK(sendRecvInfo != NULL || itemNum == 0, HCCL_E_PTR, "HcclBatchSendRecv: sendRecvInfo is null");
    for (uint32_t i = 0; i < itemNum; i++) HC_TRY(check_item("HcclBatchSendRecv", c, &sendRecvInfo[i]));
    return run_items("HcclBatchSendRecv", c, sendRecvInfo, itemNum, stream);
}

static HcclResult remember(const char *name, const HcclSendRecvItem *item, HcclComm comm,
                           aclrtStream stream) {
    if (g_group.count == g_group.capacity) {
        const size_t capacity = g_group.capacity > 0 ? 2 * g_group.capacity : 16;
        struct pending *calls = realloc(g_group.calls, capacity * sizeof *calls);
        HC_CHECK(calls != NULL, HCCL_E_MEMORY, "%s: out of host memory", name);
        g_group.calls = calls;
        g_group.capacity = capacity;
    }
    g_group.calls[g_group.count++] = (struct pending){*item, comm, stream};
    return HCCL_SUCCESS;
}

static HcclResult send_or_receive(const char *name, const HcclSendRecvItem *item, HcclComm comm,
                                  aclrtStream stream) {
    struct hc_comm *c;
    HC_TRY(hc_comm_find(name, comm, &c));
    HC_TRY(check_item(name, c, item));
    HC_CHECK(
        g_group.depth > 0, HCCL_E_PARA,
        "%s: rank %u is this rank itself, which works only between HcclGroupStart and HcclGroupEnd or in "
        "HcclBatchSendRecv",
        name, item->remoteRank);
    return remember(name, item, comm, stream);
}

HcclResult HcclSend(void *sendBuf, uint64_t count, HcclDataType dataType, uint32_t destRank, HcclComm comm,
                    aclrtStream stream) {
    const HcclSendRecvItem item = {HCCL_SEND, sendBuf, count, dataType, destRank};
    return send_or_receive("HcclSend", &item, comm, stream);
}

HcclResult HcclRecv(void *recvBuf, uint64_t count, HcclDataType dataType, uint32_t srcRank, HcclComm comm,
                    aclrtStream stream) {
    const HcclSendRecvItem item = {HCCL_RECV, recvBuf, count, dataType, srcRank};
    return send_or_receive("HcclRecv", &item, comm, stream);
}

HcclResult hc_group_start(void) {
    g_group.depth++;
    return HCCL_SUCCESS;
}

/* Take the calls of the first pending communicator and stream out of the group and run them. */
static HcclResult run_first(HcclSendRecvItem *items) {
    const HcclComm comm = g_group.calls[0].comm;
    const aclrtStream stream = g_group.calls[0].stream;
    uint32_t taken = 0;
    size_t left = 0;
    for (size_t i = 0; i < g_group.count; i++) {
        const struct pending call = g_group.calls[i];
        if (call.comm == comm && call.stream == stream) items[taken++] = call.item;
        else g_group.calls[left++] = call;
    }
    g_group.count = left;
    struct hc_comm *c;
    HC_TRY(hc_comm_find("HcclGroupEnd", comm, &c));
    return run_items("HcclGroupEnd", c, items, taken, stream);
}

HcclResult hc_group_end(void) {
    HC_CHECK(g_group.depth > 0, HCCL_E_PARA, "HcclGroupEnd: no group was started in this thread");
    if (--g_group.depth > 0 || g_group.count == 0) return HCCL_SUCCESS;
    HcclSendRecvItem *items = calloc(g_group.count, sizeof *items);
    HcclResult status =
        items != NULL ? HCCL_SUCCESS : hc_fail(HCCL_E_MEMORY, "HcclGroupEnd: out of host memory");
    while (status == HCCL_SUCCESS && g_group.count > 0) status = run_first(items);
    free(items);
    free(g_group.calls);
    g_group.calls = NULL;
    g_group.count = g_group.capacity = 0;
    return status;
}
