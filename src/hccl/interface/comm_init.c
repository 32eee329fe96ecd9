// SPDX-License-Identifier: Apache-2.0
/* Communicators: birth, alone or as a part of another one, and destruction. */
#include "hc_comm_init.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "hc_comm_config.h"
#include "hc_comm_stream.h"
#include "hc_link.h"
#include "hc_ranks.h"
#include "hc_select.h"

static const char ROOT_MAGIC[16] = "mindspeed-hccl3";

/* Contents of HcclRootInfo. */
struct root_info {
    char magic[16];
    struct hc_meeting meeting;
};
_Static_assert(sizeof(struct root_info) <= HCCL_ROOT_INFO_BYTES, "root info");

/* Without a name from the caller all ranks derive the same one from where they met. */
static void set_name(struct hc_comm *c) {
    if (c->name[0] == '\0')
        snprintf(c->name, sizeof c->name, "hccl_%016llx",
                 (unsigned long long)(c->meeting.id[0] ^ c->meeting.id[1]));
    snprintf(c->title, sizeof c->title, c->label[0] != '\0' ? "%s (%s)" : "%s", c->name, c->label);
}

HcclResult hc_comm_join(const char *caller, const struct hc_meeting *meeting, uint32_t num_ranks,
                        uint32_t rank, const HcclCommConfig *config, HcclComm *comm) {
    HC_CHECK(comm != NULL, HCCL_E_PTR, "%s: comm is null", caller);
    HC_TRY(hc_comm_check_size(caller, num_ranks, rank));
    int32_t device = -1;
    HC_CHECK(aclrtGetDevice(&device) == 0, HCCL_E_RUNTIME,
             "%s: this thread has no device; call aclrtSetDevice first", caller);
    struct hc_comm *c = hc_comm_create(num_ranks, rank, device);
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
    hc_link_configure(c);
    hc_comm_publish(c);
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
    HC_CHECK(hc_comm_withdraw(comm), HCCL_E_NOT_FOUND,
             "HcclCommDestroy: %p is no communicator, or a destroyed one", comm);
    hc_comm_end_beside(comm);
    hc_comm_release(comm);
    return HCCL_SUCCESS;
}
