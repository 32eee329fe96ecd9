// SPDX-License-Identifier: Apache-2.0
/* What can go wrong between ranks: kept, told, and found while waiting. */
#pragma once
#include "hc_op.h"

/* The communicator is broken: keep the first text, tell the other ranks. Returns the code. */
HcclResult hc_comm_fail(struct hc_comm *comm, HcclResult code, const char *fmt, ...) HC_PRINTF(3, 4);
/* Its first error, with the text set; HCCL_SUCCESS if it has none. */
HcclResult hc_comm_failure(struct hc_comm *comm);
/* The same, including what another rank has told meanwhile. */
HcclResult hc_comm_poll(struct hc_comm *comm);
/* HCCL_SUCCESS, or why a wait of `op` is hopeless. */
HcclResult hc_op_trouble(struct hc_op *op);
/* Fail because `rank` called something else as its collective number `seq`. */
HcclResult hc_op_mismatch(struct hc_op *op, uint32_t rank, uint32_t seq, const struct hc_signature *other);
/* Fail because what `m->peer` sends is not what `m` receives. */
HcclResult hc_message_mismatch(struct hc_op *op, const struct hc_message *m, uint64_t bytes,
                               HcclDataType type);
