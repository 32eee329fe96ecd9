// SPDX-License-Identifier: Apache-2.0
/* Communicators of all ranks within one process, a device each. They meet as those of several processes do:
 * each in a thread of its own, as joining blocks. */
#include <stdio.h>
#include <stdlib.h>

#include "hc_comm_init.h"

struct join {
    pthread_t thread;
    const struct hc_meeting *meeting;
    uint32_t num_ranks, rank;
    int32_t device;
    HcclComm comm;
    HcclResult status;
    char text[512];
};

static void *join_one(void *arg) {
    struct join *j = arg;
    j->status = aclrtSetDevice(j->device) == 0
                    ? hc_comm_join("HcclCommInitAll", j->meeting, j->num_ranks, j->rank, NULL, &j->comm)
                    : HCCL_E_RUNTIME;
    snprintf(j->text, sizeof j->text, "%s", hc_error_text());
    return NULL;
}

static HcclResult check_devices(uint32_t ndev, const int32_t *devices) {
    uint32_t count = 0;
    HC_CHECK(aclrtGetDeviceCount(&count) == 0, HCCL_E_RUNTIME, "HcclCommInitAll: cannot count the devices");
    for (uint32_t i = 0; i < ndev; i++) {
        HC_CHECK(devices[i] >= 0 && (uint32_t)devices[i] < count, HCCL_E_PARA,
                 "HcclCommInitAll: device %d, wanted 0 to %u", devices[i], count - 1);
        for (uint32_t k = 0; k < i; k++)
            HC_CHECK(devices[k] != devices[i], HCCL_E_PARA, "HcclCommInitAll: device %d is given twice",
                     devices[i]);
    }
    return HCCL_SUCCESS;
}

/* All or nothing. */
static HcclResult join_all(struct join *joins, uint32_t ndev) {
    uint32_t started = 0;
    while (started < ndev && pthread_create(&joins[started].thread, NULL, join_one, &joins[started]) == 0)
        started++;
    for (uint32_t i = 0; i < started; i++) pthread_join(joins[i].thread, NULL);
    const struct join *bad = NULL;
    for (uint32_t i = 0; i < started && bad == NULL; i++)
        if (joins[i].status != HCCL_SUCCESS) bad = &joins[i];
    if (bad == NULL && started == ndev) return HCCL_SUCCESS;
    for (uint32_t i = 0; i < started; i++)
        if (joins[i].status == HCCL_SUCCESS) HcclCommDestroy(joins[i].comm);
    return bad != NULL
               ? (HcclResult)hc_fail(bad->status, "%s", bad->text)
               : (HcclResult)hc_fail(HCCL_E_SYSCALL, "HcclCommInitAll: cannot start a thread per device");
}

HcclResult HcclCommInitAll(uint32_t ndev, int32_t *devices, HcclComm *comms) {
    HC_CHECK(devices != NULL && comms != NULL, HCCL_E_PTR, "HcclCommInitAll: devices or comms is null");
    HC_TRY(hc_comm_check_size("HcclCommInitAll", ndev, 0));
    HC_TRY(check_devices(ndev, devices));
    struct hc_meeting meeting;
    HC_TRY(hc_meeting_create("HcclCommInitAll", &meeting));
    struct join *joins = calloc(ndev, sizeof *joins);
    HC_CHECK(joins != NULL, HCCL_E_MEMORY, "HcclCommInitAll: out of host memory");
    for (uint32_t i = 0; i < ndev; i++)
        joins[i] = (struct join){.meeting = &meeting, .num_ranks = ndev, .rank = i, .device = devices[i]};
    const HcclResult status = join_all(joins, ndev);
    for (uint32_t i = 0; status == HCCL_SUCCESS && i < ndev; i++) comms[i] = joins[i].comm;
    free(joins);
    return status;
}
