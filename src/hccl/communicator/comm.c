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
#include <unistd.h>

#include "hc_comm.h"
#include "hc_op.h"
#include "hc_option.h"
#include "hc_ranks.h"
#include "hc_steps.h"

static const char ROOT_MAGIC[16] = "mindspeed-hccl3";

/* Contents of HcclRootInfo. */
struct root_info {
    char magic[16];
    struct hc_meeting meeting;
};
_Static_assert(sizeof(struct root_info) <= HCCL_ROOT_INFO_BYTES, "root info");

static pthread_mutex_t g_lock = PTHREAD_MUTEX_INITIALIZER;
static struct hc_comm *g_comms;

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
    HC_CHECK(num_ranks > 0 && num_ranks <= HC_MAX_RANKS, HCCL_E_PARA, "%s: %u ranks, wanted 1 to %d", caller,
             num_ranks, HC_MAX_RANKS);
    HC_CHECK(rank < num_ranks, HCCL_E_PARA, "%s: rank %u of %u ranks, wanted 0 to %u", caller, rank,
             num_ranks, num_ranks - 1);
    return HCCL_SUCCESS;
}

void hc_comm_retain(struct hc_comm *comm) { atomic_fetch_add(&comm->references, 1); }

void hc_comm_release(struct hc_comm *c) {
    if (atomic_fetch_sub(&c->references, 1) != 1) return;
    hc_ranks_leave(c);
    hc_windows_free(c->windows);
    pthread_mutex_destroy(&c->order_lock);
    pthread_mutex_destroy(&c->failure_lock);
    free(c->members);
    free(c->lanes);
    free(c->sources);
    free(c->targets);
    free(c->pieces);
    free(c->scratch);
    free(c);
}

/* Everything that does not need the other ranks. */
static struct hc_comm *create(uint32_t num_ranks, uint32_t rank, int32_t device) {
    struct hc_comm *c = calloc(1, sizeof *c);
    if (c == NULL) return NULL;
    atomic_store(&c->references, 1);
    pthread_mutex_init(&c->order_lock, NULL);
    pthread_mutex_init(&c->failure_lock, NULL);
    c->rank = rank;
    c->num_ranks = num_ranks;
    c->device = device;
    c->next_seq = 1;
    atomic_store(&c->turn.value, 1);
    c->lanes = calloc((size_t)HC_CHANNELS * HC_DIRECTIONS * num_ranks, sizeof *c->lanes);
    c->sources = calloc(num_ranks, sizeof *c->sources);
    c->targets = calloc(num_ranks, sizeof *c->targets);
    c->pieces = calloc(num_ranks, sizeof *c->pieces);
    if (c->lanes != NULL && c->sources != NULL && c->targets != NULL && c->pieces != NULL) return c;
    hc_comm_release(c);
    return NULL;
}

/* Without a name from the caller all ranks derive the same one from where they met. */
static void set_name(struct hc_comm *c) {
    if (c->name[0] != '\0') return;
    snprintf(c->name, sizeof c->name, "hccl_%016llx",
             (unsigned long long)(c->meeting.id[0] ^ c->meeting.id[1]));
}

HcclResult hc_comm_join(const char *caller, const struct hc_meeting *meeting, uint32_t num_ranks,
                        uint32_t rank, const HcclCommConfig *config, HcclComm *comm) {
    HC_CHECK(comm != NULL, HCCL_E_PTR, "%s: comm is null", caller);
    HC_TRY(hc_comm_check_size(caller, num_ranks, rank));
    int32_t device = -1;
    HC_CHECK(aclrtGetDevice(&device) == 0, HCCL_E_RUNTIME,
             "%s: this thread has no device; call aclrtSetDevice first", caller);
    struct hc_comm *c = create(num_ranks, rank, device);
    HC_CHECK(c != NULL, HCCL_E_MEMORY, "%s: out of host memory", caller);
    c->meeting = *meeting;
    HcclResult status = hc_select_check(caller);
    if (status == HCCL_SUCCESS) status = hc_comm_configure(caller, c, config);
    if (status == HCCL_SUCCESS && num_ranks > 1) status = hc_ranks_meet(caller, c);
    if (status != HCCL_SUCCESS) {
        hc_comm_release(c);
        return status;
    }
    set_name(c);
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
    memset(&info, 0, sizeof info);
    memcpy(info.magic, ROOT_MAGIC, sizeof info.magic);
    HC_TRY(hc_meeting_create("HcclGetRootInfo", &info.meeting));
    memset(rootInfo, 0, sizeof *rootInfo);
    memcpy(rootInfo->internal, &info, sizeof info);
    return HCCL_SUCCESS;
}

static HcclResult read_root_info(const char *caller, const HcclRootInfo *rootInfo,
                                 struct hc_meeting *meeting) {
    HC_CHECK(rootInfo != NULL, HCCL_E_PTR, "%s: rootInfo is null", caller);
    struct root_info info;
    memcpy(&info, rootInfo->internal, sizeof info);
    HC_CHECK(memcmp(info.magic, ROOT_MAGIC, sizeof ROOT_MAGIC) == 0, HCCL_E_PARA,
             "%s: rootInfo was not made by HcclGetRootInfo", caller);
    HC_CHECK(info.meeting.port != 0 && info.meeting.num_addresses > 0 &&
                 info.meeting.num_addresses <= HC_ADDRESSES,
             HCCL_E_PARA, "%s: rootInfo is damaged: port %u, %u addresses", caller, info.meeting.port,
             info.meeting.num_addresses);
    *meeting = info.meeting;
    return HCCL_SUCCESS;
}

HcclResult HcclCommInitRootInfo(uint32_t nRanks, const HcclRootInfo *rootInfo, uint32_t rank,
                                HcclComm *comm) {
    struct hc_meeting meeting;
    HC_TRY(read_root_info("HcclCommInitRootInfo", rootInfo, &meeting));
    return hc_comm_join("HcclCommInitRootInfo", &meeting, nRanks, rank, NULL, comm);
}

HcclResult HcclCommInitRootInfoConfig(uint32_t nRanks, const HcclRootInfo *rootInfo, uint32_t rank,
                                      const HcclCommConfig *config, HcclComm *comm) {
    struct hc_meeting meeting;
    HC_TRY(read_root_info("HcclCommInitRootInfoConfig", rootInfo, &meeting));
    HC_CHECK(config != NULL, HCCL_E_PTR, "HcclCommInitRootInfoConfig: config is null");
    return hc_comm_join("HcclCommInitRootInfoConfig", &meeting, nRanks, rank, config, comm);
}

/* The part's ranks, in the parent's numbers, and the caller's number for it make the meeting's id. */
static HcclResult derive_meeting(const char *caller, const struct hc_comm *parent, uint32_t count,
                                 const uint32_t *ranks, uint64_t number, uint32_t own,
                                 struct hc_meeting *meeting) {
    for (uint32_t i = 0; i < count; i++) {
        HC_CHECK(ranks[i] < parent->num_ranks, HCCL_E_PARA, "%s: rankIds[%u] is %u, wanted 0 to %u", caller,
                 i, ranks[i], parent->num_ranks - 1);
        for (uint32_t k = 0; k < i; k++)
            HC_CHECK(ranks[k] != ranks[i], HCCL_E_PARA, "%s: rank %u is in rankIds twice", caller, ranks[i]);
    }
    HC_CHECK(ranks[own] == parent->rank, HCCL_E_PARA, "%s: rankIds[%u] is %u, wanted this rank, %u", caller,
             own, ranks[own], parent->rank);
    const size_t bytes = ((size_t)count + 1) * sizeof(uint64_t);
    uint64_t *words = malloc(bytes);
    HC_CHECK(words != NULL, HCCL_E_MEMORY, "%s: out of host memory", caller);
    words[0] = number;
    for (uint32_t i = 0; i < count; i++) words[i + 1] = ranks[i];
    hc_meeting_derive(&parent->meeting, words, bytes, meeting);
    free(words);
    return HCCL_SUCCESS;
}

HcclResult HcclCreateSubCommConfig(HcclComm *comm, uint32_t rankNum, uint32_t *rankIds, uint64_t subCommId,
                                   uint32_t subCommRankId, HcclCommConfig *config, HcclComm *subComm) {
    const char *name = "HcclCreateSubCommConfig";
    HC_CHECK(comm != NULL && subComm != NULL, HCCL_E_PTR, "%s: comm or subComm is null", name);
    struct hc_comm *parent;
    struct hc_meeting meeting;
    HC_TRY(hc_comm_find(name, *comm, &parent));
    HC_CHECK(rankIds != NULL, HCCL_E_PTR, "%s: rankIds is null", name);
    HC_TRY(hc_comm_check_size(name, rankNum, subCommRankId));
    HC_TRY(derive_meeting(name, parent, rankNum, rankIds, subCommId, subCommRankId, &meeting));
    return hc_comm_join(name, &meeting, rankNum, subCommRankId, config, subComm);
}

/* Queued operations keep the communicator until they have run; the handle is dead at once. */
HcclResult HcclCommDestroy(HcclComm comm) {
    HC_CHECK(comm != NULL, HCCL_E_PTR, "HcclCommDestroy: comm is null");
    hc_comm_lock();
    struct hc_comm **link = &g_comms;
    while (*link != NULL && *link != comm) link = &(*link)->next;
    struct hc_comm *c = *link;
    if (c != NULL) *link = c->next;
    hc_comm_unlock();
    HC_CHECK(c != NULL, HCCL_E_NOT_FOUND, "HcclCommDestroy: %p is no communicator, or a destroyed one", comm);
    hc_comm_release(c);
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

/* Every task of the communicator holds a reference. Those of a broken one give up by themselves, but for what
 * is queued behind something else. */
static HcclResult wait_for_tasks(const char *caller, struct hc_comm *c) {
    enum { LIMIT_S = 10, STEP_US = 500 };
    for (uint32_t us = 0; atomic_load(&c->references) > 1; us += STEP_US) {
        HC_CHECK(us < LIMIT_S * 1000000u, HCCL_E_AGAIN,
                 "%s: %u calls of communicator %s are still queued behind work that does not end; abort "
                 "their streams "
                 "first",
                 caller, atomic_load(&c->references) - 1, c->name);
        usleep(STEP_US);
    }
    return HCCL_SUCCESS;
}

/* After a failure the ranks meet again: what was under way is forgotten on all of them. */
HcclResult HcclCommResume(HcclComm comm) {
    const char *name = "HcclCommResume";
    struct hc_comm *c;
    HC_TRY(hc_comm_find(name, comm, &c));
    if (hc_comm_poll(c) != HCCL_SUCCESS) {
        HC_TRY(wait_for_tasks(name, c));
        HC_TRY(hc_ranks_meet_again(name, c));
    }
    return set_suspended(name, comm, false);
}

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

/* The first error of the communicator, here or on another rank; frameworks poll it. */
HcclResult HcclGetCommAsyncError(HcclComm comm, HcclResult *asyncError) {
    struct hc_comm *c;
    HC_TRY(hc_comm_find("HcclGetCommAsyncError", comm, &c));
    HC_CHECK(asyncError != NULL, HCCL_E_PTR, "HcclGetCommAsyncError: asyncError is null");
    *asyncError = hc_comm_poll(c);
    return HCCL_SUCCESS;
}
