// SPDX-License-Identifier: Apache-2.0
/* See distribute.h. */
#include "distribute.h"

#include <string.h>

/* Words for how blocks travel; here there is one way. */
static const char *const ALGORITHMS[] = {"", "fullmesh", "fullmesh_v1", "fullmesh_v2", "hierarchy"};

/* Options of the interface that ask for what is not there: each is named, as a silent default would compute
 * something else than was asked for. */
static aclnnStatus check_options(const struct hc_distribute *d) {
    HC_CHECK(d->tp_ranks == 0 || d->tp_ranks == 1, ACLNN_ERR_PARAM_INVALID,
             "%s: tpWorldSize is %lld, wanted 0 or 1: tokens are not shared within a group of tensors",
             d->name, (long long)d->tp_ranks);
    HC_CHECK(d->tp_rank == 0, ACLNN_ERR_PARAM_INVALID, "%s: tpRankId is %lld, wanted 0", d->name,
             (long long)d->tp_rank);
    HC_CHECK(d->shard_type == 0, ACLNN_ERR_PARAM_INVALID, "%s: expertShardType is %lld, wanted 0", d->name,
             (long long)d->shard_type);
    HC_CHECK(
        d->shared_ranks == 0 && (d->shared == 0 || d->shared == 1), ACLNN_ERR_PARAM_INVALID,
        "%s: sharedExpertRankNum is %lld and sharedExpertNum %lld, wanted 0, and 0 or 1: shared experts on "
        "ranks of their own are not supported",
        d->name, (long long)d->shared_ranks, (long long)d->shared);
    HC_CHECK(d->zero >= 0 && d->zero <= INT32_MAX && d->copy >= 0 && d->copy <= INT32_MAX,
             ACLNN_ERR_PARAM_INVALID, "%s: zeroExpertNum is %lld and copyExpertNum %lld, wanted 0 to %d",
             d->name, (long long)d->zero, (long long)d->copy, INT32_MAX);
    HC_CHECK(d->constant == 0, ACLNN_ERR_PARAM_INVALID,
             "%s: constExpertNum is %lld, wanted 0: constant experts are not supported", d->name,
             (long long)d->constant);
    HC_CHECK(d->elastic == NULL, ACLNN_ERR_PARAM_INVALID, "%s: elasticInfo is %s, wanted none", d->name,
             HC_SHOW(d->elastic));
    HC_CHECK(d->performance == NULL, ACLNN_ERR_PARAM_INVALID,
             "%s: performanceInfo is %s, wanted none: waiting is not measured", d->name,
             HC_SHOW(d->performance));
    for (size_t i = 0; i < HC_ARRAY_SIZE(ALGORITHMS); i++)
        if (d->algorithm == NULL || strcmp(d->algorithm, ALGORITHMS[i]) == 0) return 0;
    return hc_fail(ACLNN_ERR_PARAM_INVALID, "%s: commAlg is '%.32s', wanted fullmesh or hierarchy", d->name,
                   d->algorithm);
}

/* What the caller says about the group is looked at, not used: a wrong rank would compute with the experts of
 * another one, and nobody would notice. */
static aclnnStatus find_group(const struct hc_distribute *d, struct hc_distribute_args *a) {
    struct hc_group group;
    if (hc_group_find(d->name, d->group, &group) != 0) return ACLNN_ERR_PARAM_INVALID; /* its text is set */
    HC_CHECK(d->num_ranks == group.num_ranks && d->rank == group.rank, ACLNN_ERR_PARAM_INVALID,
             "%s: epWorldSize is %lld and epRankId %lld, but this is rank %u of %u in group '%s'", d->name,
             (long long)d->num_ranks, (long long)d->rank, group.rank, group.num_ranks, d->group);
    a->rank = group.rank;
    a->num_ranks = group.num_ranks;
    strncpy(a->group, d->group, sizeof a->group - 1); /* found: so it is not longer */
    return 0;
}

/* A token has at most as many choices as there are experts, as none comes twice. */
static aclnnStatus check_choices(const struct hc_distribute *d, struct hc_distribute_args *a) {
    HC_TRY(hc_moe_check_matrix(d->name, "expertIds", d->ids, -1, -1));
    HC_TRY(hc_moe_check_numbers(d->name, "expertIds", d->ids, -1));
    a->tokens = d->ids->shape[0];
    a->choices = d->ids->shape[1];
    const int64_t most = d->experts + d->zero + d->copy;
    HC_CHECK(a->choices >= 1 && a->choices <= most, ACLNN_ERR_PARAM_INVALID,
             "%s: expertIds is %s, wanted 1 to %lld columns: as many as there are experts", d->name,
             HC_SHOW(d->ids), (long long)most);
    const aclTensor *m = d->mask;
    if (m == NULL) return 0;
    const bool fits = (m->rank == 1 && m->shape[0] == a->tokens) || hc_same_shape(m, d->ids);
    HC_CHECK(fits && m->item_size == 1 && !hc_dtype_is_float(m->dtype), ACLNN_ERR_PARAM_INVALID,
             "%s: xActiveMask is %s, wanted bool [%lld] or [%lld,%lld]", d->name, HC_SHOW(m),
             (long long)a->tokens, (long long)a->tokens, (long long)a->choices);
    return 0;
}

/* globalBs is the most tokens of any rank, times the ranks. */
static aclnnStatus find_capacity(const struct hc_distribute *d, struct hc_distribute_args *a) {
    const int64_t ranks = a->num_ranks;
    int64_t most = a->tokens;
    if (d->global_tokens != 0) {
        most = d->global_tokens / ranks;
        HC_CHECK(
            d->global_tokens > 0 && d->global_tokens % ranks == 0 && most >= a->tokens && most <= INT32_MAX,
            ACLNN_ERR_PARAM_INVALID,
            "%s: globalBs is %lld, wanted 0 or %lld times the most tokens of any rank, which are at least "
            "%lld",
            d->name, (long long)d->global_tokens, (long long)ranks, (long long)a->tokens);
    }
    HC_CHECK(hc_mul_i64_fits(most, a->choices < a->local ? a->choices : a->local, &a->capacity) &&
                 a->capacity <= INT32_MAX,
             ACLNN_ERR_PARAM_INVALID, "%s: expertIds %s of %lld tokens are too many", d->name,
             HC_SHOW(d->ids), (long long)most);
    return 0;
}

aclnnStatus hc_distribute_describe(const struct hc_distribute *d, int64_t hidden,
                                   struct hc_distribute_args *a) {
    *a = (struct hc_distribute_args){
        .hidden = hidden, .experts = d->experts, .zero = d->zero, .copy = d->copy};
    HC_TRY(check_options(d));
    HC_TRY(find_group(d, a));
    HC_CHECK(d->experts > 0 && d->experts <= INT32_MAX && d->experts % d->num_ranks == 0,
             ACLNN_ERR_PARAM_INVALID, "%s: moeExpertNum is %lld, wanted a multiple of %lld ranks", d->name,
             (long long)d->experts, (long long)d->num_ranks);
    a->local = d->experts / d->num_ranks;
    HC_TRY(check_choices(d, a));
    return find_capacity(d, a);
}

aclnnStatus hc_distribute_workspace(const char *name, const struct hc_distribute_args *a, size_t more,
                                    size_t *bytes) {
    HC_CHECK(hc_bytes_fit(a->block, 2 * (size_t)a->num_ranks, bytes) && more < HC_MAX_BYTES - *bytes,
             ACLNN_ERR_PARAM_INVALID, "%s: blocks of %zu bytes for %u ranks are too large", name, a->block,
             a->num_ranks);
    *bytes += more;
    return 0;
}

/* Choices that are masked out become -1. */
static aclnnStatus apply_mask(const struct hc_call *call, const aclTensor *mask, int64_t *ids) {
    const struct hc_distribute_args *a = call->args;
    uint8_t *active = hc_moe_read_map(call->name, mask);
    if (active == NULL) return ACLNN_ERR_INNER;
    for (int64_t i = 0; i < a->tokens * a->choices; i++)
        if (!active[mask->rank == 1 ? i / a->choices : i]) ids[i] = -1;
    hc_block_give(active);
    return 0;
}

/* A token that went twice to an expert would not fit into a block. `seen` has room for every expert. */
static aclnnStatus check_distinct(const struct hc_call *call, const int64_t *ids, int64_t *seen) {
    const struct hc_distribute_args *a = call->args;
    /* The last token that chose each expert: one pass, whatever the number of choices. */
    for (int64_t e = 0; e < a->experts; e++) seen[e] = -1;
    for (int64_t i = 0; i < a->tokens * a->choices; i++) {
        if (ids[i] < 0 || ids[i] >= a->experts) continue;
        const int64_t token = i / a->choices;
        HC_CHECK(seen[ids[i]] != token, ACLNN_ERR_PARAM_INVALID,
                 "%s: expertIds has expert %lld twice for token %lld", call->name, (long long)ids[i],
                 (long long)token);
        seen[ids[i]] = token;
    }
    return 0;
}

aclnnStatus hc_distribute_sort(const struct hc_call *call, const aclTensor *ids, const aclTensor *mask,
                               struct hc_distribute_order *order) {
    const struct hc_distribute_args *a = call->args;
    const size_t n = (size_t)(a->tokens * a->choices), experts = (size_t)a->experts;
    int64_t *own = hc_moe_take(call->name, 3 * n + experts + 2);
    if (own == NULL) return ACLNN_ERR_INNER;
    *order = (struct hc_distribute_order){own, own + 3 * n, own + 2 * n, own};
    aclnnStatus status = hc_moe_read(call->name, "expertIds", ids, 0, a->experts + a->zero + a->copy, own);
    if (status == 0 && mask != NULL) status = apply_mask(call, mask, own);
    if (status == 0) status = check_distinct(call, own, order->first);
    if (status != 0) {
        hc_block_give(own);
        return status;
    }
    for (size_t i = 0; i < n; i++) own[n + i] = own[i] < a->experts ? own[i] : -1;
    hc_positions_by_row(own + n, n, a->experts, -1, order->first, order->cell);
    return 0;
}

/* This rank's own block is filled where it is read: nothing moves it. */
char *hc_distribute_from(const struct hc_call *call, uint32_t rank) {
    const struct hc_distribute_args *a = call->args;
    return call->workspace + a->received + rank * a->block;
}

char *hc_distribute_to(const struct hc_call *call, uint32_t rank) {
    const struct hc_distribute_args *a = call->args;
    return rank == a->rank ? hc_distribute_from(call, rank) : call->workspace + rank * a->block;
}

aclnnStatus hc_distribute_exchange(const struct hc_call *call, aclrtStream stream) {
    const struct hc_distribute_args *a = call->args;
    struct hc_group group;
    if (hc_group_find(call->name, a->group, &group) != 0)
        return ACLNN_ERR_PARAM_INVALID; /* its text is set */
    HC_CHECK(group.num_ranks == a->num_ranks && group.rank == a->rank, ACLNN_ERR_PARAM_INVALID,
             "%s: group '%s' is another one than when the operator was planned: rank %u of %u, was %u of %u",
             call->name, a->group, group.rank, group.num_ranks, a->rank, a->num_ranks);
    return hc_group_exchange(&group, call->workspace, call->workspace + a->received, a->block, ACL_INT8,
                             stream);
}
