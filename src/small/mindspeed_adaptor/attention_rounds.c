// SPDX-License-Identifier: Apache-2.0
/* Which rank computes which block of attention, and when: a block is what the queries of one rank see of the
 * keys of another, and blocks that a mask hides are nobody's. A block is computed where its queries are, to
 * which the keys travel, or where its keys are, to which the queries travel and from where the result comes
 * back. Every rank computes one block in a round, so as many rounds are needed as the busiest rank has
 * blocks.
 *
 * That is an orientation of a graph's edges with the least largest in-degree. Blocks begin where their
 * queries are; then, as long as a chain of blocks leads from a busiest rank to one that has two fewer, each
 * block of the chain changes its place. A rank then has one less and none has more, and where no chain is
 * left the largest number is the least possible one. Of n ranks: n^2 blocks, at most n^2 chains, each found
 * in n^2. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "hc_util.h"

#define NOBODY (-1)
#define MOST_RANKS 1024u

struct plan {
    size_t ranks;
    int32_t *at;    /* [queries of][keys of]: the rank that computes the block, or NOBODY */
    size_t *load;   /* blocks of a rank */
    int32_t *from;  /* of the search: the rank from which this one was reached, */
    int32_t *block; /* and the block that would change its place */
    int32_t *queue;
};

/* The other place where rank `here` could have left its block `block`, NOBODY if it is not there or its own.
 */
static int32_t other_place(const struct plan *p, int32_t here, size_t block) {
    const int32_t queries = (int32_t)(block / p->ranks), keys = (int32_t)(block % p->ranks);
    if (p->at[block] != here || queries == keys) return NOBODY;
    return queries == here ? keys : queries;
}

/* Visits what can be reached from `first`, and returns a rank that has two blocks fewer; NOBODY if there is
 * none. */
static int32_t reach(const struct plan *p, int32_t first) {
    for (size_t rank = 0; rank < p->ranks; rank++) p->from[rank] = NOBODY;
    size_t head = 0, tail = 0;
    p->queue[tail++] = first;
    p->from[first] = first;
    while (head < tail) {
        const int32_t here = p->queue[head++];
        if (p->load[here] + 2 <= p->load[first]) return here;
        for (size_t other = 0; other < p->ranks; other++) {
            const size_t blocks[2] = {(size_t)here * p->ranks + other, other * p->ranks + (size_t)here};
            for (size_t i = 0; i < 2; i++) {
                const int32_t next = other_place(p, here, blocks[i]);
                if (next == NOBODY || p->from[next] != NOBODY) continue;
                p->from[next] = here;
                p->block[next] = (int32_t)blocks[i];
                p->queue[tail++] = next;
            }
        }
    }
    return NOBODY;
}

static size_t busiest(const struct plan *p) {
    size_t found = 0;
    for (size_t rank = 1; rank < p->ranks; rank++)
        if (p->load[rank] > p->load[found]) found = rank;
    return found;
}

/* Whether a rank with the most blocks could pass one on; every such rank is asked. */
static int relieve(struct plan *p) {
    const size_t most = p->load[busiest(p)];
    for (size_t rank = 0; rank < p->ranks; rank++) {
        if (p->load[rank] != most) continue;
        int32_t end = reach(p, (int32_t)rank);
        if (end == NOBODY) continue;
        p->load[end]++;
        for (; end != (int32_t)rank; end = p->from[end]) p->at[p->block[end]] = end;
        p->load[rank]--;
        return 1;
    }
    return 0;
}

/* Rank r begins with its own block, then takes those next to it, so that keys leave a rank one after the
 * other. */
static size_t into_rounds(const struct plan *p, int32_t *rounds) {
    size_t most = 0;
    for (size_t rank = 0; rank < p->ranks; rank++) {
        size_t round = 0;
        for (size_t away = 0; away < p->ranks; away++) {
            const size_t other = (rank + p->ranks - away) % p->ranks;
            const size_t blocks[2] = {rank * p->ranks + other, other * p->ranks + rank};
            for (size_t i = 0; i < (away ? 2u : 1u); i++)
                if (p->at[blocks[i]] == (int32_t)rank) rounds[round++ * p->ranks + rank] = (int32_t)blocks[i];
        }
        if (round > most) most = round;
    }
    return most;
}

/* `needed` [ranks][ranks]: whether queries of the first see keys of the second. `rounds` [ranks][ranks] is
 * filled with blocks, queries' rank * ranks + keys' rank, or -1: what each rank computes in each round.
 * Returns the number of rounds, or -1 for a number of ranks that is 0 or more than 1024, or if there is no
 * memory. Thread safe, does not block. */
HC_API int32_t hc_attention_rounds(const uint8_t *needed, size_t ranks, int32_t *rounds) {
    if (ranks == 0 || ranks > MOST_RANKS) return -1;
    const size_t blocks = ranks * ranks;
    struct plan p = {.ranks = ranks, .at = malloc(blocks * sizeof *p.at)};
    p.load = calloc(ranks, sizeof *p.load);
    p.from = malloc(ranks * sizeof *p.from);
    p.block = malloc(ranks * sizeof *p.block);
    p.queue = malloc(ranks * sizeof *p.queue);
    int32_t found = -1;
    if (p.at && p.load && p.from && p.block && p.queue) {
        for (size_t i = 0; i < blocks; i++) {
            p.at[i] = needed[i] ? (int32_t)(i / ranks) : NOBODY;
            p.load[i / ranks] += needed[i] != 0;
            rounds[i] = NOBODY;
        }
        while (relieve(&p)) continue;
        found = (int32_t)into_rounds(&p, rounds);
    }
    free(p.at), free(p.load), free(p.from), free(p.block), free(p.queue);
    return found;
}
