// SPDX-License-Identifier: Apache-2.0
#include "hc_worker.h"

#include <sched.h>
#include <stdlib.h>

#include "hc_clock.h"
#include "hc_wires.h"

enum { FLUSH_MS = 2000, SHUT_MS = 2000, CLOSE_MS = 2000 };

bool hc_worker_progress(struct hc_net *net) {
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

void *hc_worker_endpoint(struct hc_net *net, uint32_t rank) {
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

void hc_worker_shut(struct hc_net *net) {
    if (net->worker == NULL) return;
    hc_wires_cancel(net);
    close_endpoints(net, true, SHUT_MS);
    net->ucp->worker_destroy(net->worker);
    net->worker = NULL;
    hc_wires_abandon(net);
}

void hc_worker_retire(struct hc_net *net) {
    const struct hc_ucp_request_param param = {0};
    if (net->worker == NULL) return;
    hc_ucs_request request = net->ucp->worker_flush_nbx(net->worker, &param);
    finish_requests(net, &request, 1, FLUSH_MS);
    close_endpoints(net, false, CLOSE_MS);
    net->ucp->worker_destroy(net->worker);
    net->worker = NULL;
    hc_wires_abandon(net);
}

HcclResult hc_worker_make(const char *caller, struct hc_net *net) {
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
