// SPDX-License-Identifier: Apache-2.0
/* Collectives of a communicator of one rank: what arrives is what was sent. All arguments are checked as for
 * many. */
#include "hc_comm.h"

/* Find the communicator and the bytes of `count` elements. */
static HcclResult begin(const char *name, HcclComm comm, uint64_t count, HcclDataType type,
                        struct hc_comm **found, size_t *bytes) {
    HC_TRY(hc_comm_find(name, comm, found));
    const size_t size = hc_hccl_type_size(type);
    HC_CHECK(size > 0, HCCL_E_PARA, "%s: %d is no data type", name, (int)type);
    HC_CHECK(!__builtin_mul_overflow(count, size, bytes), HCCL_E_PARA,
             "%s: %llu elements of %zu bytes are too many", name, (unsigned long long)count, size);
    return HCCL_SUCCESS;
}

static HcclResult check_op(const char *name, HcclReduceOp op) {
    HC_CHECK((unsigned)op <= HCCL_REDUCE_MIN, HCCL_E_PARA, "%s: reduction %d, wanted %d to %d", name, (int)op,
             HCCL_REDUCE_SUM, HCCL_REDUCE_MIN);
    return HCCL_SUCCESS;
}

static HcclResult check_root(const char *name, const struct hc_comm *comm, uint32_t root) {
    HC_CHECK(root < comm->num_ranks, HCCL_E_PARA, "%s: root %u, wanted 0 to %u", name, root,
             comm->num_ranks - 1);
    return HCCL_SUCCESS;
}

/* The common case: `count` elements from one buffer to the other. */
static HcclResult copy_all(const char *name, void *dst, const void *src, uint64_t count, HcclDataType type,
                           HcclComm comm, aclrtStream stream) {
    struct hc_comm *c;
    struct hc_transfer t = {dst, src, 0};
    HC_TRY(begin(name, comm, count, type, &c, &t.bytes));
    return hc_comm_transfer(name, c, stream, &t, 1);
}

HcclResult HcclAllReduce(void *sendBuf, void *recvBuf, uint64_t count, HcclDataType dataType, HcclReduceOp op,
                         HcclComm comm, aclrtStream stream) {
    HC_TRY(check_op("HcclAllReduce", op));
    return copy_all("HcclAllReduce", recvBuf, sendBuf, count, dataType, comm, stream);
}

HcclResult HcclReduce(void *sendBuf, void *recvBuf, uint64_t count, HcclDataType dataType, HcclReduceOp op,
                      uint32_t root, HcclComm comm, aclrtStream stream) {
    struct hc_comm *c;
    HC_TRY(check_op("HcclReduce", op));
    HC_TRY(hc_comm_find("HcclReduce", comm, &c));
    HC_TRY(check_root("HcclReduce", c, root));
    return copy_all("HcclReduce", recvBuf, sendBuf, count, dataType, comm, stream);
}

HcclResult HcclBroadcast(void *buf, uint64_t count, HcclDataType dataType, uint32_t root, HcclComm comm,
                         aclrtStream stream) {
    struct hc_comm *c;
    HC_TRY(hc_comm_find("HcclBroadcast", comm, &c));
    HC_TRY(check_root("HcclBroadcast", c, root));
    return copy_all("HcclBroadcast", buf, buf, count, dataType, comm, stream);
}

HcclResult HcclAllGather(void *sendBuf, void *recvBuf, uint64_t sendCount, HcclDataType dataType,
                         HcclComm comm, aclrtStream stream) {
    return copy_all("HcclAllGather", recvBuf, sendBuf, sendCount, dataType, comm, stream);
}

HcclResult HcclReduceScatter(void *sendBuf, void *recvBuf, uint64_t recvCount, HcclDataType dataType,
                             HcclReduceOp op, HcclComm comm, aclrtStream stream) {
    HC_TRY(check_op("HcclReduceScatter", op));
    return copy_all("HcclReduceScatter", recvBuf, sendBuf, recvCount, dataType, comm, stream);
}

HcclResult HcclScatter(void *sendBuf, void *recvBuf, uint64_t recvCount, HcclDataType dataType, uint32_t root,
                       HcclComm comm, aclrtStream stream) {
    struct hc_comm *c;
    HC_TRY(hc_comm_find("HcclScatter", comm, &c));
    HC_TRY(check_root("HcclScatter", c, root));
    return copy_all("HcclScatter", recvBuf, sendBuf, recvCount, dataType, comm, stream);
}

/* One side of a transfer with counts and displacements (host arrays, one entry per rank, in elements). */
struct side {
    uint64_t count, displacement;
    HcclDataType type;
};

/* Both sides must move the same bytes; the addresses are advanced by the displacements. */
static HcclResult copy_sides(const char *name, const void *dst, const void *src, const struct side *to,
                             const struct side *from, HcclComm comm, aclrtStream stream) {
    struct hc_comm *c;
    size_t to_bytes, from_bytes, to_offset, from_offset;
    HC_TRY(begin(name, comm, to->count, to->type, &c, &to_bytes));
    HC_TRY(begin(name, comm, from->count, from->type, &c, &from_bytes));
    HC_TRY(begin(name, comm, to->displacement, to->type, &c, &to_offset));
    HC_TRY(begin(name, comm, from->displacement, from->type, &c, &from_offset));
    HC_CHECK(to_bytes == from_bytes, HCCL_E_PARA, "%s: rank 0 sends %zu bytes to itself but receives %zu",
             name, from_bytes, to_bytes);
    HC_CHECK(to_bytes == 0 || (dst != NULL && src != NULL), HCCL_E_PTR, "%s: a buffer of %zu bytes is null",
             name, to_bytes);
    if (to_bytes == 0) return hc_comm_transfer(name, c, stream, NULL, 0);
    const struct hc_transfer t = {(char *)dst + to_offset, (const char *)src + from_offset, to_bytes};
    return hc_comm_transfer(name, c, stream, &t, 1);
}

#define FIRST(array) (((const uint64_t *)(array))[0])

HcclResult HcclAllGatherV(void *sendBuf, uint64_t sendCount, void *recvBuf, const void *recvCounts,
                          const void *recvDispls, HcclDataType dataType, HcclComm comm, aclrtStream stream) {
    HC_CHECK(recvCounts && recvDispls, HCCL_E_PTR, "HcclAllGatherV: recvCounts or recvDispls is null");
    return copy_sides("HcclAllGatherV", recvBuf, sendBuf,
                      &(struct side){FIRST(recvCounts), FIRST(recvDispls), dataType},
                      &(struct side){sendCount, 0, dataType}, comm, stream);
}

HcclResult HcclReduceScatterV(void *sendBuf, const void *sendCounts, const void *sendDispls, void *recvBuf,
                              uint64_t recvCount, HcclDataType dataType, HcclReduceOp op, HcclComm comm,
                              aclrtStream stream) {
    HC_TRY(check_op("HcclReduceScatterV", op));
    HC_CHECK(sendCounts && sendDispls, HCCL_E_PTR, "HcclReduceScatterV: sendCounts or sendDispls is null");
    return copy_sides("HcclReduceScatterV", recvBuf, sendBuf, &(struct side){recvCount, 0, dataType},
                      &(struct side){FIRST(sendCounts), FIRST(sendDispls), dataType}, comm, stream);
}

HcclResult HcclAlltoAll(const void *sendBuf, uint64_t sendCount, HcclDataType sendType, const void *recvBuf,
                        uint64_t recvCount, HcclDataType recvType, HcclComm comm, aclrtStream stream) {
    return copy_sides("HcclAlltoAll", recvBuf, sendBuf, &(struct side){recvCount, 0, recvType},
                      &(struct side){sendCount, 0, sendType}, comm, stream);
}

HcclResult HcclAlltoAllV(const void *sendBuf, const void *sendCounts, const void *sdispls,
                         HcclDataType sendType, const void *recvBuf, const void *recvCounts,
                         const void *rdispls, HcclDataType recvType, HcclComm comm, aclrtStream stream) {
    HC_CHECK(sendCounts && sdispls && recvCounts && rdispls, HCCL_E_PTR,
             "HcclAlltoAllV: an array of counts or displacements is null");
    return copy_sides("HcclAlltoAllV", recvBuf, sendBuf,
                      &(struct side){FIRST(recvCounts), FIRST(rdispls), recvType},
                      &(struct side){FIRST(sendCounts), FIRST(sdispls), sendType}, comm, stream);
}

/* The matrix has a row per sender; buffers are packed, so displacements are sums of counts: 0 for the only
 * rank. */
HcclResult HcclAlltoAllVC(const void *sendBuf, const void *sendCountMatrix, HcclDataType sendType,
                          const void *recvBuf, HcclDataType recvType, HcclComm comm, aclrtStream stream) {
    HC_CHECK(sendCountMatrix != NULL, HCCL_E_PTR, "HcclAlltoAllVC: sendCountMatrix is null");
    const uint64_t count = FIRST(sendCountMatrix);
    return copy_sides("HcclAlltoAllVC", recvBuf, sendBuf, &(struct side){count, 0, recvType},
                      &(struct side){count, 0, sendType}, comm, stream);
}

/* Later work of the stream starts after earlier work, which is all that a barrier of one rank promises. */
HcclResult HcclBarrier(HcclComm comm, aclrtStream stream) {
    struct hc_comm *c;
    HC_TRY(hc_comm_find("HcclBarrier", comm, &c));
    return hc_comm_transfer("HcclBarrier", c, stream, NULL, 0);
}
