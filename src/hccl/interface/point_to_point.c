// SPDX-License-Identifier: Apache-2.0
/* Send and receive: alone, in a batch, or between HcclGroupStart and HcclGroupEnd. All messages of a batch or
 * group make progress side by side, so their order cannot block them. A message to the rank itself needs its
 * partner in the same batch: outside of one it could only wait for ever, so it is refused. */
#include <stdlib.h>

#include "hc_checked.h"
#include "hc_point_to_point.h"
#include "hc_op_launch.h"

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
    size_t bytes;
    HC_CHECK((unsigned)item->sendRecvType < HCCL_SEND_RECV_RESERVED, HCCL_E_PARA,
             "%s: %d is neither send nor receive", name, (int)item->sendRecvType);
    const size_t element = hc_hccl_type_size(item->dataType);
    HC_CHECK(element > 0, HCCL_E_PARA, "%s: %d is no data type", name, (int)item->dataType);
    HC_CHECK(item->remoteRank < comm->num_ranks, HCCL_E_PARA, "%s: %s with rank %u, wanted 0 to %u", name,
             direction(item->sendRecvType), item->remoteRank, comm->num_ranks - 1);
    HC_CHECK(item->buf != NULL || item->count == 0, HCCL_E_PTR,
             "%s: the buffer of a %s of %llu elements is null", name, direction(item->sendRecvType),
             (unsigned long long)item->count);
    HC_CHECK(hc_bytes_fit(item->count, element, &bytes) && hc_memory_possible(item->buf, bytes), HCCL_E_PARA,
             "%s: %llu elements of %zu bytes at %p are too many", name, (unsigned long long)item->count,
             element, item->buf);
    return HCCL_SUCCESS;
}

static size_t item_bytes(const HcclSendRecvItem *item) {
    return item->count * hc_hccl_type_size(item->dataType);
}

/* The next item with this rank itself of a direction from `at` on, or `count`. */
static uint32_t next_own(const struct hc_comm *c, const HcclSendRecvItem *items, uint32_t count, uint32_t at,
                         HcclSendRecvType type) {
    while (at < count && (items[at].sendRecvType != type || items[at].remoteRank != c->rank)) at++;
    return at;
}

/* The n-th message to oneself is the n-th from oneself, so they must be as many and as long. */
static HcclResult check_own(const char *name, const struct hc_comm *c, const HcclSendRecvItem *items,
                            uint32_t count) {
    uint32_t send = next_own(c, items, count, 0, HCCL_SEND), recv = next_own(c, items, count, 0, HCCL_RECV);
    for (; send < count && recv < count; send = next_own(c, items, count, send + 1, HCCL_SEND),
                                         recv = next_own(c, items, count, recv + 1, HCCL_RECV)) {
        HC_CHECK(item_bytes(&items[send]) == item_bytes(&items[recv]), HCCL_E_PARA,
                 "%s: item %u sends %zu bytes, its receive (item %u) takes %zu", name, send,
                 item_bytes(&items[send]), recv, item_bytes(&items[recv]));
    }
    const uint32_t left = send < recv ? send : recv;
    HC_CHECK(left == count, HCCL_E_PARA,
             "%s: item %u, a %s with rank %u itself, has no partner among the %u items", name, left,
             direction(items[left].sendRecvType), c->rank, count);
    return HCCL_SUCCESS;
}

static HcclResult run_items(enum hc_kind kind, struct hc_comm *comm, const HcclSendRecvItem *items,
                            uint32_t count, aclrtStream stream) {
    HC_TRY(check_own(hc_kind_name(kind), comm, items, count));
    struct hc_op *op = hc_op_create(comm, kind, false, count);
    if (op == NULL) return HCCL_E_MEMORY;
    for (uint32_t i = 0; i < count; i++) {
        op->messages[i] =
            (struct hc_message){.direction = items[i].sendRecvType == HCCL_SEND ? HC_OUT : HC_IN,
                                .peer = items[i].remoteRank,
                                .buffer = items[i].buf,
                                .bytes = item_bytes(&items[i]),
                                .type = (uint8_t)items[i].dataType};
    }
    return hc_op_launch(op, stream);
}

HcclResult HcclBatchSendRecv(HcclSendRecvItem *sendRecvInfo, uint32_t itemNum, HcclComm comm,
                             aclrtStream stream) {
    struct hc_comm *c;
    HC_TRY(hc_comm_find("HcclBatchSendRecv", comm, &c));
    HC_CHECK(sendRecvInfo != NULL || itemNum == 0, HCCL_E_PTR, "HcclBatchSendRecv: sendRecvInfo is null");
    for (uint32_t i = 0; i < itemNum; i++) HC_TRY(check_item("HcclBatchSendRecv", c, &sendRecvInfo[i]));
    return run_items(HC_OP_BATCH, c, sendRecvInfo, itemNum, stream);
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

static HcclResult send_or_receive(enum hc_kind kind, const HcclSendRecvItem *item, HcclComm comm,
                                  aclrtStream stream) {
    const char *name = hc_kind_name(kind);
    struct hc_comm *c;
    HC_TRY(hc_comm_find(name, comm, &c));
    HC_TRY(check_item(name, c, item));
    if (g_group.depth > 0) return remember(name, item, comm, stream);
    HC_CHECK(item->remoteRank != c->rank, HCCL_E_PARA,
             "%s: rank %u is this rank itself; pair its send and receive between HcclGroupStart and "
             "HcclGroupEnd or in HcclBatchSendRecv",
             name, item->remoteRank);
    return run_items(kind, c, item, 1, stream);
}

HcclResult HcclSend(void *sendBuf, uint64_t count, HcclDataType dataType, uint32_t destRank, HcclComm comm,
                    aclrtStream stream) {
    const HcclSendRecvItem item = {HCCL_SEND, sendBuf, count, dataType, destRank};
    return send_or_receive(HC_OP_SEND, &item, comm, stream);
}

HcclResult HcclRecv(void *recvBuf, uint64_t count, HcclDataType dataType, uint32_t srcRank, HcclComm comm,
                    aclrtStream stream) {
    const HcclSendRecvItem item = {HCCL_RECV, recvBuf, count, dataType, srcRank};
    return send_or_receive(HC_OP_RECV, &item, comm, stream);
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
    return run_items(HC_OP_GROUP, c, items, taken, stream);
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
