// SPDX-License-Identifier: Apache-2.0
/* Passes of a pipeline two at a time: in each tick a rank has at most one forward and one backward pass, of
 * different micro-batches, which need nothing of each other and run beside each other.
 *
 * A forward pass is one tick behind that of the stage before, a backward pass one tick behind that of the
 * stage after, and the first backward pass of a micro-batch one tick behind its last forward pass. So what a
 * pass needs was made in an earlier tick, and a rank that begins a tick when it has ended the one before and
 * both of its messages are there never waits for one that waits for it. P ranks have V chunks each, and the
 * ticks are where no rank has two forward or two backward passes at once:
 *
 * - Rows: chunk c of rank r is stage c P + r. Micro-batches go through a chunk in groups of N >= P, and then
 *   through the next one: the k-th forward pass is in tick k + r, the k-th backward pass, of chunks from the
 *   last one down, in tick k + 2 P - 1 - r + (V - 1) N. That is one forward pass ahead of Megatron's
 *   interleaved schedule (arXiv:2104.04473), which is what the pairs need.
 * - A V: chunk 0 of rank r is stage r, chunk 1 is stage 2 P - 1 - r. Stage s has micro-batch b in tick
 *   s + 2 b forward and 4 P - 1 - s + 2 b backward; the parities of a rank's two stages differ.
 *
 * Each chunk's micro-batches come in their order, so gradients are added up as without. */
#include <stdbool.h>
#include <stdint.h>

#include "hc_util.h"

enum { FORWARD, BACKWARD, KINDS };

#define MOST 1024u
#define MOST_BATCHES (1u << 20)
#define NOTHING (-1)

struct pipeline {
    int64_t ranks, chunks, batches, group;
    bool is_vee;
};

/* Of the k-th pass of a rank whose micro-batches go through rows: chunk * batches + batch. The last group is
 * filled up with micro-batches that there are not. */
static int64_t of_rows(const struct pipeline *p, int kind, int64_t k) {
    const int64_t round = p->group * p->chunks;
    if (k < 0) return NOTHING;
    const int64_t batch = k / round * p->group + k % p->group;
    const int64_t turn = k % round / p->group, chunk = kind == FORWARD ? turn : p->chunks - 1 - turn;
    return batch < p->batches ? chunk * p->batches + batch : NOTHING;
}

/* What a rank has in a tick. */
static int64_t in_tick(const struct pipeline *p, int64_t rank, int64_t tick, int kind) {
    if (!p->is_vee) {
        const int64_t ahead = 2 * p->ranks - 1 - rank + (p->chunks - 1) * p->group;
        return of_rows(p, kind, tick - (kind == FORWARD ? rank : ahead));
    }
    for (int64_t chunk = 0; chunk < 2; chunk++) {
        const int64_t stage = chunk == 0 ? rank : 2 * p->ranks - 1 - rank;
        const int64_t since = tick - (kind == FORWARD ? stage : 4 * p->ranks - 1 - stage);
        if (since >= 0 && since % 2 == 0 && since / 2 < p->batches) return chunk * p->batches + since / 2;
    }
    return NOTHING;
}

static void fill(const struct pipeline *p, int64_t rank, int32_t *orders) {
    const int64_t each = KINDS * p->chunks * p->batches;
    int64_t found = 0;
    for (int64_t tick = 0; found < each; tick++)
        for (int kind = 0, is_beside = 0; kind < KINDS; kind++) {
            const int64_t code = in_tick(p, rank, tick, kind);
            if (code == NOTHING) continue;
            orders[2 * found] = (int32_t)(kind * p->chunks * p->batches + code);
            orders[2 * found++ + 1] = is_beside;
            is_beside = 1;
        }
}

/* `group`: of micro-batches that go through a chunk before the next one's turn, at least `ranks` where there
 * are several chunks; of no effect for a V (`is_vee`), which has two. `orders` [ranks][passes][2] is filled
 * with (kind * chunks + chunk) * batches + batch, kind 0 forward and 1 backward, and with whether the pass is
 * beside the one before it. Returns 0, or -1 for numbers that are out of range (ranks and chunks to 1024,
 * micro-batches to 2^20) or do not go together. Thread safe, does not block. */
HC_API int32_t hc_pipeline_pairs(size_t ranks, size_t chunks, size_t batches, size_t group, int32_t is_vee,
                                 int32_t *orders) {
    if (ranks == 0 || ranks > MOST || chunks == 0 || chunks > MOST) return -1;
    if (batches == 0 || batches > MOST_BATCHES || group == 0 || group > MOST_BATCHES) return -1;
    if (is_vee ? chunks != 2 : chunks > 1 && group < ranks) return -1;
    if (KINDS * chunks * batches > INT32_MAX) return -1;
    const struct pipeline p = {.ranks = (int64_t)ranks,
                               .chunks = (int64_t)chunks,
                               .batches = (int64_t)batches,
                               .group = chunks == 1 ? 1 : (int64_t)group,
                               .is_vee = is_vee != 0};
    for (size_t rank = 0; rank < ranks; rank++)
        fill(&p, (int64_t)rank, orders + rank * KINDS * chunks * batches * 2);
    return 0;
}
