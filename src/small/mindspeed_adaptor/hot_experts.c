// SPDX-License-Identifier: Apache-2.0
/* Which experts every rank has a copy of, so that the busiest rank has as few tokens as can be.
 *
 * An expert is its owner's: all its tokens travel there. Of a copied ("hot") expert each rank computes its
 * own tokens, and none travels. One expert after the other is copied: each time the one after which the
 * busiest rank has least; of equals the one that saves most messages. It ends where nothing is gained, since
 * a copy costs a broadcast of its weights. With R ranks, E experts and C copies that is C * E * R steps: 0.1
 * million for 256 experts on 64 ranks and 8 copies. The exact optimum is a bin-packing problem, and would
 * have to be found anew in every layer and pass. */
#include <stdint.h>
#include <stdlib.h>

#include "hc_util.h"

#define MOST_RANKS 65536u
#define MOST_EXPERTS 65536u

struct routing {
    size_t ranks, experts;
    const int64_t *counts; /* [rank][expert]: tokens of a rank that chose it */
    int64_t *load;         /* tokens that a rank computes */
    int64_t *total;        /* tokens of an expert, 0 once it is hot: nothing more is to be gained of it */
};

static size_t owner(const struct routing *r, size_t expert) { return expert / (r->experts / r->ranks); }

/* The tokens of the busiest rank if the expert were hot as well. */
static int64_t busiest_with(const struct routing *r, size_t expert) {
    int64_t most = 0;
    const size_t home = owner(r, expert);
    for (size_t rank = 0; rank < r->ranks; rank++) {
        int64_t load = r->load[rank] + r->counts[rank * r->experts + expert];
        if (rank == home) load -= r->total[expert];
        if (load > most) most = load;
    }
    return most;
}

static int64_t saved(const struct routing *r, size_t expert) {
    return r->total[expert] - r->counts[owner(r, expert) * r->experts + expert];
}

/* Returns the expert to copy next, or -1 where no copy makes the busiest rank's work less. */
static int64_t choose(const struct routing *r) {
    int64_t least = 0, best = -1;
    for (size_t rank = 0; rank < r->ranks; rank++)
        if (r->load[rank] > least) least = r->load[rank];
    for (size_t expert = 0; expert < r->experts; expert++) {
        if (saved(r, expert) <= 0) continue;
        const int64_t most = busiest_with(r, expert);
        const int is_better = most < least;
        if (is_better || (best >= 0 && most == least && saved(r, expert) > saved(r, (size_t)best))) {
            least = most;
            best = (int64_t)expert;
        }
    }
    return best;
}

/* Copies of the expert: its tokens are computed where they are. */
static void copy(struct routing *r, size_t expert) {
    r->load[owner(r, expert)] -= r->total[expert];
    for (size_t rank = 0; rank < r->ranks; rank++) r->load[rank] += r->counts[rank * r->experts + expert];
    r->total[expert] = 0;
}

/* `counts` [ranks][experts]; experts lie on ranks in their order, the same number on each. Up to `copies` of
 * them are written to `hot`, in the order in which they were chosen, and their number to *chosen; the tokens
 * that each rank computes then to `load` [ranks]. All ranks find the same. Returns 0, or -1 if there is no
 * memory, experts are not a multiple of ranks, a number is 0 or too large, or a count is negative. Thread
 * safe, does not block. */
HC_API int32_t hc_hot_experts(size_t ranks, size_t experts, const int64_t *counts, size_t copies,
                              int32_t *hot, size_t *chosen, int64_t *load) {
    if (ranks == 0 || ranks > MOST_RANKS || experts == 0 || experts > MOST_EXPERTS || experts % ranks != 0)
        return -1;
    for (size_t i = 0; i < ranks * experts; i++)
        if (counts[i] < 0) return -1;
    struct routing r = {ranks, experts, counts, load, calloc(experts, sizeof *r.total)};
    if (r.total == NULL) return -1;
    for (size_t rank = 0; rank < ranks; rank++) load[rank] = 0;
    for (size_t i = 0; i < ranks * experts; i++) {
        r.total[i % experts] += counts[i];
        load[owner(&r, i % experts)] += counts[i];
    }
    *chosen = 0;
    while (*chosen < copies) {
        const int64_t expert = choose(&r);
        if (expert < 0) break;
        copy(&r, (size_t)expert);
        hot[(*chosen)++] = (int32_t)expert;
    }
    free(r.total);
    return 0;
}
