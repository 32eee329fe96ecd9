// SPDX-License-Identifier: Apache-2.0
/* A communicator, and what the files of this library share. */
#pragma once
#include "hccl/hccl.h"
#include "hc_error.h"
#include "hc_util.h"

/* X(HcclDataType without its prefix, bytes of an element) */
#define HC_FOR_HCCL_TYPES(X)                                                                                 \
    X(INT8, 1)                                                                                               \
    X(INT16, 2) X(INT32, 4) X(FP16, 2) X(FP32, 4) X(INT64, 8) X(UINT64, 8) X(UINT8, 1) X(UINT16, 2)          \
        X(UINT32, 4) X(FP64, 8) X(BFP16, 2) X(INT128, 16) X(HIF8, 1) X(FP8E4M3, 1) X(FP8E5M2, 1)             \
            X(FP8E8M0, 1)

/* Registered memory, see comm_memory.c. */
struct hc_window;

struct hc_comm {
    struct hc_comm *next; /* list of the living, guarded by comm.c's lock */
    uint32_t rank, num_ranks;
    int32_t device;
    uint32_t deterministic, buffer_megabytes;
    bool suspended;
    char name[HCCL_COMM_NAME_BYTES];
    struct hc_window *windows;
};

/* Check that `comm` lives; `caller` is the interface function for the text. */
HcclResult hc_comm_find(const char *caller, HcclComm comm, struct hc_comm **found);
/* Make a communicator on the current device. `config` may be NULL. */
HcclResult hc_comm_create(const char *caller, uint32_t num_ranks, uint32_t rank, const HcclCommConfig *config,
                          HcclComm *comm);
/* Fail unless the values are those of a communicator of one rank. */
HcclResult hc_comm_check_size(const char *caller, uint32_t num_ranks, uint32_t rank);
/* Guards every communicator's fields that change after creation. */
void hc_comm_lock(void);
void hc_comm_unlock(void);

/* Free all windows of a communicator that is being destroyed. */
void hc_windows_free(struct hc_window *windows);

/* Bytes of an element; 0 for what is no data type. */
size_t hc_hccl_type_size(HcclDataType type);
/* Apply a caller's config (already known not to be NULL) to a new communicator. */
HcclResult hc_comm_configure(const char *caller, struct hc_comm *comm, const HcclCommConfig *config);
/* HCCL_DETERMINISTIC of the process. */
int32_t hc_process_deterministic(void);

/* One buffer onto another; equal addresses are fine, nothing is moved then. */
struct hc_transfer {
    void *dst;
    const void *src;
    size_t bytes;
};
/* Put `count` transfers into the stream as one collective called `name` (a literal). */
HcclResult hc_comm_transfer(const char *name, struct hc_comm *comm, aclrtStream stream,
                            const struct hc_transfer *transfers, size_t count);
