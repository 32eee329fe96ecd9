// SPDX-License-Identifier: Apache-2.0
/* Communicators: identity and end.
 *
 * A handle is the address of a struct hc_comm. It is looked up in the list of the living at every call, so a
 * destroyed or foreign handle is an error, not a crash. A program has a few dozen communicators: a list does.
 */
#include "hc_comm.h"

#include <stdlib.h>
#include <string.h>

#include "hc_transport.h"

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

/* Ranks of one process have communicators of one name: the device tells them apart. */
HcclResult hc_comm_find_named(const char *caller, const char *name, int32_t device, struct hc_comm **found) {
    hc_comm_lock();
    struct hc_comm *c = g_comms;
    while (c != NULL && (c->device != device || strcmp(c->name, name) != 0)) c = c->next;
    hc_comm_unlock();
    HC_CHECK(c != NULL, HCCL_E_NOT_FOUND, "%s: device %d is in no communicator called '%.128s'", caller,
             device, name);
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

void hc_comm_publish(struct hc_comm *c) {
    hc_comm_lock();
    c->next = g_comms;
    g_comms = c;
    hc_comm_unlock();
}

bool hc_comm_withdraw(HcclComm comm) {
    hc_comm_lock();
    struct hc_comm **link = &g_comms;
    while (*link != NULL && *link != comm) link = &(*link)->next;
    struct hc_comm *c = *link;
    if (c != NULL) *link = c->next;
    hc_comm_unlock();
    return c != NULL;
}

/* The lock keeps the transport where it is for those who ask it (hc_comm_poll). */
void hc_comm_disconnect(struct hc_comm *c) {
    pthread_mutex_lock(&c->failure_lock);
    const struct hc_transport *transport = c->transport;
    c->transport = NULL;
    pthread_mutex_unlock(&c->failure_lock);
    if (transport != NULL) transport->close(c);
}

void hc_comm_retain(struct hc_comm *comm) { atomic_fetch_add(&comm->references, 1); }

void hc_comm_release(struct hc_comm *c) {
    if (atomic_fetch_sub(&c->references, 1) != 1) return;
    hc_comm_disconnect(c);
    while (c->windows != NULL) {
        struct hc_window *next = c->windows->next;
        free(c->windows);
        c->windows = next;
    }
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

struct hc_comm *hc_comm_create(uint32_t num_ranks, uint32_t rank, int32_t device) {
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
