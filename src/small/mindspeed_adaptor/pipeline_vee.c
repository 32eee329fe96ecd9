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
 * look at 4 P candidates.
 *
 * With gradients of weights apart (Zero Bubble Pipeline Parallelism, arXiv:2401.10241) a backward pass takes
 * as long as a forward pass, and its gradients of weights are a pass of their own that nobody waits for: a
 * rank makes them up, the oldest first, while it has nothing else to do. It also does where forward passes
 * that wait and gradients that are put off are 2P + 1 together, which is what the first rank holds in any
 * case; with that bound the last pass ends P - 1 forward passes after M micro-batches' work (P up to 8, M
 * from 2P on), and no larger bound is quicker. Oldest first, so each weight's gradients are added up in the
 * order of the backward passes, as without. */
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>

#include "hc_util.h"

enum { FORWARD, BACKWARD, WEIGHTS, KINDS };

#define CHUNKS 2u
#define MOST_RANKS 1024u
#define MOST_BATCHES (1u << 20)
#define NEVER (-1.0)

/* A backward pass computes two gradients for each product. */
static const double COST[KINDS] = {1, 2, 0}, COST_APART[KINDS] = {1, 1, 1};

struct rank {
    double free;                  /* when its last pass ends */
    int last;                     /* the kind of that, but for gradients of weights */
    uint32_t next[KINDS][CHUNKS]; /* the micro-batch that is next */
    uint32_t waiting[CHUNKS];     /* forward passes without their backward pass */
    size_t backward, weights;     /* begun so far */
    size_t passes;                /* of all kinds */
};

struct paper {
    size_t ranks, batches, kinds;
    struct rank *rank;
    double *end;        /* [kind][stage][batch]: when that is through, or NEVER */
    uint8_t *chunks;    /* [rank][2 batches]: of its backward passes, in their order */
    const double *cost; /* of each kind */
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

static uint32_t held(const struct rank *r) {
    return r->waiting[0] + r->waiting[1] + (uint32_t)(r->backward - r->weights);
}

/* The chunk of the oldest gradients of weights that are put off; CHUNKS if there are none. */
static uint32_t put_off(const struct paper *p, size_t rank) {
    const struct rank *r = &p->rank[rank];
    if (p->kinds <= WEIGHTS || r->weights == r->backward) return CHUNKS;
    return p->chunks[rank * CHUNKS * p->batches + r->weights];
}

/* When what a pass needs is there, NEVER if nobody knows yet or its rank is not to begin it now. */
static double ready(const struct paper *p, size_t rank, int kind, uint32_t chunk) {
    const struct rank *r = &p->rank[rank];
    const uint32_t oldest = put_off(p, rank);
    if (kind == WEIGHTS) return chunk == oldest ? 0 : NEVER;
    if (oldest < CHUNKS && held(r) >= CHUNKS * p->ranks + 1) return NEVER;
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
    if ((a->kind == WEIGHTS) != (b->kind == WEIGHTS)) return b->kind == WEIGHTS;
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
    r->free = c->begin + p->cost[c->kind];
    if (c->kind == WEIGHTS) r->weights++;
    else r->last = c->kind;
    if (c->kind == FORWARD) r->waiting[c->chunk]++;
    if (c->kind == BACKWARD) {
        r->waiting[c->chunk]--;
        p->chunks[c->rank * CHUNKS * p->batches + r->backward++] = (uint8_t)c->chunk;
    }
    *end_of(p, c->kind, stage_of(p, c->rank, c->chunk), batch) = r->free;
    orders[c->rank * each + r->passes++] =
        (int32_t)(((uint32_t)c->kind * CHUNKS + c->chunk) * p->batches + batch);
}

static bool allocate(struct paper *p) {
    const size_t ends = KINDS * CHUNKS * p->ranks * p->batches;
    p->rank = calloc(p->ranks, sizeof *p->rank);
    p->end = malloc(ends * sizeof *p->end);
    p->chunks = malloc(CHUNKS * p->ranks * p->batches);
    if (p->rank == NULL || p->end == NULL || p->chunks == NULL) return false;
    for (size_t i = 0; i < ends; i++) p->end[i] = NEVER;
    for (size_t rank = 0; rank < p->ranks; rank++) p->rank[rank].last = BACKWARD;
    return true;
}

/* All passes. */
static void run_on_paper(struct paper *p, int32_t *orders, double *length, int32_t *kept) {
    *length = 0, *kept = 0;
    for (size_t left = p->kinds * CHUNKS * p->ranks * p->batches; left > 0; left--) {
        const struct choice c = choose(p);
        begin_pass(p, &c, orders);
        const struct rank *r = &p->rank[c.rank];
        const int32_t waiting = (int32_t)(p->kinds > WEIGHTS ? held(r) : r->waiting[0] + r->waiting[1]);
        if (r->free > *length) *length = r->free;
        if (waiting > *kept) *kept = waiting;
    }
}

/* `kinds` of passes: 1 forward; 2 and backward; 3 and gradients of weights apart from it. `orders`
 * [ranks][passes] is filled with (kind * 2 + chunk) * batches + batch, kind 0 forward, 1 backward and 2
 * gradients of weights. *length: when the last pass ends, in forward passes; *kept: the most passes of a rank
 * that wait for their backward pass, or whose gradients of weights are put off. Returns 0, or -1 for another
 * `kinds`, a number of ranks or micro-batches that is 0 or above 1024 and 2^20, or if there is no memory.
 * Thread safe, does not block. */
HC_API int32_t hc_pipeline_vee(size_t ranks, size_t batches, int32_t kinds, int32_t *orders, double *length,
                               int32_t *kept) {
    if (ranks == 0 || ranks > MOST_RANKS || batches == 0 || batches > MOST_BATCHES) return -1;
    if (kinds < 1 || kinds > KINDS) return -1;
    struct paper p = {.ranks = ranks, .batches = batches, .kinds = (size_t)kinds};
    p.cost = kinds > WEIGHTS ? COST_APART : COST;
    const bool is_there = allocate(&p);
    if (is_there) run_on_paper(&p, orders, length, kept);
    free(p.rank), free(p.end), free(p.chunks);
    return is_there ? 0 : -1;
}
