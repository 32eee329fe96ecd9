// SPDX-License-Identifier: Apache-2.0
/* What the way of tokens to the ranks of their experts and the way back share.
 *
 * W ranks have E / W experts each, in order. A rank exchanges one block with each other: all blocks have room
 * for the most rows that one rank can have for another, min(K, E / W) of each of its tokens, so nobody waits
 * to learn a count before it sends. In a block rows lie by expert, then in the order of tokens: both sides
 * know each row's place from the choices and the counts alone.
 *
 * Two ranks, two experts each, tokens of rank 0 with choices (0, 3), (1, 3), (0, 1): its block for itself has
 * rows of tokens 0, 2 (expert 0), 1, 2 (expert 1), that for rank 1 none of expert 2 and 0, 1 of expert 3. On
 * the side of the experts rows of one expert lie together, so runs (expert, source rank) are what is copied.
 *
 * What it costs: a block is sent whole, also where few of its rows are used. With E / W >= K each rank sends
 * K rows for each of its tokens to everybody, W times what is needed; what it saves is a wait of the host for
 * counts between two exchanges, in which no stream of this rank could get more work. Tokens of a step of
 * decoding are few, and there the wait is what takes the time.
 *
 * Errors that only the data tells (a choice out of range) come from the stream of the rank that has them; the
 * others hear of it as of any operator that fails before a collective. */
#pragma once
#include "group_exchange.h"
#include "hc_op_steps.h"
#include "moe.h"

/* Arguments of all versions; those that a version does not have are 0. */
struct hc_distribute {
    const char *name, *group;
    const aclTensor *ids, *mask; /* [T, K]; [T], [T, K] or NULL */
    int64_t num_ranks, rank, experts, tp_ranks, tp_rank;
    int64_t shard_type, shared, shared_ranks, global_tokens;
    const char *algorithm;
    int64_t zero, copy, constant; /* experts that compute nothing, numbered behind the others in this order */
    const aclTensor *elastic, *performance;
};

/* Those that all versions have under the same names. A macro, since each version's prototype is its own: it
 * keeps the eight entry points from repeating the same list, where one wrong line would go unseen. */
#define HC_DISTRIBUTE_SHARED(op, active)                                                                     \
    .name = (op), .ids = expertIds, .mask = (active), .group = groupEp, .num_ranks = epWorldSize,            \
    .rank = epRankId, .experts = moeExpertNum, .tp_ranks = tpWorldSize, .tp_rank = tpRankId,                 \
    .shard_type = expertShardType, .shared = sharedExpertNum, .shared_ranks = sharedExpertRankNum,           \
    .global_tokens = globalBs
/* From the third on. */
#define HC_DISTRIBUTE_SPECIAL                                                                                \
    .elastic = elasticInfoOptional, .algorithm = commAlg, .zero = zeroExpertNum, .copy = copyExpertNum,      \
    .constant = constExpertNum

/* What the steps know. Blocks to others lie at the workspace's beginning, blocks from all behind them. */
struct hc_distribute_args {
    char group[HC_GROUP_BYTES];
    uint32_t rank, num_ranks;
    int64_t tokens, choices, experts, local, hidden;
    int64_t zero, copy;
    /* E / W experts are this rank's; each side of every block has room for `capacity` rows. */
    int64_t capacity;                              /* rows of a block */
    size_t row_bytes;                              /* of a row that is sent */
    size_t scales, weights, origins, rows, counts; /* where these lie in a block; a way uses some of them */
    size_t block, received;                        /* bytes of a block; where in the workspace what came is */
    int64_t quant, cumulative, with_places, shared; /* of one of the ways */
};

/* Phase one: everything that does not depend on the way. The caller lays the block out: `capacity` is known
 * then, sizes and places of its parts are not. */
aclnnStatus hc_distribute_describe(const struct hc_distribute *d, int64_t hidden,
                                   struct hc_distribute_args *a);
/* The bytes of so many blocks of `block` bytes on both sides, with `more` behind them. */
aclnnStatus hc_distribute_workspace(const char *name, const struct hc_distribute_args *a, size_t more,
                                    size_t *bytes);

/* This rank's choices by expert: those of expert e are cell[first[e]] to cell[first[e + 1] - 1], each a place
 * of the choices [T, K]. Choices of experts that compute nothing are in no such list. One block of memory,
 * given back with hc_block_give(memory). */
struct hc_distribute_order {
    int64_t *memory, *first, *cell;
    const int64_t *ids; /* by cell, as given; -1 where masked out */
};
/* Phase two: reads the choices once; one that is out of range, or twice the same for a token, is an error. */
aclnnStatus hc_distribute_sort(const struct hc_call *call, const aclTensor *ids, const aclTensor *mask,
                               struct hc_distribute_order *order);
/* The block for a rank; this rank's own lies among what comes. The block of a rank among what came. */
char *hc_distribute_to(const struct hc_call *call, uint32_t rank);
char *hc_distribute_from(const struct hc_call *call, uint32_t rank);
/* Every block on its way. All ranks must have laid out blocks alike: where their options or shapes differ, so
 * do the sizes, and the collective says so on each of them. */
aclnnStatus hc_distribute_exchange(const struct hc_call *call, aclrtStream stream);
