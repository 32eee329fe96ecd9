// SPDX-License-Identifier: Apache-2.0
/* What a communicator is asked and told besides collectives. */
#include <string.h>
#include <unistd.h>

#include "hc_comm.h"
#include "hc_failure.h"
#include "hc_ranks.h"
#include "hc_runtime.h"

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
                 caller, atomic_load(&c->references) - 1, c->title);
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

/* The first error of the communicator, here or on another rank; frameworks poll it, and torch_npu ends the
 * process for any. A program whose own interrupt made the communicator give up is about to end by itself, or
 * goes on without it. */
HcclResult HcclGetCommAsyncError(HcclComm comm, HcclResult *asyncError) {
    struct hc_comm *c;
    HC_TRY(hc_comm_find("HcclGetCommAsyncError", comm, &c));
    HC_CHECK(asyncError != NULL, HCCL_E_PTR, "HcclGetCommAsyncError: asyncError is null");
    *asyncError = hc_comm_poll(c);
    if (*asyncError == HCCL_E_SUSPENDING && hc_interrupted()) *asyncError = HCCL_SUCCESS;
    return HCCL_SUCCESS;
}
