// SPDX-License-Identifier: Apache-2.0
/* Which algorithm carries out a collective: a table, best first, and what the user asks for
 * (MINDSPEED_HCCL_ALGO). The choice depends on what all ranks have in common only. */
#include <stdio.h>
#include <string.h>

#include "hc_algo.h"
#include "hc_option.h"

static const size_t ANY = SIZE_MAX;

struct row {
    enum hc_kind kind;
    const struct hc_algo *algo;
    size_t max_bytes; /* largest extent of a rank's buffers that it is the choice for */
};

static const struct row TABLE[] = {
    {HC_OP_ALL_REDUCE, &hc_direct_all_reduce, ANY},
    {HC_OP_REDUCE, &hc_direct_reduce, ANY},
    {HC_OP_BROADCAST, &hc_direct_from_root, ANY},
    {HC_OP_SCATTER, &hc_direct_from_root, ANY},
    {HC_OP_ALL_GATHER, &hc_direct_all_gather, ANY},
    {HC_OP_ALL_GATHER_V, &hc_direct_all_gather, ANY},
    {HC_OP_REDUCE_SCATTER, &hc_direct_reduce_scatter, ANY},
    {HC_OP_REDUCE_SCATTER_V, &hc_direct_reduce_scatter, ANY},
    {HC_OP_ALL_TO_ALL, &hc_direct_all_to_all, ANY},
    {HC_OP_ALL_TO_ALL_V, &hc_direct_all_to_all, ANY},
    {HC_OP_ALL_TO_ALL_VC, &hc_direct_all_to_all, ANY},
    {HC_OP_BARRIER, &hc_direct_barrier, ANY},
};

/* The value of `kind` in "all_reduce=ring,broadcast=tree"; false if there is none. */
static bool asked_for(enum hc_kind kind, const char *name) {
    const char *spec = hc_option_text(HC_OPT_HCCL_ALGO), *wanted = hc_kind_option(kind);
    const size_t length = strlen(wanted);
    for (const char *at = spec; *at != '\0'; at += strcspn(at, ","), at += *at == ',') {
        if (strncmp(at, wanted, length) != 0 || at[length] != '=') continue;
        const size_t n = strcspn(at + length + 1, ",");
        return strlen(name) == n && strncmp(at + length + 1, name, n) == 0;
    }
    return false;
}

/* Sizes that differ between ranks must not decide. */
static size_t size_of(const struct hc_op *op) {
    return op->uneven || op->kind == HC_OP_ALL_GATHER_V ? 0 : hc_max_size(op->send_bytes, op->recv_bytes);
}

const struct hc_algo *hc_select(const struct hc_op *op, const struct hc_algo *declined) {
    if (hc_local.supports(op)) return &hc_local;
    bool behind = declined == NULL;
    const struct hc_algo *first = NULL;
    for (size_t i = 0; i < HC_ARRAY_SIZE(TABLE); i++) {
        const struct row *row = &TABLE[i];
        if (row->kind != op->kind || !row->algo->supports(op)) continue;
        if (declined == NULL && asked_for(op->kind, row->algo->name)) return row->algo;
        if (behind && first == NULL && size_of(op) <= row->max_bytes) first = row->algo;
        behind = behind || row->algo == declined;
    }
    if (first == NULL)
        hc_fail(HCCL_E_NOT_SUPPORT, "%s: no algorithm carries it out between these ranks (communicator %s)",
                hc_kind_name(op->kind), op->comm->name);
    return first;
}
