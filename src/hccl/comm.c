// SPDX-License-Identifier: Apache-2.0
/* Communicators: birth, identity, end.
 *
 * A handle is the address of a struct hc_comm. It is looked up in the list of the living at every call, so a
 * destroyed or foreign handle is an error, not a crash. A program has a few dozen communicators: a list does.
 */
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

#include "hc_comm.h"

static const char ROOT_MAGIC[16] = "mindspeed-hccl1";

/* Contents of HcclRootInfo. */
struct root_info {
    char magic[16];
    uint64_t id[2]; /* random: two communicators never share it */
};

static pthread_mutex_t g_lock = PTHREAD_MUTEX_INITIALIZER;
static struct hc_comm *g_comms;
static atomic_uint g_names;

void hc_comm_lock(void) { pthread_mutex_lock(&g_lock); }
void hc_comm_unlock(void) { pthread_mutex_unlock(&g_lock); }

HcclResult hc_comm_find(const char *caller, HcclComm comm, struct hc_comm **found) {
    HC_CHECK(comm != NULL, HCCL_E_PTR, "%s: comm is null", caller);
    hc_comm_lock();
    struct hc_comm *c = g_comms;
    while (c != NULL && c != comm) c = c->next;
    hc_comm_unlock();
    HC_CHECK(c != NULL, HCCL_E_NOT_FOUND, "%s: %p is no communicator, or a destroyed one", caller, comm);
    *found = c;
    return HCCL_SUCCESS;
}

HcclResult hc_comm_check_size(const char *caller, uint32_t num_ranks, uint32_t rank) {
    HC_CHECK(num_ranks > 0, HCCL_E_PARA, "%s: 0 ranks, wanted 1", caller);
    HC_CHECK(rank < num_ranks, HCCL_E_PARA, "%s: rank %u of %u ranks, wanted 0 to %u", caller, rank,
             num_ranks, num_ranks - 1);
    HC_CHECK(num_ranks == 1, HCCL_E_NOT_SUPPORT,
             "%s: %u ranks; communicators of several ranks are not supported yet, wanted 1", caller,
             num_ranks);
    return HCCL_SUCCESS;
}

HcclResult hc_comm_create(const char *caller, uint32_t num_ranks, uint32_t rank, const HcclCommConfig *config,
                          HcclComm *comm) {
    HC_CHECK(comm != NULL, HCCL_E_PTR, "%s: comm is null", caller);
    HC_TRY(hc_comm_check_size(caller, num_ranks, rank));
    int32_t device = -1;
    HC_CHECK(aclrtGetDevice(&device) == 0, HCCL_E_RUNTIME,
             "%s: this thread has no device; call aclrtSetDevice first", caller);
    struct hc_comm *c = calloc(1, sizeof *c);
    HC_CHECK(c != NULL, HCCL_E_MEMORY, "%s: out of host memory", caller);
    c->rank = rank;
    c->num_ranks = num_ranks;
    c->device = device;
    c->deterministic = (uint32_t)hc_process_deterministic();
    snprintf(c->name, sizeof c->name, "hccl_%d_%u", (int)getpid(), atomic_fetch_add(&g_names, 1));
    const HcclResult status = config != NULL ? hc_comm_configure(caller, c, config) : HCCL_SUCCESS;
    if (status != HCCL_SUCCESS) {
        free(c);
        return status;
    }
    hc_comm_lock();
    c->next = g_comms;
    g_comms = c;
    hc_comm_unlock();
    *comm = c;
    return HCCL_SUCCESS;
}

HcclResult HcclGetRootInfo(HcclRootInfo *rootInfo) {
    HC_CHECK(rootInfo != NULL, HCCL_E_PTR, "HcclGetRootInfo: rootInfo is null");
    struct root_info info;
    memcpy(info.magic, ROOT_MAGIC, sizeof info.magic);
    HC_CHECK(getrandom(info.id, sizeof info.id, 0) == (ssize_t)sizeof info.id, HCCL_E_SYSCALL,
             "HcclGetRootInfo: the system gave no random bytes");
    memset(rootInfo, 0, sizeof *rootInfo);
    memcpy(rootInfo->internal, &info, sizeof info);
    return HCCL_SUCCESS;
}

static HcclResult check_root_info(const char *caller, const HcclRootInfo *info) {
    HC_CHECK(info != NULL, HCCL_E_PTR, "%s: rootInfo is null", caller);
    HC_CHECK(memcmp(info->internal, ROOT_MAGIC, sizeof ROOT_MAGIC) == 0, HCCL_E_PARA,
             "%s: rootInfo was not made by HcclGetRootInfo", caller);
    return HCCL_SUCCESS;
}

HcclResult HcclCommInitRootInfo(uint32_t nRanks, const HcclRootInfo *rootInfo, uint32_t rank,
                                HcclComm *comm) {
    HC_TRY(check_root_info("HcclCommInitRootInfo", rootInfo));
    return hc_comm_create("HcclCommInitRootInfo", nRanks, rank, NULL, comm);
}

HcclResult HcclCommInitRootInfoConfig(uint32_t nRanks, const HcclRootInfo *rootInfo, uint32_t rank,
                                      const HcclCommConfig *config, HcclComm *comm) {
    HC_TRY(check_root_info("HcclCommInitRootInfoConfig", rootInfo));
    HC_CHECK(config != NULL, HCCL_E_PTR, "HcclCommInitRootInfoConfig: config is null");
    return hc_comm_create("HcclCommInitRootInfoConfig", nRanks, rank, config, comm);
}

HcclResult HcclCommInitAll(uint32_t ndev, int32_t *devices, HcclComm *comms) {
    HC_CHECK(devices != NULL && comms != NULL, HCCL_E_PTR, "HcclCommInitAll: devices or comms is null");
    HC_TRY(hc_comm_check_size("HcclCommInitAll", ndev, 0));
    uint32_t count = 0;
    HC_CHECK(aclrtGetDeviceCount(&count) == 0, HCCL_E_RUNTIME, "HcclCommInitAll: cannot count the devices");
    HC_CHECK(devices[0] >= 0 && (uint32_t)devices[0] < count, HCCL_E_PARA,
             "HcclCommInitAll: device %d, wanted 0 to %u", devices[0], count - 1);
    HcclComm comm;
    HC_TRY(hc_comm_create("HcclCommInitAll", 1, 0, NULL, &comm));
    ((struct hc_comm *)comm)->device = devices[0];
    comms[0] = comm;
    return HCCL_SUCCESS;
}

HcclResult HcclCreateSubCommConfig(HcclComm *comm, uint32_t rankNum, uint32_t *rankIds, uint64_t subCommId,
                                   uint32_t subCommRankId, HcclCommConfig *config, HcclComm *subComm) {
    (void)subCommId; /* tells several sub-communicators of the same ranks apart when they meet; one rank meets
                        nobody */
    HC_CHECK(comm != NULL && subComm != NULL, HCCL_E_PTR, "HcclCreateSubCommConfig: comm or subComm is null");
    struct hc_comm *parent;
    HC_TRY(hc_comm_find("HcclCreateSubCommConfig", *comm, &parent));
    HC_CHECK(rankIds != NULL, HCCL_E_PTR, "HcclCreateSubCommConfig: rankIds is null");
    HC_TRY(hc_comm_check_size("HcclCreateSubCommConfig", rankNum, subCommRankId));
    HC_CHECK(rankIds[0] == parent->rank, HCCL_E_PARA,
             "HcclCreateSubCommConfig: rankIds[0] is %u, wanted this rank, %u", rankIds[0], parent->rank);
    return hc_comm_create("HcclCreateSubCommConfig", rankNum, subCommRankId, config, subComm);
}

HcclResult HcclCommDestroy(HcclComm comm) {
    HC_CHECK(comm != NULL, HCCL_E_PTR, "HcclCommDestroy: comm is null");
    hc_comm_lock();
    struct hc_comm **link = &g_comms;
    while (*link != NULL && *link != comm) link = &(*link)->next;
    struct hc_comm *c = *link;
    if (c != NULL) *link = c->next;
    hc_comm_unlock();
    HC_CHECK(c != NULL, HCCL_E_NOT_FOUND, "HcclCommDestroy: %p is no communicator, or a destroyed one", comm);
    hc_windows_free(c->windows);
    free(c); /* queued transfers hold no pointer to it */
    return HCCL_SUCCESS;
}

static HcclResult set_suspended(const char *caller, HcclComm comm, bool suspended) {
    struct hc_comm *c;
    HC_TRY(hc_comm_find(caller, comm, &c));
    hc_comm_lock();
    c->suspended = suspended;
    hc_comm_unlock();
    return HCCL_SUCCESS;
}

HcclResult HcclCommSuspend(HcclComm comm) { return set_suspended("HcclCommSuspend", comm, true); }
HcclResult HcclCommResume(HcclComm comm) { return set_suspended("HcclCommResume", comm, false); }

HcclResult HcclCommWorkingDevNicSet(HcclComm comm, uint32_t *ranks, bool *useBackup, uint32_t nRanks) {
    struct hc_comm *c;
    HC_TRY(hc_comm_find("HcclCommWorkingDevNicSet", comm, &c));
    HC_CHECK(ranks != NULL && useBackup != NULL, HCCL_E_PTR,
             "HcclCommWorkingDevNicSet: ranks or useBackup is null");
    for (uint32_t i = 0; i < nRanks; i++) {
        HC_CHECK(ranks[i] < c->num_ranks, HCCL_E_PARA, "HcclCommWorkingDevNicSet: rank %u, wanted 0 to %u",
                 ranks[i], c->num_ranks - 1);
        HC_CHECK(
            !useBackup[i], HCCL_E_NOT_SUPPORT,
            "HcclCommWorkingDevNicSet: rank %u asks for its backup network card; a virtual device has none",
            ranks[i]);
    }
    return HCCL_SUCCESS;
}

HcclResult HcclGetRankId(HcclComm comm, uint32_t *rank) {
    struct hc_comm *c;
    HC_TRY(hc_comm_find("HcclGetRankId", comm, &c));
    HC_CHECK(rank != NULL, HCCL_E_PTR, "HcclGetRankId: rank is null");
    *rank = c->rank;
    return HCCL_SUCCESS;
}

HcclResult HcclGetRankSize(HcclComm comm, uint32_t *rankSize) {
    struct hc_comm *c;
    HC_TRY(hc_comm_find("HcclGetRankSize", comm, &c));
    HC_CHECK(rankSize != NULL, HCCL_E_PTR, "HcclGetRankSize: rankSize is null");
    *rankSize = c->num_ranks;
    return HCCL_SUCCESS;
}

HcclResult HcclGetCommName(HcclComm comm, char *commName) {
    struct hc_comm *c;
    HC_TRY(hc_comm_find("HcclGetCommName", comm, &c));
    HC_CHECK(commName != NULL, HCCL_E_PTR, "HcclGetCommName: commName is null");
    memcpy(commName, c->name, sizeof c->name);
    return HCCL_SUCCESS;
}

/* Errors of queued transfers stick to their stream; a communicator of one rank has no peer that could fail.
 */
HcclResult HcclGetCommAsyncError(HcclComm comm, HcclResult *asyncError) {
    struct hc_comm *c;
    HC_TRY(hc_comm_find("HcclGetCommAsyncError", comm, &c));
    HC_CHECK(asyncError != NULL, HCCL_E_PTR, "HcclGetCommAsyncError: asyncError is null");
    *asyncError = HCCL_SUCCESS;
    return HCCL_SUCCESS;
}
