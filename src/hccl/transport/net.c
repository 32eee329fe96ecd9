// SPDX-License-Identifier: Apache-2.0
/* Birth and end of a communicator's connections between hosts. */
#include "hc_net.h"

#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "hc_clock.h"
#include "hc_option.h"

enum { FLUSH_MS = 2000, SHUT_MS = 2000, CLOSE_MS = 2000 };

/* What a rank puts into its record of the second meeting. */
enum { BLOB_ADDRESS, BLOB_ERROR };

bool hc_net_progress(struct hc_net *net) {
    enum { ROUNDS = 64 }; /* then the caller looks after itself */
    unsigned moved = 0;
    for (int i = 0; i < ROUNDS; i++) {
        const unsigned n = net->ucp->worker_progress(net->worker);
        moved += n;
        if (n == 0) break;
    }
    return moved > 0;
}

static void endpoint_failed(void *arg, void *ep, hc_ucs_status status) {
    struct hc_endpoint *e = arg;
    (void)ep;
    e->status = status;
}

void *hc_net_endpoint(struct hc_net *net, uint32_t rank) {
    struct hc_endpoint *e = &net->endpoints[rank];
    if (e->ep == NULL && e->status == HC_UCS_OK) {
        const struct hc_ucp_ep_params params = {.field_mask = HC_UCP_EP_REMOTE_ADDRESS | HC_UCP_EP_ERR_MODE |
                                                              HC_UCP_EP_ERR_HANDLER,
                                                .address = net->comm->members[rank].blob + 1,
                                                .err_mode = HC_UCP_ERR_MODE_PEER,
                                                .err_handler = {endpoint_failed, e}};
        const hc_ucs_status status = net->ucp->ep_create(net->worker, &params, &e->ep);
        if (status != HC_UCS_OK) e->ep = NULL, e->status = status;
    }
    if (e->status == HC_UCS_OK) return e->ep;
    if (net->broken_since == 0) {
        net->broken_rank = rank;
        net->broken_status = e->status;
        net->broken_since = hc_now_ns();
    }
    return NULL;
}

static bool request_over(const struct hc_net *net, hc_ucs_request *r) {
    if (!hc_ucs_is_request(*r)) return true;
    if (net->ucp->request_check_status(*r) == HC_UCS_INPROGRESS) return false;
    net->ucp->request_free(*r);
    *r = NULL;
    return true;
}

/* Progress until all requests are over, or `ms` have passed: false. */
static bool finish_requests(struct hc_net *net, hc_ucs_request *requests, size_t count, uint64_t ms) {
    const uint64_t limit = hc_now_ns() + ms * 1000000u;
    for (;;) {
        bool over = true;
        net->ucp->worker_progress(net->worker);
        for (size_t i = 0; i < count; i++) over = request_over(net, &requests[i]) && over;
        if (over || hc_now_ns() > limit) return over;
        sched_yield();
    }
}

/* Close all endpoints: in order, or (force) whatever the other side does. */
static void close_endpoints(struct hc_net *net, bool force, uint64_t ms) {
    const uint32_t n = net->comm->num_ranks;
    const struct hc_ucp_request_param param = {.op_attr_mask = HC_UCP_OP_FLAGS,
                                               .flags = force ? HC_UCP_CLOSE_FORCE : 0};
    hc_ucs_request *requests = calloc(n, sizeof *requests);
    for (uint32_t r = 0; r < n && requests != NULL; r++) {
        struct hc_endpoint *e = &net->endpoints[r];
        if (e->ep != NULL) requests[r] = net->ucp->ep_close_nbx(e->ep, &param);
        e->ep = NULL;
        if (e->status == HC_UCS_OK) e->status = HC_UCS_CANCELED;
    }
    if (requests != NULL) finish_requests(net, requests, n, ms);
    free(requests);
}

void hc_net_shut(struct hc_net *net) {
    if (net->worker == NULL) return;
    hc_wires_cancel(net);
    close_endpoints(net, true, SHUT_MS);
    net->ucp->worker_destroy(net->worker);
    net->worker = NULL;
    hc_wires_abandon(net);
}

/* Under the lock: push out what was sent, take leave of the others, end the worker. */
static void retire(struct hc_net *net, uint64_t flush_ms) {
    const struct hc_ucp_request_param param = {0};
    if (net->worker == NULL) return;
    hc_ucs_request request = net->ucp->worker_flush_nbx(net->worker, &param);
    finish_requests(net, &request, 1, flush_ms);
    close_endpoints(net, false, CLOSE_MS);
    net->ucp->worker_destroy(net->worker);
    net->worker = NULL;
    hc_wires_abandon(net);
}

bool hc_net_retire(struct hc_net *net) {
    enum { PATIENCE_MS = 1000 };
    const uint64_t limit = hc_now_ns() + PATIENCE_MS * 1000000ull;
    while (pthread_mutex_trylock(&net->lock) != 0) {
        if (hc_now_ns() > limit) return false;
        sched_yield();
    }
    retire(net, FLUSH_MS);
    pthread_mutex_unlock(&net->lock);
    return true;
}

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
    retire(net, FLUSH_MS);
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

static HcclResult make_worker(const char *caller, struct hc_net *net) {
    const struct hc_ucp_worker_params params = {
        .field_mask = HC_UCP_WORKER_THREAD_MODE | HC_UCP_WORKER_FLAGS,
        .thread_mode = HC_UCS_THREAD_MODE_SERIALIZED,
        .flags = HC_UCP_WORKER_IGNORE_REQUEST_LEAK /* of failed communicators */};
    net->ucp = hc_ucp_get(caller);
    if (net->ucp == NULL) return HCCL_E_NOT_SUPPORT;
    hc_ucs_status status = net->ucp->worker_create(net->ucp->context, &params, &net->worker);
    if (status == HC_UCS_OK) status = net->ucp->worker_get_efd(net->worker, &net->event_file);
    HC_CHECK(status == HC_UCS_OK, HCCL_E_NETWORK,
             "%s: UCX makes no worker: %s (its options are the variables UCX_*)", caller,
             net->ucp->status_string(status));
    return HCCL_SUCCESS;
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
    HcclResult own = make_worker(caller, net);
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
    c->transport = &hc_transport_ucx;
    return HCCL_SUCCESS;
}
