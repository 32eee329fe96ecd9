// SPDX-License-Identifier: Apache-2.0
#include "hc_wires.h"

#include <stdlib.h>
#include <string.h>

/* Every so many messages to a rank one is over only when it has been received: a sender of small messages
 * does not run further ahead, and what a receiver must keep for it is bounded. */
enum { LEAD = 64 };

static uint64_t tag_of(const struct hc_op *op, uint32_t sender, int part, uint32_t number) {
    return (uint64_t)hc_op_channel(op) << 63 | (uint64_t)part << 62 | (uint64_t)sender << 32 | number;
}

/* Called within progress, or when a request is cancelled: under the lock in both cases. */
static void sent(void *request, hc_ucs_status status, void *user_data) {
    struct hc_wire_part *p = user_data;
    p->over = true;
    p->status = status;
    p->request = NULL;
    p->ucp->request_free(request);
}

static void received(void *request, hc_ucs_status status, const struct hc_ucp_tag_info *info,
                     void *user_data) {
    struct hc_wire_part *p = user_data;
    p->length = status == HC_UCS_OK ? info->length : 0;
    sent(request, status, user_data);
}

static void started(struct hc_wire_part *p, hc_ucs_request request) {
    if (p->over) return;
    if (hc_ucs_is_request(request)) {
        p->request = request;
        return;
    }
    p->over = true;
    p->status = hc_ucs_immediate(request);
}

static struct hc_ucp_request_param callback_of(struct hc_wire_part *p, bool incoming) {
    struct hc_ucp_request_param param = {.op_attr_mask =
                                             HC_UCP_OP_CALLBACK | HC_UCP_OP_USER_DATA | HC_UCP_OP_MEMORY_TYPE,
                                         .user_data = p,
                                         .memory_type = HC_UCS_MEMORY_HOST};
    if (!incoming) {
        param.cb.send = sent;
        return param;
    }
    param.cb.recv = received;
    param.op_attr_mask |= HC_UCP_OP_NO_IMMEDIATE; /* only the callback is told how long a message is */
    return param;
}

struct hc_wire *hc_wire_make(struct hc_net *net, const struct hc_message *m) {
    const size_t room = m->direction == HC_IN ? HC_WIRE_INLINE : hc_min_size(m->bytes, HC_WIRE_INLINE);
    struct hc_wire *w = malloc(sizeof *w + room);
    if (w == NULL) return NULL;
    memset(w, 0, sizeof *w);
    for (int i = 0; i < HC_WIRE_PARTS; i++) w->parts[i].ucp = net->ucp;
    w->parts[HC_WIRE_DATA].over = m->bytes <= HC_WIRE_INLINE;
    w->incoming = m->direction == HC_IN;
    w->next = net->wires;
    w->link = &net->wires;
    if (w->next != NULL) w->next->link = &w->next;
    net->wires = w;
    return w;
}

void hc_wire_drop(struct hc_message *m) {
    struct hc_wire *w = m->wire;
    if (w == NULL) return;
    *w->link = w->next;
    if (w->next != NULL) w->next->link = w->link;
    free(w);
    m->wire = NULL;
}

void hc_wires_cancel(struct hc_net *net) {
    for (struct hc_wire *w = net->wires; w != NULL; w = w->next)
        for (int i = 0; i < HC_WIRE_PARTS; i++)
            if (w->incoming && w->parts[i].request != NULL)
                net->ucp->request_cancel(net->worker, w->parts[i].request);
}

void hc_wires_abandon(struct hc_net *net) {
    for (struct hc_wire *w = net->wires; w != NULL; w = w->next)
        for (int i = 0; i < HC_WIRE_PARTS; i++)
            if (!w->parts[i].over)
                w->parts[i] = (struct hc_wire_part){.over = true, .status = HC_UCS_CANCELED};
}

void hc_wire_send(struct hc_net *net, const struct hc_op *op, struct hc_message *m, void *ep) {
    struct hc_wire *w = m->wire;
    const uint32_t self = op->comm->rank;
    const bool small = m->bytes <= HC_WIRE_INLINE;
    w->head =
        (struct hc_wire_head){.magic = HC_WIRE_MAGIC, .number = op->seq, .total = m->bytes, .type = m->type};
    if (!hc_is_batch(op->kind)) w->head.signature = hc_op_signature(op);
    if (small && m->bytes > 0) memcpy(w->data, m->buffer, m->bytes);
    struct hc_ucp_request_param param = callback_of(&w->parts[HC_WIRE_HEAD], false);
    started(&w->parts[HC_WIRE_HEAD],
            (m->turn % LEAD == LEAD - 1 ? net->ucp->tag_send_sync_nbx : net->ucp->tag_send_nbx)(
                ep, &w->head, sizeof w->head + (small ? m->bytes : 0),
                tag_of(op, self, HC_WIRE_HEAD, m->turn), &param));
    if (small) return;
    param = callback_of(&w->parts[HC_WIRE_DATA], false);
    started(&w->parts[HC_WIRE_DATA],
            net->ucp->tag_send_nbx(ep, m->buffer, m->bytes, tag_of(op, self, HC_WIRE_DATA, m->turn), &param));
}

void hc_wire_receive(struct hc_net *net, const struct hc_op *op, struct hc_message *m) {
    struct hc_wire *w = m->wire;
    struct hc_ucp_request_param param = callback_of(&w->parts[HC_WIRE_HEAD], true);
    started(&w->parts[HC_WIRE_HEAD],
            net->ucp->tag_recv_nbx(net->worker, &w->head, sizeof w->head + HC_WIRE_INLINE,
                                   tag_of(op, m->peer, HC_WIRE_HEAD, m->turn), UINT64_MAX, &param));
    if (m->bytes <= HC_WIRE_INLINE) return;
    param = callback_of(&w->parts[HC_WIRE_DATA], true);
    started(&w->parts[HC_WIRE_DATA],
            net->ucp->tag_recv_nbx(net->worker, m->buffer, m->bytes,
                                   tag_of(op, m->peer, HC_WIRE_DATA, m->turn), UINT64_MAX, &param));
}
