// SPDX-License-Identifier: Apache-2.0
#include "hc_link.h"

#include <time.h>

#include "hc_clock.h"
#include "hc_failure.h"
#include "hc_launch.h"
#include "hc_link_speed.h"
#include "hc_option.h"

enum { SLICE_NS = 50000000 }; /* after which a sleeper looks for failures */

void hc_link_configure(struct hc_comm *c) {
    struct hc_link_speed speed;
    if (!hc_link_speed_of(hc_option_text(HC_OPT_HCCL_LINK), c->label, &speed)) return; /* none is asked for */
    c->link_ns = speed.microseconds * 1e3;
    c->link_ns_per_byte = speed.gigabytes > 0 ? 1 / speed.gigabytes : 0;
}

struct traffic {
    double steps, bytes;
};

/* What this rank sends to itself, or keeps, crosses no link. */
static uint64_t of_others(const struct hc_slices *s, const struct hc_comm *c) {
    uint64_t bytes = 0;
    for (uint32_t r = 0; r < c->num_ranks; r++)
        if (r != c->rank) bytes += s->lengths[r];
    return bytes;
}

/* Messages to itself take no link. */
static struct traffic of_messages(const struct hc_op *op) {
    uint64_t bytes[HC_DIRECTIONS] = {0, 0};
    for (size_t i = 0; i < op->num_messages; i++)
        if (op->messages[i].peer != op->comm->rank) bytes[op->messages[i].direction] += op->messages[i].bytes;
    const double most = (double)(bytes[HC_OUT] > bytes[HC_IN] ? bytes[HC_OUT] : bytes[HC_IN]);
    return (struct traffic){1, most};
}

/* By the algorithm that is usual for the kind, not by the one that runs: on shared memory there are no steps.
 * A scatter and a broadcast end on all ranks when they end on the last. */
static struct traffic of_op(const struct hc_op *op) {
    const struct hc_comm *c = op->comm;
    const double n = c->num_ranks, data = (double)op->count * (double)op->element;
    const double log2n = c->num_ranks > 1 ? 32 - __builtin_clz(c->num_ranks - 1) : 0;
    switch (op->kind) {
    case HC_OP_ALL_REDUCE: return (struct traffic){2 * (n - 1), 2 * (n - 1) / n * data};
    case HC_OP_REDUCE:
    case HC_OP_BROADCAST: return (struct traffic){log2n, data};
    case HC_OP_BARRIER: return (struct traffic){log2n, 0};
    case HC_OP_SCATTER: return (struct traffic){n - 1, (n - 1) * data};
    case HC_OP_ALL_GATHER:
    case HC_OP_ALL_GATHER_V: return (struct traffic){n - 1, (double)of_others(&op->recvs, c)};
    case HC_OP_REDUCE_SCATTER:
    case HC_OP_REDUCE_SCATTER_V: return (struct traffic){n - 1, (double)of_others(&op->sends, c)};
    case HC_OP_ALL_TO_ALL:
    case HC_OP_ALL_TO_ALL_V:
    case HC_OP_ALL_TO_ALL_VC: {
        const uint64_t out = of_others(&op->sends, c), in = of_others(&op->recvs, c);
        return (struct traffic){n - 1, (double)(out > in ? out : in)};
    }
    default: return of_messages(op);
    }
}

/* As double: a terabyte over a slow link is more than 2^64 tenths of a nanosecond, and an error of a part in
 * 2^53 does not matter. */
uint64_t hc_link_ns(const struct hc_op *op) {
    const struct hc_comm *c = op->comm;
    if (c->link_ns_per_byte == 0 || c->num_ranks == 1) return 0;
    const struct traffic t = of_op(op);
    return (uint64_t)(t.steps * c->link_ns + t.bytes * c->link_ns_per_byte);
}

/* Asleep as other waits are: memory may be moved meanwhile. */
HcclResult hc_link_wait(struct hc_op *op) {
    const uint64_t ns = hc_link_ns(op);
    HcclResult status = HCCL_SUCCESS;
    if (ns == 0) return HCCL_SUCCESS;
    const uint64_t end = hc_now_ns() + ns;
    hc_stream_park(true);
    for (uint64_t now = hc_now_ns(); now < end && status == HCCL_SUCCESS; now = hc_now_ns()) {
        const uint64_t next = end - now < SLICE_NS ? end : now + SLICE_NS;
        const struct timespec at = {(time_t)(next / 1000000000u), (long)(next % 1000000000u)};
        clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &at, NULL);
        if (next < end) status = hc_op_trouble(op);
    }
    hc_stream_park(false);
    return status;
}
