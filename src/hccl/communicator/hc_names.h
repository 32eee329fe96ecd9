// SPDX-License-Identifier: Apache-2.0
/* Kinds of operations and of data, and what they are called. */
#pragma once
#include "hc_util.h"
#include "hccl/hccl.h"

/* X(HcclDataType without its prefix, bytes of an element) */
#define HC_FOR_HCCL_TYPES(X)                                                                                 \
    X(INT8, 1)                                                                                               \
    X(INT16, 2)                                                                                              \
    X(INT32, 4)                                                                                              \
    X(FP16, 2)                                                                                               \
    X(FP32, 4)                                                                                               \
    X(INT64, 8)                                                                                              \
    X(UINT64, 8)                                                                                             \
    X(UINT8, 1)                                                                                              \
    X(UINT16, 2)                                                                                             \
    X(UINT32, 4) X(FP64, 8) X(BFP16, 2) X(INT128, 16) X(HIF8, 1) X(FP8E4M3, 1) X(FP8E5M2, 1) X(FP8E8M0, 1)

/* Bytes of an element; 0 for what is no data type. */
size_t hc_hccl_type_size(HcclDataType type);
/* "float32", as in the trace. */
const char *hc_hccl_type_name(HcclDataType type);

/* X(identifier, function of the interface, name in options) */
#define HC_FOR_COLLECTIVES(X)                                                                                \
    X(ALL_REDUCE, "HcclAllReduce", "all_reduce")                                                             \
    X(REDUCE, "HcclReduce", "reduce")                                                                        \
    X(BROADCAST, "HcclBroadcast", "broadcast")                                                               \
    X(ALL_GATHER, "HcclAllGather", "all_gather")                                                             \
    X(ALL_GATHER_V, "HcclAllGatherV", "all_gather")                                                          \
    X(REDUCE_SCATTER, "HcclReduceScatter", "reduce_scatter")                                                 \
    X(REDUCE_SCATTER_V, "HcclReduceScatterV", "reduce_scatter")                                              \
    X(SCATTER, "HcclScatter", "scatter")                                                                     \
    X(ALL_TO_ALL, "HcclAlltoAll", "all_to_all")                                                              \
    X(ALL_TO_ALL_V, "HcclAlltoAllV", "all_to_all")                                                           \
    X(ALL_TO_ALL_VC, "HcclAlltoAllVC", "all_to_all")                                                         \
    X(BARRIER, "HcclBarrier", "barrier")                                                                     \
    X(SEND, "HcclSend", "send")                                                                              \
    X(RECV, "HcclRecv", "recv")                                                                              \
    X(BATCH, "HcclBatchSendRecv", "batch")                                                                   \
    X(GROUP, "HcclGroupEnd", "group")

enum hc_kind {
#define X(id, name, option) HC_OP_##id,
    HC_FOR_COLLECTIVES(X)
#undef X
        HC_OP_KINDS
};

const char *hc_kind_name(unsigned kind);
const char *hc_kind_option(unsigned kind);
const char *hc_reduce_name(HcclReduceOp reduce);

/* Messages of the interface, not a collective that all ranks call. */
static inline bool hc_is_batch(enum hc_kind kind) { return kind > HC_OP_BARRIER; }
