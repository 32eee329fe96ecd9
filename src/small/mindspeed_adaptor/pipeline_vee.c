// SPDX-License-Identifier: Apache-2.0
/* The order of passes of a pipeline in the shape of a V, on P ranks with two chunks each: chunk 0 of rank r
 * is stage r, chunk 1 is stage 2P - 1 - r (the placement of DualPipeV: DeepSeek-V3 Technical Report,
 * arXiv:2412.19437).
 *
 * The pipeline is run on paper, with backward passes that take twice as long as forward passes: of all passes
 * that some rank could begin, the one that begins first is begun. Of those that begin at once a rank prefers
 * the other kind than its last one, so that forward and backward passes take turns, and then the later chunk,
 * whose micro-batch is nearer to its backward pass. Rank r begins no pass of chunk 0 while 2P - r of them
 * wait for their backward pass, which bounds what it holds. 4 P M passes of M micro-batches, each found by a
 * look at 4 P candidates. */
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>

#include "hc_util.h"

enum { FORWARD, BACKWARD, KINDS };

#define CHUNKS 2u
#define MOST_RANKS 1024u
#define MOST_BATCHES (1u << 20)
#define NEVER (-1.0)

static const double COST[KINDS] = {1, 2}; /* a backward pass computes two gradients for each product */

struct rank {
    double free;                  /* when its last pass ends */
    int last;                     /* the kind of that */
    uint32_t next[KINDS][CHUNKS]; /* the micro-batch that is next */
    uint32_t waiting[CHUNKS];     /* forward passes without their backward pass */
    size_t passes;                /* begun so far */
};

struct paper {
    size_t ranks, batches, kinds;
    struct rank *rank;
    double *end; /* [kind][stage][batch]: when that is through, or NEVER */
};

struct choice {
    double begin;
    size_t rank;
    int kind;
    uint32_t chunk;
};

static size_t last_stage(const struct paper *p) { return CHUNKS * p->ranks - 1; }

static size_t stage_of(const struct paper *p, size_t rank, uint32_t chunk) {
    return chunk == 0 ? rank : last_stage(p) - rank;
}

static double *end_of(const struct paper *p, int kind, size_t stage, uint32_t batch) {
    return &p->end[((size_t)kind * CHUNKS * p->ranks + stage) * p->batches + batch];
}

/* When what a pass needs is there, NEVER if nobody knows yet. */
static double ready(const struct paper *p, size_t rank, int kind, uint32_t chunk) {
    const struct rank *r = &p->rank[rank];
    const uint32_t batch = r->next[kind][chunk];
    const size_t stage = stage_of(p, rank, chunk);
    if (batch == p->batches) return NEVER;
    if (kind == BACKWARD)
        return stage == last_stage(p) ? *end_of(p, FORWARD, stage, batch)
                                      : *end_of(p, BACKWARD, stage + 1, batch);
    const bool is_full = chunk == 0 && r->waiting[0] >= CHUNKS * p->ranks - rank;
    if (is_full && p->kinds > 1) return NEVER;
    return stage == 0 ? 0 : *end_of(p, FORWARD, stage - 1, batch);
}

/* Whether `a` is taken rather than `b`. Ranks are asked in turn, so of two alike the first rank's is. */
static bool is_before(const struct paper *p, const struct choice *a, const struct choice *b) {
    if (a->begin != b->begin) return a->begin < b->begin;
    const bool again_a = a->kind == p->rank[a->rank].last, again_b = b->kind == p->rank[b->rank].last;
    if (again_a != again_b) return again_b;
    return a->chunk > b->chunk;
}

static struct choice choose(const struct paper *p) {
    struct choice best = {.begin = NEVER};
    for (size_t rank = 0; rank < p->ranks; rank++)
        for (int kind = 0; kind < (int)p->kinds; kind++)
            for (uint32_t chunk = 0; chunk < CHUNKS; chunk++) {
                const double at = ready(p, rank, kind, chunk);
                if (at == NEVER) continue;
                const double begin = at > p->rank[rank].free ? at : p->rank[rank].free;
                const struct choice found = {begin, rank, kind, chunk};
                if (best.begin == NEVER || is_before(p, &found, &best)) best = found;
            }
    return best;
}

/* Begins a pass and writes it into the order of its rank. */
static void begin_pass(struct paper *p, const struct choice *c, int32_t *orders) {
    struct rank *r = &p->rank[c->rank];
    const uint32_t batch = r->next[c->kind][c->chunk]++;
    const size_t each = p->kinds * CHUNKS * p->batches;
    r->free = c->begin + COST[c->kind];
    r->last = c->kind;
    r->waiting[c->chunk] += c->kind == FORWARD ? 1u : (uint32_t)-1;
    *end_of(p, c->kind, stage_of(p, c->rank, c->chunk), batch) = r->free;
    orders[c->rank * each + r->passes++] =
        (int32_t)(((uint32_t)c->kind * CHUNKS + c->chunk) * p->batches + batch);
}

/* `orders` [ranks][passes] is filled with (kind * 2 + chunk) * batches + batch, kind 0 forward and 1
 * backward; without backward passes where `forward_only`. *length: when the last pass ends, in forward
 * passes; *kept: the most passes of a rank that wait for their backward pass. Returns 0, or -1 for a number
 * of ranks or micro-batches that is 0 or above 1024 and 2^20, or if there is no memory. Thread safe, does not
 * block. */
HC_API int32_t hc_pipeline_vee(size_t ranks, size_t batches, int32_t forward_only, int32_t *orders,
                               double *length, int32_t *kept) {
    if (ranks == 0 || ranks > MOST_RANKS || batches == 0 || batches > MOST_BATCHES) return -1;
    struct paper p = {.ranks = ranks, .batches = batches, .kinds = forward_only ? 1 : KINDS};
    const size_t ends = KINDS * CHUNKS * ranks * batches;
    p.rank = calloc(ranks, sizeof *p.rank);
    p.end = malloc(ends * sizeof *p.end);
    if (p.rank != NULL && p.end != NULL) {
        for (size_t i = 0; i < ends; i++) p.end[i] = NEVER;
        for (size_t rank = 0; rank < ranks; rank++) p.rank[rank].last = BACKWARD;
        *length = 0, *kept = 0;
        for (size_t left = p.kinds * CHUNKS * ranks * batches; left > 0; left--) {
            const struct choice c = choose(&p);
            begin_pass(&p, &c, orders);
            const struct rank *r = &p.rank[c.rank];
            const int32_t waiting = (int32_t)(r->waiting[0] + r->waiting[1]);
            if (r->free > *length) *length = r->free;
            if (waiting > *kept) *kept = waiting;
        }
    }
    const int32_t status = p.rank != NULL && p.end != NULL ? 0 : -1;
    free(p.rank), free(p.end);
    return status;
}
