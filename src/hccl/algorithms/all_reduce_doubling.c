// SPDX-License-Identifier: Apache-2.0
/* Recursive doubling: at step k ranks at distance 2^k swap what they have and both combine it, so that all
 * have everything after log2(N) steps of all the data. For small data.
 *
 * Of N ranks that are no power of two the first 2 (N - P), P the largest power of two below, begin and end in
 * pairs: the odd one hands its data to the even one before, and gets the result after. Both sides of a swap
 * put the lower ranks' share first, so they compute the same bits. */
#include "hc_steps.h"

enum { CHUNK_BYTES = 1 << 20 };

struct doubling {
    struct hc_op *op;
    struct hc_partial partial;
    char *mine, *theirs;
    size_t count;
};

static HcclResult swap(struct doubling *d, uint32_t peer, bool out, bool in) {
    const size_t bytes = d->count * d->partial.element;
    struct hc_message messages[2];
    size_t n = 0;
    if (out) messages[n++] = hc_message_to(peer, d->mine, bytes, d->partial.type);
    if (in) messages[n++] = hc_message_from(peer, d->theirs, bytes, d->partial.type);
    return hc_exchange(d->op, messages, n);
}

/* Mine and theirs; which is lower decides the order. */
static void merge(struct doubling *d, bool mine_first) {
    hc_partial_merge(d->op, d->mine, mine_first ? d->mine : d->theirs, mine_first ? d->theirs : d->mine,
                     d->count);
}

/* Rank of the i-th participant; the first `extra` are the even ones of pairs. */
static uint32_t rank_of(uint32_t i, uint32_t extra) { return i < extra ? 2 * i : i + extra; }

static HcclResult double_up(struct doubling *d, uint32_t self, uint32_t power, uint32_t extra) {
    for (uint32_t bit = 1; bit < power; bit <<= 1) {
        HC_TRY(swap(d, rank_of(self ^ bit, extra), true, true));
        merge(d, (self & bit) == 0);
    }
    return HCCL_SUCCESS;
}

static HcclResult run_chunk(struct doubling *d, size_t at) {
    struct hc_op *op = d->op;
    const uint32_t n = op->comm->num_ranks, rank = op->comm->rank;
    uint32_t power = 1;
    while (power * 2 <= n) power *= 2;
    const uint32_t extra = n - power;
    const bool paired = rank < 2 * extra, helper = paired && rank % 2 == 1;
    hc_partial_load(op, d->mine, op->send + at, d->count);
    if (paired) HC_TRY(swap(d, rank ^ 1, helper, !helper));
    if (paired && !helper) merge(d, true);
    if (!helper) HC_TRY(double_up(d, paired ? rank / 2 : rank - extra, power, extra));
    if (paired) HC_TRY(swap(d, rank ^ 1, !helper, helper));
    hc_partial_store(op, op->recv + at, helper ? d->theirs : d->mine, d->count);
    return HCCL_SUCCESS;
}

static HcclResult run(struct hc_op *op) {
    struct doubling d = {.op = op, .partial = hc_partial_of(op)};
    const size_t chunk =
        hc_min_size(hc_steps_fit(op, 2, d.partial.element, CHUNK_BYTES), hc_max_size(op->count, 1));
    d.mine = hc_steps_scratch(op, 2 * chunk * d.partial.element);
    if (d.mine == NULL) return HCCL_E_MEMORY;
    d.theirs = d.mine + chunk * d.partial.element;
    for (size_t at = 0; at < op->count; at += chunk) {
        d.count = hc_min_size(chunk, op->count - at);
        HC_TRY(run_chunk(&d, at * op->element));
    }
    return HCCL_SUCCESS;
}

const struct hc_algo hc_doubling_all_reduce = {"recursive_doubling", hc_messages_support, run};
