// SPDX-License-Identifier: Apache-2.0
/* Collectives of the interface: arguments are checked, sizes turned into bytes, the operation launched. */
#include <stdlib.h>

#include "hc_checked.h"
#include "hc_op_launch.h"
#include "hc_reduce.h"

/* What the functions share until they are launched. */
struct call {
    enum hc_kind kind;
    HcclDataType type;
    struct hc_comm *comm;
    size_t element;
};

static HcclResult begin(struct call *call, enum hc_kind kind, HcclComm comm, HcclDataType type) {
    const char *name = hc_kind_name(kind);
    HC_TRY(hc_comm_find(name, comm, &call->comm));
    call->kind = kind;
    call->type = type;
    call->element = hc_hccl_type_size(type);
    HC_CHECK(call->element > 0, HCCL_E_PARA, "%s: %d is no data type", name, (int)type);
    return HCCL_SUCCESS;
}

static HcclResult check_reduction(const struct call *call, HcclReduceOp op) {
    const char *name = hc_kind_name(call->kind);
    HC_CHECK((unsigned)op <= HCCL_REDUCE_MIN, HCCL_E_PARA, "%s: reduction %d, wanted %d to %d", name, (int)op,
             HCCL_REDUCE_SUM, HCCL_REDUCE_MIN);
    HC_CHECK(call->comm->num_ranks == 1 || hc_can_reduce(call->type, op), HCCL_E_NOT_SUPPORT,
             "%s: %s cannot be reduced, only moved; convert it to a wider type first", name,
             hc_hccl_type_name(call->type));
    return HCCL_SUCCESS;
}

static HcclResult check_root(const struct call *call, uint32_t root) {
    HC_CHECK(root < call->comm->num_ranks, HCCL_E_PARA, "%s: root %u, wanted 0 to %u",
             hc_kind_name(call->kind), root, call->comm->num_ranks - 1);
    return HCCL_SUCCESS;
}

/* count * times elements as bytes. Sums of parts of what fits here cannot overflow: it is half of a size_t.
 */
static HcclResult to_bytes(const struct call *call, uint64_t count, uint64_t times, size_t *bytes) {
    size_t elements;
    HC_CHECK(hc_mul_fits(count, times, &elements) && hc_bytes_fit(elements, call->element, bytes),
             HCCL_E_PARA, "%s: %llu elements of %zu bytes, %llu times, are too many",
             hc_kind_name(call->kind), (unsigned long long)count, call->element, (unsigned long long)times);
    return HCCL_SUCCESS;
}

static HcclResult check_buffer(const struct call *call, const char *which, const void *buffer, size_t bytes) {
    HC_CHECK(buffer != NULL || bytes == 0, HCCL_E_PTR, "%s: %s is null, %zu bytes are used",
             hc_kind_name(call->kind), which, bytes);
    HC_CHECK(hc_memory_possible(buffer, bytes), HCCL_E_PARA,
             "%s: %s, %zu bytes at %p, ends behind the address space", hc_kind_name(call->kind), which, bytes,
             buffer);
    return HCCL_SUCCESS;
}

/* Buffers must be the same at `send` and `recv` or not touch: what is read must not have been overwritten. */
static HcclResult check_overlap(const struct call *call, const char *send, size_t send_bytes,
                                const char *recv, size_t recv_bytes, bool same_is_fine) {
    if (send == recv && same_is_fine) return HCCL_SUCCESS;
    HC_CHECK(!hc_memory_overlaps(send, send_bytes, recv, recv_bytes), HCCL_E_PARA,
             "%s: the send buffer (%zu bytes at %p) and the receive buffer (%zu bytes at %p) overlap",
             hc_kind_name(call->kind), send_bytes, (const void *)send, recv_bytes, (const void *)recv);
    return HCCL_SUCCESS;
}

static struct hc_op *make(const struct call *call, bool slices) {
    struct hc_op *op = hc_op_create(call->comm, call->kind, slices, 0);
    if (op == NULL) return NULL;
    op->type = call->type;
    op->element = call->element;
    return op;
}

/* The whole buffer of `bytes` on both sides. */
static HcclResult launch_whole(const struct call *call, const void *send, size_t send_bytes, void *recv,
                               size_t recv_bytes, uint64_t count, HcclReduceOp reduce, uint32_t root,
                               aclrtStream stream) {
    struct hc_op *op = make(call, false);
    if (op == NULL) return HCCL_E_MEMORY;
    op->send = (char *)(uintptr_t)send;
    op->recv = recv;
    op->send_bytes = send_bytes;
    op->recv_bytes = recv_bytes;
    op->count = count;
    op->reduce = reduce;
    op->root = root;
    return hc_op_launch(op, stream);
}

HcclResult HcclAllReduce(void *sendBuf, void *recvBuf, uint64_t count, HcclDataType dataType, HcclReduceOp op,
                         HcclComm comm, aclrtStream stream) {
    struct call call;
    size_t bytes;
    HC_TRY(begin(&call, HC_OP_ALL_REDUCE, comm, dataType));
    HC_TRY(check_reduction(&call, op));
    HC_TRY(to_bytes(&call, count, 1, &bytes));
    HC_TRY(check_buffer(&call, "sendBuf", sendBuf, bytes));
    HC_TRY(check_buffer(&call, "recvBuf", recvBuf, bytes));
    HC_TRY(check_overlap(&call, sendBuf, bytes, recvBuf, bytes, true));
    return launch_whole(&call, sendBuf, bytes, recvBuf, bytes, count, op, 0, stream);
}

HcclResult HcclReduce(void *sendBuf, void *recvBuf, uint64_t count, HcclDataType dataType, HcclReduceOp op,
                      uint32_t root, HcclComm comm, aclrtStream stream) {
    struct call call;
    size_t bytes;
    HC_TRY(begin(&call, HC_OP_REDUCE, comm, dataType));
    HC_TRY(check_reduction(&call, op));
    HC_TRY(check_root(&call, root));
    HC_TRY(to_bytes(&call, count, 1, &bytes));
    const size_t recv_bytes = call.comm->rank == root ? bytes : 0;
    HC_TRY(check_buffer(&call, "sendBuf", sendBuf, bytes));
    HC_TRY(check_buffer(&call, "recvBuf", recvBuf, recv_bytes));
    HC_TRY(check_overlap(&call, sendBuf, bytes, recvBuf, recv_bytes, true));
    return launch_whole(&call, sendBuf, bytes, recvBuf, recv_bytes, count, op, root, stream);
}

HcclResult HcclBroadcast(void *buf, uint64_t count, HcclDataType dataType, uint32_t root, HcclComm comm,
                         aclrtStream stream) {
    struct call call;
    size_t bytes;
    HC_TRY(begin(&call, HC_OP_BROADCAST, comm, dataType));
    HC_TRY(check_root(&call, root));
    HC_TRY(to_bytes(&call, count, 1, &bytes));
    HC_TRY(check_buffer(&call, "buf", buf, bytes));
    const bool sends = call.comm->rank == root;
    return launch_whole(&call, buf, sends ? bytes : 0, buf, sends ? 0 : bytes, count, 0, root, stream);
}

HcclResult HcclBarrier(HcclComm comm, aclrtStream stream) {
    struct call call;
    HC_TRY(begin(&call, HC_OP_BARRIER, comm, HCCL_DATA_TYPE_INT8));
    return launch_whole(&call, NULL, 0, NULL, 0, 0, 0, 0, stream);
}

/* Slices of equal size, one after the other. */
static void fill_even(struct hc_slices *s, uint32_t num_ranks, uint64_t bytes) {
    for (uint32_t r = 0; r < num_ranks; r++) {
        s->offsets[r] = r * bytes;
        s->lengths[r] = bytes;
    }
}

/* The same slice for or from every rank. */
static void fill_same(struct hc_slices *s, uint32_t num_ranks, uint64_t bytes) {
    for (uint32_t r = 0; r < num_ranks; r++) {
        s->offsets[r] = 0;
        s->lengths[r] = bytes;
    }
}

/* Slices as the caller lists them, in elements (host arrays, one entry per rank); *extent is how far the
 * buffer is used. `displs` NULL: one after the other. */
static HcclResult fill_listed(const struct call *call, struct hc_slices *s, const uint64_t *counts,
                              const uint64_t *displs, size_t *extent) {
    uint64_t next = 0;
    *extent = 0;
    for (uint32_t r = 0; r < call->comm->num_ranks; r++) {
        size_t offset, length, end;
        HC_TRY(to_bytes(call, displs != NULL ? displs[r] : next, 1, &offset));
        HC_TRY(to_bytes(call, counts[r], 1, &length));
        HC_CHECK(hc_add_fits(offset, length, &end) && end <= HC_MAX_BYTES, HCCL_E_PARA,
                 "%s: the slice of rank %u, %zu bytes from byte %zu on, is too large",
                 hc_kind_name(call->kind), r, length, offset);
        s->offsets[r] = offset;
        s->lengths[r] = length;
        next = hc_add_saturated(next, counts[r]);
        if (length > 0) *extent = hc_max_size(*extent, end);
    }
    return HCCL_SUCCESS;
}

/* Check what slices a finished operation has, then launch it. `own_send` and `own_recv` may be one place. */
static HcclResult launch_slices(const struct call *call, struct hc_op *op, const void *send, void *recv,
                                bool in_place, aclrtStream stream) {
    op->send = (char *)(uintptr_t)send;
    op->recv = recv;
    HcclResult status = check_buffer(call, "sendBuf", send, op->send_bytes);
    if (status == HCCL_SUCCESS) status = check_buffer(call, "recvBuf", recv, op->recv_bytes);
    if (status == HCCL_SUCCESS && !in_place)
        status = check_overlap(call, send, op->send_bytes, recv, op->recv_bytes, call->comm->num_ranks == 1);
    if (status == HCCL_SUCCESS) return hc_op_launch(op, stream);
    hc_op_destroy(op);
    return status;
}

/* Where the rank's own slice is sent from where it is received: the usual way of working in place. */
static bool own_slice_in_place(const struct hc_op *op, const void *send, const void *recv) {
    const uint32_t r = op->comm->rank;
    return (uintptr_t)send + op->sends.offsets[r] == (uintptr_t)recv + op->recvs.offsets[r];
}

HcclResult HcclAllGather(void *sendBuf, void *recvBuf, uint64_t sendCount, HcclDataType dataType,
                         HcclComm comm, aclrtStream stream) {
    struct call call;
    size_t bytes, all = 0;
    HC_TRY(begin(&call, HC_OP_ALL_GATHER, comm, dataType));
    HC_TRY(to_bytes(&call, sendCount, 1, &bytes));
    HC_TRY(to_bytes(&call, sendCount, call.comm->num_ranks, &all));
    struct hc_op *op = make(&call, true);
    if (op == NULL) return HCCL_E_MEMORY;
    op->count = sendCount;
    op->send_bytes = bytes;
    op->recv_bytes = all;
    fill_same(&op->sends, call.comm->num_ranks, bytes);
    fill_even(&op->recvs, call.comm->num_ranks, bytes);
    return launch_slices(&call, op, sendBuf, recvBuf, own_slice_in_place(op, sendBuf, recvBuf), stream);
}

HcclResult HcclAllGatherV(void *sendBuf, uint64_t sendCount, void *recvBuf, const void *recvCounts,
                          const void *recvDispls, HcclDataType dataType, HcclComm comm, aclrtStream stream) {
    struct call call;
    HC_TRY(begin(&call, HC_OP_ALL_GATHER_V, comm, dataType));
    HC_CHECK(recvCounts && recvDispls, HCCL_E_PTR, "HcclAllGatherV: recvCounts or recvDispls is null");
    struct hc_op *op = make(&call, true);
    if (op == NULL) return HCCL_E_MEMORY;
    const uint32_t n = call.comm->num_ranks, self = call.comm->rank;
    HcclResult status = to_bytes(&call, sendCount, 1, &op->send_bytes);
    if (status == HCCL_SUCCESS)
        status = fill_listed(&call, &op->recvs, recvCounts, recvDispls, &op->recv_bytes);
    if (status == HCCL_SUCCESS && op->recvs.lengths[self] != op->send_bytes)
        status = hc_fail(HCCL_E_PARA, "HcclAllGatherV: rank %u sends %zu bytes, but its recvCounts has %llu",
                         self, op->send_bytes, (unsigned long long)op->recvs.lengths[self]);
    if (status != HCCL_SUCCESS) {
        hc_op_destroy(op);
        return status;
    }
    fill_same(&op->sends, n, op->send_bytes);
    return launch_slices(&call, op, sendBuf, recvBuf, own_slice_in_place(op, sendBuf, recvBuf), stream);
}

HcclResult HcclReduceScatter(void *sendBuf, void *recvBuf, uint64_t recvCount, HcclDataType dataType,
                             HcclReduceOp op, HcclComm comm, aclrtStream stream) {
    struct call call;
    size_t bytes, all = 0;
    HC_TRY(begin(&call, HC_OP_REDUCE_SCATTER, comm, dataType));
    HC_TRY(check_reduction(&call, op));
    HC_TRY(to_bytes(&call, recvCount, 1, &bytes));
    HC_TRY(to_bytes(&call, recvCount, call.comm->num_ranks, &all));
    struct hc_op *o = make(&call, true);
    if (o == NULL) return HCCL_E_MEMORY;
    o->count = recvCount;
    o->reduce = op;
    o->send_bytes = all;
    o->recv_bytes = bytes;
    fill_even(&o->sends, call.comm->num_ranks, bytes);
    fill_same(&o->recvs, call.comm->num_ranks, bytes);
    return launch_slices(&call, o, sendBuf, recvBuf, own_slice_in_place(o, sendBuf, recvBuf), stream);
}

HcclResult HcclReduceScatterV(void *sendBuf, const void *sendCounts, const void *sendDispls, void *recvBuf,
                              uint64_t recvCount, HcclDataType dataType, HcclReduceOp op, HcclComm comm,
                              aclrtStream stream) {
    struct call call;
    HC_TRY(begin(&call, HC_OP_REDUCE_SCATTER_V, comm, dataType));
    HC_TRY(check_reduction(&call, op));
    HC_CHECK(sendCounts && sendDispls, HCCL_E_PTR, "HcclReduceScatterV: sendCounts or sendDispls is null");
    struct hc_op *o = make(&call, true);
    if (o == NULL) return HCCL_E_MEMORY;
    const uint32_t self = call.comm->rank;
    HcclResult status = to_bytes(&call, recvCount, 1, &o->recv_bytes);
    if (status == HCCL_SUCCESS)
        status = fill_listed(&call, &o->sends, sendCounts, sendDispls, &o->send_bytes);
    if (status == HCCL_SUCCESS && o->sends.lengths[self] != o->recv_bytes)
        status = hc_fail(HCCL_E_PARA,
                         "HcclReduceScatterV: rank %u receives %zu bytes, but its sendCounts has %llu", self,
                         o->recv_bytes, (unsigned long long)o->sends.lengths[self]);
    if (status != HCCL_SUCCESS) {
        hc_op_destroy(o);
        return status;
    }
    o->reduce = op;
    o->uneven = true;
    fill_same(&o->recvs, call.comm->num_ranks, o->recv_bytes);
    return launch_slices(&call, o, sendBuf, recvBuf, own_slice_in_place(o, sendBuf, recvBuf), stream);
}

HcclResult HcclScatter(void *sendBuf, void *recvBuf, uint64_t recvCount, HcclDataType dataType, uint32_t root,
                       HcclComm comm, aclrtStream stream) {
    struct call call;
    size_t bytes, all = 0;
    HC_TRY(begin(&call, HC_OP_SCATTER, comm, dataType));
    HC_TRY(check_root(&call, root));
    HC_TRY(to_bytes(&call, recvCount, 1, &bytes));
    HC_TRY(to_bytes(&call, recvCount, call.comm->num_ranks, &all));
    const bool sends = call.comm->rank == root;
    const bool in_place = sends && (uintptr_t)sendBuf + root * bytes == (uintptr_t)recvBuf;
    HC_TRY(check_buffer(&call, "sendBuf", sendBuf, sends ? all : 0));
    HC_TRY(check_buffer(&call, "recvBuf", recvBuf, bytes));
    if (!in_place) HC_TRY(check_overlap(&call, sendBuf, sends ? all : 0, recvBuf, bytes, false));
    return launch_whole(&call, sendBuf, sends ? all : 0, recvBuf, bytes, recvCount, 0, root, stream);
}

/* Sizes of both sides may be given in different types, as long as the bytes agree; ours are checked against
 * the others' when they meet. */
static HcclResult launch_all_to_all(struct call *send, HcclDataType recv_type, const void *send_buf,
                                    const uint64_t *send_counts, const uint64_t *send_displs, void *recv_buf,
                                    const uint64_t *recv_counts, const uint64_t *recv_displs, uint64_t count,
                                    aclrtStream stream) {
    struct call recv = *send;
    recv.type = recv_type;
    recv.element = hc_hccl_type_size(recv_type);
    HC_CHECK(recv.element > 0, HCCL_E_PARA, "%s: %d is no data type", hc_kind_name(send->kind),
             (int)recv_type);
    struct hc_op *op = make(send, true);
    if (op == NULL) return HCCL_E_MEMORY;
    op->uneven = true;
    op->count = count;
    HcclResult status = fill_listed(send, &op->sends, send_counts, send_displs, &op->send_bytes);
    if (status == HCCL_SUCCESS)
        status = fill_listed(&recv, &op->recvs, recv_counts, recv_displs, &op->recv_bytes);
    const uint32_t r = send->comm->rank;
    if (status == HCCL_SUCCESS && op->sends.lengths[r] != op->recvs.lengths[r])
        status = hc_fail(HCCL_E_PARA, "%s: rank %u sends %llu bytes to itself but receives %llu",
                         hc_kind_name(send->kind), r, (unsigned long long)op->sends.lengths[r],
                         (unsigned long long)op->recvs.lengths[r]);
    if (status == HCCL_SUCCESS) return launch_slices(send, op, send_buf, recv_buf, false, stream);
    hc_op_destroy(op);
    return status;
}

HcclResult HcclAlltoAllV(const void *sendBuf, const void *sendCounts, const void *sdispls,
                         HcclDataType sendType, const void *recvBuf, const void *recvCounts,
                         const void *rdispls, HcclDataType recvType, HcclComm comm, aclrtStream stream) {
    struct call call;
    HC_TRY(begin(&call, HC_OP_ALL_TO_ALL_V, comm, sendType));
    HC_CHECK(sendCounts && sdispls && recvCounts && rdispls, HCCL_E_PTR,
             "HcclAlltoAllV: an array of counts or displacements is null");
    return launch_all_to_all(&call, recvType, sendBuf, sendCounts, sdispls, (void *)(uintptr_t)recvBuf,
                             recvCounts, rdispls, 0, stream);
}

/* A scratch array of one value per rank; NULL with a text. */
static uint64_t *counts_of(const struct call *call, uint64_t value, size_t arrays) {
    const size_t n = call->comm->num_ranks * arrays;
    uint64_t *counts = malloc(n * sizeof *counts);
    for (size_t i = 0; counts != NULL && i < n; i++) counts[i] = value;
    if (counts == NULL) hc_fail(HCCL_E_MEMORY, "%s: out of host memory", hc_kind_name(call->kind));
    return counts;
}

HcclResult HcclAlltoAll(const void *sendBuf, uint64_t sendCount, HcclDataType sendType, const void *recvBuf,
                        uint64_t recvCount, HcclDataType recvType, HcclComm comm, aclrtStream stream) {
    struct call call;
    HC_TRY(begin(&call, HC_OP_ALL_TO_ALL, comm, sendType));
    uint64_t *counts = counts_of(&call, sendCount, 2);
    if (counts == NULL) return HCCL_E_MEMORY;
    const uint32_t n = call.comm->num_ranks;
    for (uint32_t r = 0; r < n; r++) counts[n + r] = recvCount;
    const HcclResult status =
        launch_all_to_all(&call, recvType, sendBuf, counts, NULL, (void *)(uintptr_t)recvBuf, counts + n,
                          NULL, sendCount, stream);
    free(counts);
    return status;
}

/* The matrix has a row per sender; buffers are packed. Every rank knows all of it. */
HcclResult HcclAlltoAllVC(const void *sendBuf, const void *sendCountMatrix, HcclDataType sendType,
                          const void *recvBuf, HcclDataType recvType, HcclComm comm, aclrtStream stream) {
    struct call call;
    HC_TRY(begin(&call, HC_OP_ALL_TO_ALL_VC, comm, sendType));
    HC_CHECK(sendCountMatrix != NULL, HCCL_E_PTR, "HcclAlltoAllVC: sendCountMatrix is null");
    const uint64_t *matrix = sendCountMatrix;
    const uint32_t n = call.comm->num_ranks, self = call.comm->rank;
    uint64_t *column = counts_of(&call, 0, 1);
    if (column == NULL) return HCCL_E_MEMORY;
    for (uint32_t r = 0; r < n; r++) column[r] = matrix[(size_t)r * n + self];
    const HcclResult status = launch_all_to_all(&call, recvType, sendBuf, matrix + (size_t)self * n, NULL,
                                                (void *)(uintptr_t)recvBuf, column, NULL, 0, stream);
    free(column);
    return status;
}
