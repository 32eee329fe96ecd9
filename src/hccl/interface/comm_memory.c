// SPDX-License-Identifier: Apache-2.0
/* Memory that a communicator may use without copies in between: registered windows, and a range of virtual
 * addresses parts of which are activated. All ranks of a host see the same addresses here, so this is
 * book-keeping; it is kept exactly, because a caller's mistake must show up on a laptop too. */
#include <stdint.h>
#include <stdlib.h>

#include "hc_comm.h"

enum window_kind { WINDOW_REGISTERED, WINDOW_RANGE, WINDOW_ACTIVE };

static bool contains(const struct hc_window *w, const char *start, size_t size) {
    return start >= w->start && size <= w->size && (size_t)(start - w->start) <= w->size - size;
}

/* Caller holds the lock. */
static struct hc_window **find_window(struct hc_comm *comm, enum window_kind kind, const void *start) {
    struct hc_window **link = &comm->windows;
    while (*link != NULL && !((*link)->kind == (int)kind && (*link)->start == start)) link = &(*link)->next;
    return link;
}

static HcclResult add_window(const char *name, struct hc_comm *comm, enum window_kind kind, void *start,
                             size_t size, struct hc_window **added) {
    HC_CHECK(start != NULL, HCCL_E_PTR, "%s: the address is null", name);
    HC_CHECK(size > 0, HCCL_E_PARA, "%s: the size is 0", name);
    struct hc_window *w = malloc(sizeof *w);
    HC_CHECK(w != NULL, HCCL_E_MEMORY, "%s: out of host memory", name);
    *w = (struct hc_window){NULL, (int)kind, start, size};
    hc_comm_lock();
    const bool known = *find_window(comm, kind, start) != NULL;
    if (!known) {
        w->next = comm->windows;
        comm->windows = w;
    }
    hc_comm_unlock();
    if (known) {
        free(w);
        return hc_fail(HCCL_E_PARA, "%s: %p is in use already", name, start);
    }
    if (added != NULL) *added = w;
    return HCCL_SUCCESS;
}

static HcclResult remove_window(const char *name, struct hc_comm *comm, enum window_kind kind,
                                const void *start) {
    hc_comm_lock();
    struct hc_window **link = find_window(comm, kind, start);
    struct hc_window *w = *link;
    if (w != NULL) *link = w->next;
    hc_comm_unlock();
    HC_CHECK(w != NULL, HCCL_E_NOT_FOUND, "%s: %p is not known to communicator %s", name, start, comm->title);
    free(w);
    return HCCL_SUCCESS;
}

HcclResult HcclCommRegister(HcclComm comm, void *addr, uint64_t size, void **handle, uint32_t flag) {
    struct hc_comm *c;
    HC_TRY(hc_comm_find("HcclCommRegister", comm, &c));
    HC_CHECK(handle != NULL, HCCL_E_PTR, "HcclCommRegister: handle is null");
    (void)flag; /* how peers may use the window: there is none */
    struct hc_window *w;
    HC_TRY(add_window("HcclCommRegister", c, WINDOW_REGISTERED, addr, size, &w));
    *handle = w->start; /* the address is the handle: it is unique in its communicator */
    return HCCL_SUCCESS;
}

HcclResult HcclCommDeregister(HcclComm comm, void *handle) {
    struct hc_comm *c;
    HC_TRY(hc_comm_find("HcclCommDeregister", comm, &c));
    return remove_window("HcclCommDeregister", c, WINDOW_REGISTERED, handle);
}

HcclResult HcclCommExchangeMem(HcclComm comm, void *windowHandle, uint32_t *peerRanks, uint32_t peerRankNum) {
    struct hc_comm *c;
    HC_TRY(hc_comm_find("HcclCommExchangeMem", comm, &c));
    HC_CHECK(peerRanks != NULL || peerRankNum == 0, HCCL_E_PTR, "HcclCommExchangeMem: peerRanks is null");
    for (uint32_t i = 0; i < peerRankNum; i++) {
        HC_CHECK(peerRanks[i] < c->num_ranks, HCCL_E_PARA, "HcclCommExchangeMem: rank %u, wanted 0 to %u",
                 peerRanks[i], c->num_ranks - 1);
    }
    hc_comm_lock();
    const bool known = *find_window(c, WINDOW_REGISTERED, windowHandle) != NULL;
    hc_comm_unlock();
    HC_CHECK(known, HCCL_E_NOT_FOUND, "HcclCommExchangeMem: %p is no registered window of %s", windowHandle,
             c->title);
    return HCCL_SUCCESS;
}

HcclResult HcclCommSetMemoryRange(HcclComm comm, void *baseVirPtr, size_t size, size_t alignment,
                                  uint64_t flags) {
    struct hc_comm *c;
    HC_TRY(hc_comm_find("HcclCommSetMemoryRange", comm, &c));
    HC_CHECK(flags == 0, HCCL_E_PARA, "HcclCommSetMemoryRange: flags are %llu, wanted 0",
             (unsigned long long)flags);
    HC_CHECK(alignment == 0 || (uintptr_t)baseVirPtr % alignment == 0, HCCL_E_PARA,
             "HcclCommSetMemoryRange: %p is not aligned to %zu bytes", baseVirPtr, alignment);
    return add_window("HcclCommSetMemoryRange", c, WINDOW_RANGE, baseVirPtr, size, NULL);
}

HcclResult HcclCommUnsetMemoryRange(HcclComm comm, void *baseVirPtr) {
    struct hc_comm *c;
    HC_TRY(hc_comm_find("HcclCommUnsetMemoryRange", comm, &c));
    return remove_window("HcclCommUnsetMemoryRange", c, WINDOW_RANGE, baseVirPtr);
}

static bool in_a_range(struct hc_comm *comm, const char *start, size_t size) {
    hc_comm_lock();
    bool found = false;
    for (const struct hc_window *w = comm->windows; w != NULL; w = w->next) {
        found = found || (w->kind == WINDOW_RANGE && contains(w, start, size));
    }
    hc_comm_unlock();
    return found;
}

HcclResult HcclCommActivateCommMemory(HcclComm comm, void *virPtr, size_t size, size_t offset,
                                      aclrtDrvMemHandle handle, uint64_t flags) {
    struct hc_comm *c;
    HC_TRY(hc_comm_find("HcclCommActivateCommMemory", comm, &c));
    HC_CHECK(handle != NULL, HCCL_E_PTR, "HcclCommActivateCommMemory: handle is null");
    HC_CHECK(flags == 0 && offset == 0, HCCL_E_PARA,
             "HcclCommActivateCommMemory: offset %zu and flags %llu, wanted 0", offset,
             (unsigned long long)flags);
    HC_CHECK(in_a_range(c, virPtr, size), HCCL_E_PARA,
             "HcclCommActivateCommMemory: %zu bytes at %p lie in no range of %s", size, virPtr, c->title);
    return add_window("HcclCommActivateCommMemory", c, WINDOW_ACTIVE, virPtr, size, NULL);
}

HcclResult HcclCommDeactivateCommMemory(HcclComm comm, void *virPtr) {
    struct hc_comm *c;
    HC_TRY(hc_comm_find("HcclCommDeactivateCommMemory", comm, &c));
    return remove_window("HcclCommDeactivateCommMemory", c, WINDOW_ACTIVE, virPtr);
}
