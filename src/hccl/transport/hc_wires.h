// SPDX-License-Identifier: Apache-2.0
/* Messages under way as UCX sees them: each has two parts, its head with small data behind it, and larger
 * data. Tags name channel, part, sender and the message's number in its lane, so messages find their
 * receivers in whatever order they come. All of this under net->lock. */
#pragma once
#include <stddef.h>

#include "hc_net_state.h"
#include "hc_op.h"

enum { HC_WIRE_INLINE = 8192, HC_WIRE_MAGIC = 0x6863636c };
struct hc_wire_head {
    uint32_t magic, number; /* of the collective; 0 of a point-to-point call */
    struct hc_signature signature;
    uint64_t total; /* bytes of the data */
    uint8_t type, unused[7];
};

enum { HC_WIRE_HEAD, HC_WIRE_DATA, HC_WIRE_PARTS };
struct hc_wire_part {
    const struct hc_ucp *ucp;
    hc_ucs_request request; /* NULL: not under way */
    bool over;
    hc_ucs_status status;
    size_t length; /* of what was received */
};
struct hc_wire {
    struct hc_wire *next, **link; /* of hc_net.wires */
    bool incoming;
    struct hc_wire_part parts[HC_WIRE_PARTS];
    struct hc_wire_head head;
    char data[]; /* HC_WIRE_INLINE, right behind the head */
};
_Static_assert(sizeof(struct hc_wire) == offsetof(struct hc_wire, data), "data follows the head");

/* One for `m`, in the net's list; NULL: no memory. */
struct hc_wire *hc_wire_make(struct hc_net *net, const struct hc_message *m);
/* Forget that of `m`, if it has one. */
void hc_wire_drop(struct hc_message *m);
/* Start both parts. Received ones are awaited from the start, so that nothing is put aside where it arrives
 * first. */
void hc_wire_send(struct hc_net *net, const struct hc_op *op, struct hc_message *m, void *ep);
void hc_wire_receive(struct hc_net *net, const struct hc_op *op, struct hc_message *m);
/* Take back what can be, and, once the worker is gone, what cannot. */
void hc_wires_cancel(struct hc_net *net);
void hc_wires_abandon(struct hc_net *net);
