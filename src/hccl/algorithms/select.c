// SPDX-License-Identifier: Apache-2.0
/* Which algorithm carries out a collective: a table, best first, and what the user asks for
 * (MINDSPEED_HCCL_ALGO). The choice depends on what all ranks have in common only.
 *
 * Sizes come from the usual model, time = messages * latency + bytes / bandwidth, with 30 us and 1 GB/s
 * between hosts: log2(N) steps of all the data against 2 (N - 1) steps of an N-th each break even near 256
 * KiB. */
#include "hc_select.h"

#include <stdio.h>
#include <string.h>

#include "hc_option.h"
#include "hc_partial.h"
#include "hc_transport.h"

static const size_t ANY = SIZE_MAX;
enum { KIB = 1 << 10, MIB = 1 << 20 };
_Static_assert(HC_OP_KINDS <= HC_ARRAY_SIZE(((struct hc_comm *)0)->explained[0]), "a kind more");

/* What else a row needs. */
enum need {
    ALWAYS,
    PAIRS,      /* two ranks only */
    CHEAP_HALF, /* 16-bit floats, which a ring would widen, and no network card that several ranks share */
    CHEAP,      /* no network card that several ranks share */
};

struct row {
    enum hc_kind kind;
    const struct hc_algo *algo;
    size_t max_bytes; /* of the data of a rank that it is the choice for */
    enum need need;
    const char *why;
};

static const char SHARED[] = "all ranks share memory", FEW[] = "small: the fewest steps",
                  ONLY[] = "what there is over messages", SPREAD[] = "one step, in the data's own type";

static const struct row TABLE[] = {
    {HC_OP_ALL_REDUCE, &hc_direct_all_reduce, ANY, ALWAYS, SHARED},
    {HC_OP_ALL_REDUCE, &hc_doubling_all_reduce, 1 * MIB, PAIRS, "two ranks: one step"},
    {HC_OP_ALL_REDUCE, &hc_doubling_all_reduce, 256 * KIB, ALWAYS, FEW},
    {HC_OP_ALL_REDUCE, &hc_pairwise_all_reduce, ANY, CHEAP_HALF, "16-bit floats: a ring would send more"},
    {HC_OP_ALL_REDUCE, &hc_ring_all_reduce, ANY, ALWAYS, "large: the fewest bytes"},
    {HC_OP_ALL_REDUCE, &hc_tree_all_reduce, ANY, ALWAYS, ONLY},
    {HC_OP_REDUCE, &hc_direct_reduce, ANY, ALWAYS, SHARED},
    {HC_OP_REDUCE, &hc_tree_reduce_algo, ANY, ALWAYS, ONLY},
    {HC_OP_BROADCAST, &hc_direct_from_root, ANY, ALWAYS, SHARED},
    {HC_OP_BROADCAST, &hc_tree_broadcast_algo, ANY, PAIRS, "two ranks: one step"},
    {HC_OP_BROADCAST, &hc_tree_broadcast_algo, 512 * KIB, ALWAYS, FEW},
    {HC_OP_BROADCAST, &hc_scatter_broadcast, ANY, ALWAYS, "large: the fewest bytes"},
    {HC_OP_SCATTER, &hc_direct_from_root, ANY, ALWAYS, SHARED},
    {HC_OP_SCATTER, &hc_linear_scatter, ANY, ALWAYS, ONLY},
    {HC_OP_ALL_GATHER, &hc_direct_all_gather, ANY, ALWAYS, SHARED},
    {HC_OP_ALL_GATHER, &hc_bruck_all_gather, 256 * KIB, ALWAYS, FEW},
    {HC_OP_ALL_GATHER, &hc_ring_all_gather, ANY, ALWAYS, "large: no copies"},
    {HC_OP_ALL_GATHER_V, &hc_direct_all_gather, ANY, ALWAYS, SHARED},
    {HC_OP_ALL_GATHER_V, &hc_bruck_all_gather, 256 * KIB, ALWAYS, FEW},
    {HC_OP_ALL_GATHER_V, &hc_ring_all_gather, ANY, ALWAYS, "large: no copies"},
    {HC_OP_REDUCE_SCATTER, &hc_direct_reduce_scatter, ANY, ALWAYS, SHARED},
    {HC_OP_REDUCE_SCATTER, &hc_pairwise_reduce_scatter, ANY, CHEAP, SPREAD},
    {HC_OP_REDUCE_SCATTER, &hc_pairwise_reduce_scatter, 256 * KIB, ALWAYS, FEW},
    {HC_OP_REDUCE_SCATTER, &hc_ring_reduce_scatter, ANY, ALWAYS, "large: crosses each network card once"},
    {HC_OP_REDUCE_SCATTER_V, &hc_direct_reduce_scatter, ANY, ALWAYS, SHARED},
    {HC_OP_REDUCE_SCATTER_V, &hc_pairwise_reduce_scatter, ANY, CHEAP, SPREAD},
    {HC_OP_REDUCE_SCATTER_V, &hc_pairwise_reduce_scatter, 256 * KIB, ALWAYS, FEW},
    {HC_OP_REDUCE_SCATTER_V, &hc_ring_reduce_scatter, ANY, ALWAYS, "large: crosses each network card once"},
    {HC_OP_ALL_TO_ALL, &hc_direct_all_to_all, ANY, ALWAYS, SHARED},
    {HC_OP_ALL_TO_ALL, &hc_pairwise_all_to_all, ANY, ALWAYS, ONLY},
    {HC_OP_ALL_TO_ALL_V, &hc_direct_all_to_all, ANY, ALWAYS, SHARED},
    {HC_OP_ALL_TO_ALL_V, &hc_pairwise_all_to_all, ANY, ALWAYS, ONLY},
    {HC_OP_ALL_TO_ALL_VC, &hc_direct_all_to_all, ANY, ALWAYS, SHARED},
    {HC_OP_ALL_TO_ALL_VC, &hc_pairwise_all_to_all, ANY, ALWAYS, ONLY},
    {HC_OP_BARRIER, &hc_direct_barrier, ANY, ALWAYS, SHARED},
    {HC_OP_BARRIER, &hc_dissemination_barrier, ANY, ALWAYS, ONLY},
};

/* Bytes of the data, which all ranks compute alike; sizes that differ between them do not count. */
static size_t size_of(const struct hc_op *op) {
    const bool lists = op->kind == HC_OP_ALL_GATHER_V || op->kind == HC_OP_REDUCE_SCATTER_V;
    const bool gathers = op->kind == HC_OP_ALL_GATHER || op->kind == HC_OP_REDUCE_SCATTER;
    const uint64_t *lengths = op->kind == HC_OP_ALL_GATHER_V ? op->recvs.lengths : op->sends.lengths;
    size_t bytes = 0;
    if (!lists) return op->count * op->element * (gathers ? op->comm->num_ranks : 1);
    for (uint32_t r = 0; r < op->comm->num_ranks; r++) bytes += lengths[r];
    return bytes;
}

static bool needs_met(const struct row *row, const struct hc_op *op) {
    const struct hc_comm *c = op->comm;
    const bool apart = c->board != NULL || c->spread;
    switch (row->need) {
    case PAIRS: return c->num_ranks == 2;
    case CHEAP: return apart;
    case CHEAP_HALF: return apart && hc_partial_of(op).wide;
    default: return true;
    }
}

static const struct row *find_row(const struct hc_op *op, const struct hc_algo *declined) {
    bool behind = declined == NULL;
    for (size_t i = 0; i < HC_ARRAY_SIZE(TABLE); i++) {
        const struct row *row = &TABLE[i];
        if (row->kind != op->kind || !row->algo->supports(op)) continue;
        if (behind && row->algo != declined && size_of(op) <= row->max_bytes && needs_met(row, op))
            return row;
        behind = behind || row->algo == declined;
    }
    return NULL;
}

static const struct hc_algo *find_name(enum hc_kind kind, const char *name, size_t length) {
    for (size_t i = 0; i < HC_ARRAY_SIZE(TABLE); i++)
        if (TABLE[i].kind == kind && strlen(TABLE[i].algo->name) == length &&
            strncmp(TABLE[i].algo->name, name, length) == 0)
            return TABLE[i].algo;
    return NULL;
}

/* "direct, ring, tree" */
static const char *list_names(enum hc_kind kind, char *text, size_t room) {
    size_t used = 0;
    text[0] = '\0';
    for (size_t i = 0; i < HC_ARRAY_SIZE(TABLE); i++) {
        const char *name = TABLE[i].algo->name;
        if (TABLE[i].kind != kind ||
            (i > 0 && TABLE[i - 1].kind == kind && TABLE[i - 1].algo == TABLE[i].algo))
            continue;
        used += (size_t)snprintf(text + used, room - used, "%s%s", used > 0 ? ", " : "", name);
    }
    return text;
}

/* The next "kind=name" of the option; false at its end. */
struct request {
    const char *kind, *name;
    size_t kind_length, name_length;
};
static bool next_request(const char **at, struct request *r) {
    *at += strspn(*at, ", ");
    if (**at == '\0') return false;
    r->kind = *at;
    r->kind_length = strcspn(*at, "=,");
    *at += r->kind_length;
    *at += **at == '=';
    r->name = *at;
    r->name_length = strcspn(*at, ",");
    *at += r->name_length;
    return true;
}

static bool is_kind(enum hc_kind kind, const struct request *r) {
    const char *option = hc_kind_option(kind);
    return !hc_is_batch(kind) && strlen(option) == r->kind_length &&
           strncmp(option, r->kind, r->kind_length) == 0;
}

/* For hc_option_refine. */
static int check_names(const char *value) {
    const char *at = value, *env = hc_option_env_name(HC_OPT_HCCL_ALGO);
    struct request r;
    char names[200];
    while (next_request(&at, &r)) {
        unsigned kind = 0;
        while (kind < HC_OP_KINDS && !is_kind(kind, &r)) kind++;
        HC_CHECK(kind < HC_OP_KINDS, ACL_ERROR_INVALID_PARAM,
                 "%s=%.100s: there is no collective '%.*s'; there are all_reduce, reduce, broadcast, "
                 "all_gather, reduce_scatter, scatter, all_to_all and barrier",
                 env, value, (int)hc_min_size(r.kind_length, 100), r.kind);
        HC_CHECK(find_name(kind, r.name, r.name_length) != NULL, ACL_ERROR_INVALID_PARAM,
                 "%s=%.100s: %s has no algorithm '%.*s'; it has %s", env, value, hc_kind_option(kind),
                 (int)hc_min_size(r.name_length, 100), r.name, list_names(kind, names, sizeof names));
    }
    return ACL_SUCCESS;
}

/* With this library loaded aclInit refuses wrong names. */
__attribute__((constructor)) static void offer_names(void) {
    hc_option_refine(HC_OPT_HCCL_ALGO, check_names);
}
__attribute__((destructor)) static void withdraw_names(void) { hc_option_refine(HC_OPT_HCCL_ALGO, NULL); }

/* The variable may have changed since aclInit. */
HcclResult hc_select_check(const char *caller) {
    char text[1024];
    if (hc_option_check(HC_OPT_HCCL_ALGO, hc_option_text(HC_OPT_HCCL_ALGO)) == 0) return HCCL_SUCCESS;
    snprintf(text, sizeof text, "%s", hc_error_text());
    return hc_fail(HCCL_E_PARA, "%s: %s", caller, text);
}

/* What the user asks for; NULL: nothing. Names were checked with the communicator, but may have changed. */
static const struct hc_algo *asked_for(enum hc_kind kind) {
    const char *at = hc_option_text(HC_OPT_HCCL_ALGO);
    struct request r;
    while (next_request(&at, &r))
        if (is_kind(kind, &r)) return find_name(kind, r.name, r.name_length);
    return NULL;
}

static unsigned size_class(size_t bytes) { return bytes == 0 ? 0 : 64 - (unsigned)__builtin_clzll(bytes); }

/* Once per kind, size class and communicator, and by one rank: all choose alike. */
static void explain(const struct hc_op *op, const struct hc_algo *algo, bool declined, const char *why) {
    struct hc_comm *c = op->comm;
    const unsigned bits = size_class(size_of(op));
    const unsigned long long flag = 1ull << (bits % 64);
    if (c->rank != 0 || !hc_option_is(HC_OPT_HCCL_EXPLAIN, "1")) return;
    if ((atomic_fetch_or(&c->explained[declined][op->kind], flag) & flag) != 0) return;
    char size[48] = "no data";
    if (bits > 0)
        snprintf(size, sizeof size, "%llu to %llu bytes", 1ull << (bits - 1), (1ull << (bits - 1)) * 2 - 1);
    fprintf(stderr, "mindspeed: %s of %s between %u ranks of communicator %s over %s: %s (%s)\n",
            hc_kind_name(op->kind), size, c->num_ranks, c->title, c->transport->name, algo->name, why);
}

static const struct hc_algo *cannot_serve(const struct hc_op *op, const struct hc_algo *asked) {
    char names[200];
    hc_fail(HCCL_E_NOT_SUPPORT,
            "%s: the algorithm '%s' (MINDSPEED_HCCL_ALGO) cannot serve communicator %s, whose ranks are "
            "connected "
            "by %s; of the algorithms %s others can",
            hc_kind_name(op->kind), asked->name, op->comm->title, op->comm->transport->name,
            list_names(op->kind, names, sizeof names));
    return NULL;
}

const struct hc_algo *hc_select(const struct hc_op *op, const struct hc_algo *declined) {
    if (hc_local.supports(op)) return &hc_local;
    const struct hc_algo *asked = declined == NULL ? asked_for(op->kind) : NULL;
    if (asked != NULL && !asked->supports(op)) return cannot_serve(op, asked);
    if (asked != NULL) {
        explain(op, asked, false, "MINDSPEED_HCCL_ALGO");
        return asked;
    }
    const struct row *row = find_row(op, declined);
    if (row == NULL) {
        hc_fail(HCCL_E_NOT_SUPPORT, "%s: no algorithm carries it out between these ranks (communicator %s)",
                hc_kind_name(op->kind), op->comm->title);
        return NULL;
    }
    explain(op, row->algo, declined != NULL,
            declined == NULL ? row->why : "a rank's buffer is no device memory");
    return row->algo;
}
