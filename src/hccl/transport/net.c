// SPDX-License-Identifier: Apache-2.0
/* Birth and end of a communicator's connections between hosts. */
#include "hc_net.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "hc_control.h"
#include "hc_net_thread.h"
#include "hc_option.h"
#include "hc_worker.h"

/* What a rank puts into its record of the second meeting. */
enum { BLOB_ADDRESS, BLOB_ERROR };

static void destroy(struct hc_net *net) {
    pthread_mutex_destroy(&net->lock);
    pthread_mutex_destroy(&net->control_lock);
    free(net->endpoints);
    free(net->others);
    free(net);
}

void hc_net_close(struct hc_comm *c) {
    struct hc_net *net = c->net;
    if (net == NULL) return;
    hc_net_thread_remove(net);
    pthread_mutex_lock(&net->lock);
    hc_worker_retire(net);
    pthread_mutex_unlock(&net->lock);
    hc_control_close(net);
    free(c->self);
    c->self = NULL;
    c->net = NULL;
    destroy(net);
}

static struct hc_net *create(struct hc_comm *c) {
    struct hc_net *net = calloc(1, sizeof *net);
    void *self = aligned_alloc(_Alignof(struct hc_presence), sizeof(struct hc_presence));
    if (net != NULL) net->endpoints = calloc(c->num_ranks, sizeof *net->endpoints);
    if (net != NULL) net->others = calloc(c->num_ranks, sizeof *net->others);
    if (net == NULL || self == NULL || net->endpoints == NULL || net->others == NULL) {
        if (net != NULL) free(net->endpoints), free(net->others);
        free(net);
        free(self);
        return NULL;
    }
    pthread_mutex_init(&net->lock, NULL);
    pthread_mutex_init(&net->control_lock, NULL);
    net->comm = c;
    net->control = net->event_file = -1;
    for (uint32_t r = 0; r < c->num_ranks; r++) {
        net->others[r].stage = HC_JOINED;
        net->others[r].pid = c->members[r].pid;
    }
    c->self = memset(self, 0, sizeof(struct hc_presence));
    atomic_store(&c->self->pid, getpid());
    atomic_store(&c->self->stage, HC_JOINED);
    c->net = net;
    return net;
}

/* Tell the others where this rank is reached, or why it is not: then all know. The list that comes back
 * replaces the one of the first meeting. */
static HcclResult swap_addresses(const char *caller, struct hc_comm *c, HcclResult own, const char *blob,
                                 size_t bytes) {
    struct hc_meeting second;
    struct hc_member self = c->members[c->rank], *members;
    int connection;
    const uint32_t limit = (uint32_t)hc_option_int(HC_OPT_HCCL_CONNECT_TIMEOUT);
    hc_meeting_derive(&c->meeting, "ucx", 3, &second);
    self.blob = (const unsigned char *)blob;
    self.blob_bytes = (uint32_t)bytes;
    HC_TRY(hc_meeting_join(caller, &second, c->num_ranks, &self, limit, &members, &connection));
    close(connection);
    free(c->members);
    c->members = members;
    if (own != HCCL_SUCCESS) return hc_fail(own, "%s", blob + 1);
    for (uint32_t r = 0; r < c->num_ranks; r++) {
        const struct hc_member *m = &members[r];
        HC_CHECK(m->blob_bytes > 1, HCCL_E_REMOTE, "%s: rank %u sent no address", caller, r);
        HC_CHECK(m->blob[0] == BLOB_ADDRESS, HCCL_E_REMOTE,
                 "%s: rank %u (process %d on %s) cannot connect: %.*s", caller, r, m->pid, m->host_name,
                 (int)(m->blob_bytes - 1), (const char *)m->blob + 1);
    }
    return HCCL_SUCCESS;
}

static HcclResult connect_worker(const char *caller, struct hc_net *net) {
    char error[512] = {BLOB_ERROR};
    void *address = NULL;
    size_t length = 0;
    HcclResult own = hc_worker_make(caller, net);
    if (own == HCCL_SUCCESS && net->ucp->worker_get_address(net->worker, &address, &length) != HC_UCS_OK)
        own = hc_fail(HCCL_E_NETWORK, "%s: UCX has no address", caller);
    char *blob = own == HCCL_SUCCESS && length < HC_BLOB_MAX ? malloc(length + 1) : NULL;
    if (own == HCCL_SUCCESS && blob == NULL) own = hc_fail(HCCL_E_MEMORY, "%s: out of host memory", caller);
    if (own == HCCL_SUCCESS) {
        blob[0] = BLOB_ADDRESS;
        memcpy(blob + 1, address, length);
    } else {
        strncpy(error + 1, hc_error_text(), sizeof error - 2);
    }
    if (address != NULL) net->ucp->worker_release_address(net->worker, address);
    const HcclResult status = own == HCCL_SUCCESS
                                  ? swap_addresses(caller, net->comm, own, blob, length + 1)
                                  : swap_addresses(caller, net->comm, own, error, strlen(error + 1) + 1);
    free(blob);
    return status;
}

HcclResult hc_net_open(const char *caller, struct hc_comm *c, int control) {
    struct hc_net *net = create(c);
    if (net == NULL) {
        close(control);
        return hc_fail(HCCL_E_MEMORY, "%s: out of host memory", caller);
    }
    hc_control_open(net, control);
    HC_TRY(connect_worker(caller, net));
    HC_TRY(hc_net_thread_add(caller, net));
    return HCCL_SUCCESS;
}
